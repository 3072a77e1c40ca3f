//! A POP3 session whose maildrop is an Inbox read through Microsoft Graph.
//!
//! The first part of the list is fetched before the client is told that its login succeeded. So a
//! mailbox that cannot be read fails the login. The rest is fetched when a command needs it, so
//! that no single reply takes too long. Messages are marked neither as read nor otherwise. Only
//! QUIT deletes.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use self::conversation::Conversation;
use self::inbox::Inbox;
use self::mailbox::{Mailbox, Renewal};
use super::fresh_token::with_fresh_token;
use super::incident::Ending;
use super::login::{Accepted, Begun, LoggedIn, Login, LoginHandler, min_token_lifetime, origin};
use crate::graph::GraphClient;
use crate::graph::messages::Unserved;
use crate::login::{AuthorizedLogin, LoginRequest};
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use crate::session::mailbox_slots::{MailboxLimiter, MailboxPermit};
use crate::session::token_holder::TokenHolder;
use gatepost_config::{Grant, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_net::connection_limit::ConnectionPermit;
use gatepost_oauth::MailAccess;
use gatepost_proto::mail::Capabilities;
use gatepost_proto::mail::pop3::capabilities;
use gatepost_proto::sasl::{Bearer, Credentials};

mod conversation;
mod inbox;
mod mailbox;

/// A client that reconnects at once may find that its former session is just ending.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// Returns the locks of maildrops. A maildrop is locked while a session has it open (RFC 1939 §4).
pub fn locks() -> Arc<MailboxLimiter> {
    MailboxLimiter::fixed(1, LOCK_WAIT)
}

/// Serves one connection from accept to end.
pub(super) async fn serve(
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    graph: Arc<GraphClient>,
    socket: TcpStream,
    peer: SocketAddr,
    mut place: ConnectionPermit,
) {
    let started = Instant::now();
    let subject = ConnectionInfo::new(&service.listener.name, peer);
    let visit = shared.penalties.visit(peer.ip());
    let destination = MaildropLogin { shared: &shared, graph: &graph, source: peer.ip() };
    let login =
        Login { shared: &shared, service: &service, subject: &subject, visit: &visit, destination: &destination };
    let entered = Box::pin(login.run(socket)).await;
    drop(visit);
    let Some(LoggedIn { stream, leftovers, session: Some(Begun { whose, brings, live }) }) = entered else { return };
    let Opened { mailbox, inbox, lock } = brings;
    place.logged_in();
    let mut conversation =
        Conversation::new(&shared, &service, &subject, (&whose, &live), stream, Arc::new(mailbox), inbox);
    let ended = async {
        match &whose.device {
            Some(device) => device.ended().await.cause(),
            None => pending().await,
        }
    };
    let told_to_end = async {
        tokio::select! {
            cause = ended => cause,
            () = live.told_to_end() => Cause::EndedByOperator,
        }
    };
    let cause = tokio::select! {
        end = conversation.run(leftovers) => end.cause(),
        cause = told_to_end => {
            conversation.finish().await;
            cause
        }
    };
    let (sent, received) = conversation.octets();
    drop(conversation);
    drop(lock);
    let ending = Ending { cause, duration: started.elapsed(), sent, received };
    shared.journal.ended(service.listener.protocol, &subject, &whose, live, ending);
}

/// What a login yields: a mailbox whose Inbox could be read.
struct Opened {
    mailbox: Mailbox,
    inbox: Inbox,
    lock: MailboxPermit,
}

/// Logs clients in to a maildrop.
struct MaildropLogin<'a> {
    shared: &'a Arc<SessionContext>,
    graph: &'a Arc<GraphClient>,
    source: IpAddr,
}

