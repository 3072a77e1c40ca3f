//! Connections of programs of this machine, by `gatepost sendmail`. The system says which user a
//! program has. That takes the place of a login.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::delivery::{Sender, mailbox_of};
use super::{Arrived, converse, refused};
use crate::session::backend::Backend;
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use gatepost_config::{Config, Sendmail, user};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};
use gatepost_net::socket::Socket;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::smtp::Reply;

/// The address of a program in the log.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Time limit for the first reply, which always fits the buffer of a new connection.
const FIRST_REPLY: Duration = Duration::from_secs(5);

/// A connection of a program.
pub(crate) struct Program {
    /// The connection.
    pub(crate) stream: UnixStream,
    /// The id of its user.
    pub(crate) user: u32,
    /// Whether the log has not said yet that this user may not send.
    pub(crate) is_news: bool,
}

impl Program {
    /// Serves the connection until it ends. A user who may not send hears why.
    pub(crate) async fn serve(self, shared: Arc<SessionContext>, service: Arc<ListenerState>, config: Arc<Config>) {
        let started = Instant::now();
        let subject = ConnectionInfo::new(&service.listener.name, PEER);
        let mut stream = Stream::Plain(Socket::Local(Box::new(self.stream)));
        let (protocol, journal) = (service.listener.protocol, &shared.journal);
        let Some(rule) = config.sendmail.as_ref().and_then(|sendmail| sendmail.rule_for(self.user)) else {
            let (reply, failure) = not_allowed(self.user);
            journal.turned_away(protocol, &subject, &failure, self.is_news);
            return say_last(&mut stream, &reply).await;
        };
        let Some(mut permit) = service.place(&shared, PEER) else {
            return say_last(&mut stream, &Reply::new(421, [3, 2], "Too many connections, try again later")).await;
        };
        permit.logged_in();
        let (Backend::Submission(ways), Some(mailbox)) = (&service.serving, mailbox_of(&shared, &rule)) else {
            return say_last(&mut stream, &refused::not_trusted()).await;
        };
        // The command reads the mailbox for the header of a message without From.
        let words = format!("{} ESMTP Gatepost, this user sends as <{mailbox}>", shared.server_name);
        if !say(&mut stream, &Reply::plain(220, words)).await {
            return;
        }
        let whose = SessionUser::named(rule.login.as_str());
        let live = journal.accepted(protocol, &subject, &whose, "of a program on this machine");
        let arrived = Arrived { stream, leftovers: Vec::new(), sender: Sender::Trusted(rule), ready: None };
        converse(&shared, &service, ways, &subject, (&whose, live), arrived, started).await;
    }

    /// Sends the program away, which tries again.
    pub(crate) async fn turn_away(self) {
        say_last(&mut Stream::Plain(Socket::Local(Box::new(self.stream))), &refused::stopping()).await;
    }
}

/// Returns the reply and the failure for a user who may not send.
fn not_allowed(id: u32) -> (Reply, Failure) {
    let name = user::name(id);
    let failure = if Sendmail::is_unseen(id) {
        Failure::new(
            Cause::NotAllowed,
            "a program may not send by `gatepost sendmail`, because the service cannot see its user. Its systemd unit has \
             `PrivateUsers=yes`, or it runs in a container with users of its own",
        )
        .by(Actor::GatepostAdmin)
        .to_do("install the drop-in `sendmail.conf` (docs/recipes/sendmail.md), or set `sendmail.users: \"*\"`")
    } else {
        Failure::new(Cause::NotAllowed, format!("user {name} may not send by `gatepost sendmail`"))
            .by(Actor::GatepostAdmin)
            .to_do(format!("if the programs of this user may send, add `{name}` to `sendmail.users`"))
    };
    let text = match Sendmail::is_unseen(id) {
        true => "The service cannot see which user this is. Its log says what to change".to_owned(),
        false => format!("User {name} may not send. The administrator can add it to `sendmail.users`"),
    };
    (Reply::new(554, [7, 1], text), failure)
}

/// Returns false when the program is gone.
async fn say(stream: &mut Stream, reply: &Reply) -> bool {
    let mut words = Vec::new();
    reply.write_to(&mut words);
    matches!(timeout(FIRST_REPLY, stream.write(&words)).await, Ok(Ok(())))
}

async fn say_last(stream: &mut Stream, reply: &Reply) {
    if say(stream, reply).await {
        stream.end().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_program_that_is_sent_away_hears_that_it_may_try_again() {
        let (stream, mut program) = UnixStream::pair().unwrap();
        Program { stream, user: 1_000, is_news: false }.turn_away().await;
        let mut heard = String::new();
        program.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "421 4.3.2 The service is stopping, try again later\r\n");
    }
}
