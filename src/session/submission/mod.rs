//! SMTP listeners that take messages themselves (`deliver: graph`, `deliver: auto`,
//! `trusted_senders`, `legacy`, `sender`, `queue`), and send each one on to Exchange Online or Microsoft
//! Graph. A 250 after a message is Microsoft's own answer, or says that the message is durable in the
//! queue.
//!
//! `delivery` finds the route for a message. `conversation` sends the client's messages along it,
//! each a `message` that `opening` begins, for Graph `collected`, or puts it into
//! the [`queue`] (`queued`). `policy` and `header` decide as whom a client may send, `rates` how often a
//! trusted device may. `program` serves programs of this machine.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::incident::Ending;
use super::login::{Accepted, Begun, LoggedIn, Login, LoginHandler};
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use crate::session::registry::SessionGuard;
use conversation::Conversation;
use delivery::{Admitted, DeliveryRoute, DeliveryRouter, Sender, mailbox_of};
use gatepost_config::{SenderRule, TrustedSource};
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::MailProtocol;
use gatepost_net::connection_limit::ConnectionPermit;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::Capabilities;
use gatepost_proto::mail::smtp::submission::{Settings, Submission};
use gatepost_proto::sasl::Credentials;

pub(super) mod backend;
mod collected;
mod conversation;
mod delivery;
mod exchange;
mod fallback;
mod header;
mod local;
mod message;
mod opening;
mod policy;
#[cfg(unix)]
mod program;
pub mod queue;
mod queued;
mod rates;
mod refused;

pub use backend::SubmissionBackend;
#[cfg(unix)]
pub(crate) use program::Program;

/// Serves one connection from accept to end.
pub(super) async fn serve(
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    ways: Arc<SubmissionBackend>,
    socket: TcpStream,
    peer: SocketAddr,
    mut place: ConnectionPermit,
) {
    let started = Instant::now();
    let subject = ConnectionInfo::new(&service.listener.name, peer);
    let visit = shared.penalties.visit(peer.ip());
    let door = SubmissionLogin { shared: &shared, ways: &ways, subject: &subject };
    let login = Login { shared: &shared, service: &service, subject: &subject, visit: &visit, destination: &door };
    let entered = Box::pin(login.run(socket)).await;
    drop(visit);
    let Some(LoggedIn { stream, leftovers, session }) = entered else { return };
    place.logged_in();
    let (sender, whose, ready, live) = match session {
        Some(Begun { whose, brings: Ready { sender, route }, live }) => (sender, whose, route, live),
        None => {
            let Some(rule) = ways.config.trusted(peer.ip()) else { return };
            let whose = SessionUser::named(rule.login.as_str());
            subject.note(|client| client.method = "trusted sender");
            let live = shared.journal.accepted(service.listener.protocol, &subject, &whose, "of a trusted sender");
            (Sender::Trusted(rule.clone()), whose, None, live)
        }
    };
    let arrived = Arrived { stream, leftovers, sender, ready };
    converse(&shared, &service, &ways, &subject, (&whose, live), arrived, started).await;
}

/// A client that may send.
struct Arrived {
    stream: Stream,
    /// What it has sent already.
    leftovers: Vec<u8>,
    sender: Sender,
    /// What its login yielded.
    ready: Option<(Admitted, Option<DeliveryRoute>)>,
}

/// Takes the messages of a client until the end, and records that.
async fn converse(
    shared: &SessionContext,
    service: &ListenerState,
    ways: &SubmissionBackend,
    subject: &ConnectionInfo,
    (whose, live): (&SessionUser, SessionGuard),
    arrived: Arrived,
    started: Instant,
) {
    let Arrived { stream, leftovers, sender, ready } = arrived;
    // What a person types by hand, or a script writes, with `gatepost sendmail -bs`.
    let is_of_program = matches!(&sender, Sender::Trusted(rule) if matches!(rule.from, TrustedSource::User(_)));
    let is_logged_in = !matches!(sender, Sender::Trusted(_));
    let router = DeliveryRouter { shared, ways, subject, sender };
    let settings = Settings {
        server_name: Arc::clone(&shared.server_name),
        extensions: ways.extensions(&shared.limits),
        recipients: shared.limits.recipients,
        logged_in: is_logged_in,
        client_tokens: service.listener.client_tokens,
        legacy: service.listener.legacy || is_of_program,
        sender_is_replaced: router.policy().is_ok_and(|policy| policy.rule() == SenderRule::Forced),
        bare_lf: (service.listener.bare_lf || is_of_program) && matches!(stream, Stream::Plain(_)),
    };
    let machine = Submission::new(settings, &leftovers);
    drop(leftovers);
    let mut conversation = Conversation::new(router, (whose, &live), stream, machine, ready);
    let cause = tokio::select! {
        cause = Box::pin(conversation.run()) => cause,
        () = live.told_to_end() => {
            conversation.finish().await;
            Cause::EndedByOperator
        }
    };
    drop(conversation);
    let (sent, received) = live.traffic();
    let ending = Ending { cause, duration: started.elapsed(), sent, received };
    shared.journal.ended(service.listener.protocol, subject, whose, live, ending);
}

/// Logs clients in at such a listener.
struct SubmissionLogin<'a> {
    shared: &'a SessionContext,
    ways: &'a SubmissionBackend,
    subject: &'a ConnectionInfo,
}

/// What a login yields.
struct Ready {
    sender: Sender,
    /// The token, and the route unless it depends on the message. `None` for a client whose messages
    /// are queued.
    route: Option<(Admitted, Option<DeliveryRoute>)>,
}

impl LoginHandler for SubmissionLogin<'_> {
    type LoggedInAs = Ready;

    fn protocol(&self) -> MailProtocol {
        MailProtocol::Smtp
    }

    fn announced(&self) -> Arc<Capabilities> {
        let rule = self.ways.config.trusted(self.subject.peer.ip());
        let mailbox = rule.and_then(|rule| mailbox_of(self.shared, rule));
        Arc::new(self.ways.announced(&self.shared.limits, mailbox.as_ref()).keywords())
    }

    fn trusts(&self) -> bool {
        self.ways.config.trusted(self.subject.peer.ip()).is_some()
    }

    async fn decide(&self, credentials: &Arc<Credentials>, end: Instant) -> Result<Accepted<Ready>, Failure> {
        let Self { shared, ways, subject } = *self;
        let router = DeliveryRouter { shared, ways, subject, sender: Sender::LoggedIn(Arc::clone(credentials)) };
        if let Some((principal, device)) = router.verify_for_queue().await? {
            let whose = SessionUser::verified(&principal, device);
            let brings = Ready { sender: Sender::Proved(Arc::new(principal)), route: None };
            return Ok(Accepted { whose, token: "not fetched", announced: Capabilities::default(), brings });
        }
        let (admitted, way) = router.log_in(end).await?;
        let whose = match &admitted.admission {
            Some(admission) => SessionUser::from(admission),
            None => SessionUser::named(admitted.bearer.user.as_str()),
        };
        let token = admitted.token();
        let brings = Ready { sender: admitted.sender(credentials), route: Some((admitted, way)) };
        Ok(Accepted { whose, token, announced: Capabilities::default(), brings })
    }
}