impl LoginHandler for MaildropLogin<'_> {
    type LoggedInAs = Opened;

    fn protocol(&self) -> MailProtocol {
        MailProtocol::Pop3
    }

    fn announced(&self) -> Arc<Capabilities> {
        Arc::new(capabilities::maildrop())
    }

    async fn decide(&self, credentials: &Arc<Credentials>, _: Instant) -> Result<Accepted<Opened>, Failure> {
        match &**credentials {
            Credentials::Token(bearer) => {
                self.shared.judge_at_graph(self.graph, bearer, self.source).await?;
                let whose = SessionUser::named(bearer.user.as_str());
                // Taken after Graph accepted the token. Before that, it may be anybody's.
                let lock = self.lock(&bearer.user).await?;
                let mut mailbox = self.mailbox(bearer.clone(), Renewal::ByClient);
                let inbox = mailbox.open(self.shared.limits.maildrop_messages).await.map_err(clients_own_token)?;
                Ok(accepted(whose, "of the client", mailbox, inbox, lock))
            }
            Credentials::Password { login, acting_as, password } => {
                let request = LoginRequest {
                    login,
                    acting_as: acting_as.as_ref(),
                    password,
                    source: self.source,
                    protocol: Protocol::Pop3,
                    resource: Resource::Graph,
                };
                let authenticator = &self.shared.authenticator;
                let admit = || authenticator.admit(request, min_token_lifetime(Protocol::Pop3));
                let admission = admit().await?;
                // Taken after the password was verified, so that a client that cannot log in locks
                // no other out.
                let lock = self.lock(&admission.bearer.user).await?;
                let most = self.shared.limits.maildrop_messages;
                let open = |admission: &AuthorizedLogin| {
                    let mut mailbox = self.mailbox(admission.bearer.clone(), renewal(admission));
                    let holder = TokenHolder::new(admission, &admission.bearer.user);
                    async move {
                        let explain = |failure| holder.refused_over_https(failure, MailAccess::GraphReadWrite);
                        let opened = mailbox.open(most).await.map_err(|unserved| match unserved {
                            Unserved::Failed(failure) => Unserved::Failed(explain(failure)),
                            Unserved::TokenRefused(failure) => Unserved::TokenRefused(explain(failure)),
                            Unserved::Gone => Unserved::Gone,
                        });
                        opened.map(|inbox| (mailbox, inbox))
                    }
                };
                let opened = with_fresh_token(authenticator, admission, admit, open).await?;
                let (admission, (mailbox, inbox)) = opened.map_err(Unserved::into_failure)?;
                let token = origin(&admission);
                let whose = SessionUser::from(&admission);
                Ok(accepted(whose, token, mailbox, inbox, lock))
            }
        }
    }
}

impl MaildropLogin<'_> {
    fn mailbox(&self, bearer: Bearer, renewal: Renewal) -> Mailbox {
        Mailbox::new(Arc::clone(self.shared), Arc::clone(self.graph), bearer, renewal)
    }

    async fn lock(&self, mailbox: &MailAddress) -> Result<MailboxPermit, Failure> {
        self.shared.maildrops.acquire(Protocol::Pop3, mailbox).await.map_err(|_| {
            Failure::new(Cause::MaildropInUse, "another POP3 session has this mailbox open").to_do(
                "let one client at a time read it by POP3, and let it end with QUIT. A session whose client is gone ends \
                 within two minutes, or after `limits.pop3_idle`",
            )
        })
    }
}

fn accepted(
    whose: SessionUser,
    token: &'static str,
    mailbox: Mailbox,
    inbox: Inbox,
    lock: MailboxPermit,
) -> Accepted<Opened> {
    Accepted { whose, token, announced: capabilities::maildrop(), brings: Opened { mailbox, inbox, lock } }
}

fn renewal(admission: &AuthorizedLogin) -> Renewal {
    match admission.account.grant {
        // The password that is needed is not kept.
        Grant::Password => Renewal::ByLogin,
        Grant::ClientCredentials | Grant::AuthorizationCode | Grant::DeviceCode => {
            Renewal::Of(admission.login.clone(), Arc::clone(&admission.account))
        }
    }
}

/// Returns the failure of a client's own token, which is the client's fault.
fn clients_own_token(unserved: Unserved) -> Failure {
    match unserved {
        Unserved::TokenRefused(failure) => failure
            .answered(Refusal::InvalidCredentials)
            .by(Actor::ClientOwner)
            .to_do("get a new token for Microsoft Graph with `Mail.ReadWrite` and try again")
            .delayed(),
        unserved => unserved.into_failure(),
    }
}
