//! A mail session: a login opens an upstream connection, then bytes are relayed.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::fresh_token::with_fresh_token;
use super::incident::Ending;
use super::journal::Journal;
use super::login::{Accepted, Begun, LoggedIn, Login, LoginHandler, min_token_lifetime_at, origin};
use super::mail_refusal::MailRefusal;
use super::upstream::{MailServers, OpenError};
use crate::login::{AuthorizedLogin, LoginRequest};
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::context::SessionContext;
use crate::session::drain::DrainSchedule;
use crate::session::listener_state::ListenerState;
use crate::session::mailbox_memory::MailboxMemory;
use crate::session::mailbox_slots::MailboxPermit;
use crate::session::registry::SessionGuard;
use crate::session::sign_in::Claimant;
use gatepost_config::Resource;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_net::connection_limit::ConnectionPermit;
use gatepost_net::relay::{End, Relay, RelayLimits, Report, relay};
use gatepost_net::stream::Stream;
use gatepost_proto::mail::smtp::RefusedCommand;
use gatepost_proto::mail::{
    Authenticated, Capabilities, Farewell, QuiescenceDetector, UpstreamFailure, UpstreamFailureKind,
};
use gatepost_proto::sasl::Credentials;

/// How long an SMTP session is silent after a message before it may have to yield to another of its
/// mailbox. A client that sends one message after another pauses less between two of them. One that
/// begins a message as it is told to end loses that message, if it does not try again.
const YIELDS_AFTER: Duration = Duration::from_secs(1);
/// The same before the first message, for which the client has just logged in.
const YIELDS_UNUSED_AFTER: Duration = Duration::from_secs(10);

/// How many refused commands of one session the log has. A program that goes through a list of
/// wrong recipients repeats itself, and all of them are counted.
const REFUSALS_TOLD: u32 = 20;

/// A session whose client has logged in. Its idle kind is most of what the service holds in memory.
pub(super) struct RelayedSession {
    relay: Relay,
    protocol: MailProtocol,
    started: Instant,
    // Boxed, because it is needed at the end only.
    subject: Box<ConnectionInfo>,
    whose: SessionUser,
    live: SessionGuard,
    of_mailbox: MailboxPermit,
    _place: ConnectionPermit,
    service: Arc<ListenerState>,
    journal: Arc<Journal>,
    drain: Arc<DrainSchedule>,
    memory: Arc<MailboxMemory>,
}

/// Serves a connection until its client has logged in. `None`: it is over, and the log says why.
pub(super) async fn enter(
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    servers: Arc<MailServers>,
    socket: TcpStream,
    peer: SocketAddr,
    mut place: ConnectionPermit,
) -> Option<RelayedSession> {
    let started = Instant::now();
    let subject = Box::new(ConnectionInfo::new(&service.listener.name, peer));
    let visit = shared.penalties.visit(peer.ip());
    let destination = MailLogin { shared: &shared, servers: &servers, service: &service, source: peer.ip() };
    let login =
        Login { shared: &shared, service: &service, subject: &subject, visit: &visit, destination: &destination };
    let LoggedIn { stream, leftovers, session } = login.run(socket).await?;
    let Begun { whose, brings: Established { stream: upstream, authenticated, of_mailbox }, live } = session?;
    place.logged_in();
    let protocol = servers.protocol();
    let limits = RelayLimits {
        idle: match protocol {
            MailProtocol::Imap => shared.limits.imap_idle,
            MailProtocol::Pop3 => shared.limits.pop3_idle,
            MailProtocol::Smtp => shared.limits.smtp_idle,
        },
        half_closed: shared.limits.half_closed,
        write_stall: shared.limits.write_stall,
        buffer_bytes: shared.limits.relay_buffer_bytes,
    };
    let (client, upstream) = (stream.into_side(), upstream.into_side());
    let lull = QuiescenceDetector::after_login(protocol);
    let relay = relay(client, upstream, leftovers, authenticated.into_leftovers(), limits).with_detector(lull);
    Some(RelayedSession {
        relay,
        protocol,
        started,
        subject,
        whose,
        live,
        of_mailbox,
        _place: place,
        journal: Arc::clone(&shared.journal),
        drain: Arc::clone(&shared.drain),
        memory: Arc::clone(&shared.memory),
        service,
    })
}

impl RelayedSession {
    /// Relays until one side ends or the session is told to.
    pub(super) async fn until_its_end(&mut self) -> Report {
        let Self { relay, protocol, subject, whose, live, of_mailbox, journal, drain, .. } = self;
        // Boxed, because few sessions have a device password.
        let mut ended = whose.device.as_ref().map(|device| Box::pin(device.ended()));
        let mut ended = pin!(poll_fn(|cx| ended.as_mut().map_or(Poll::Pending, |ended| ended.as_mut().poll(cx))));
        let mut turn = pin!(drain.next_slot());
        let mut left = false;
        // Boxed, because few sessions are SMTP.
        let mut verdicts =
            (*protocol == MailProtocol::Smtp).then(|| Box::new(Verdicts { journal, subject, whose, told: 0 }));
        loop {
            let asked = of_mailbox.asked_to_yield();
            let moving = poll_fn(|cx| {
                let polled = Pin::new(&mut *relay).poll(cx);
                if let Some(verdicts) = &mut verdicts {
                    std::iter::from_fn(|| relay.take_refused()).for_each(|refused| verdicts.note(&refused));
                    std::iter::from_fn(|| relay.take_accepted()).for_each(|sender| verdicts.passed(sender.as_deref()));
                }
                let (sent, received) = relay.moved();
                live.moved(sent, received);
                // One that leaves already keeps what it said, so that no other is asked in its place.
                if !left {
                    let silence = if relay.has_sent() { YIELDS_AFTER } else { YIELDS_UNUSED_AFTER };
                    of_mailbox.rests(relay.rests_since(Farewell::Yielding).map(|since| since + silence));
                }
                polled
            });
            tokio::select! {
                // What has arrived is looked at first: a client that sends is not told to end.
                biased;
                report = moving => return report,
                ending = &mut ended => return relay.cut(ending.cause()),
                () = live.told_to_end() => return relay.cut(Cause::EndedByOperator),
                quiet = &mut turn, if !left => {
                    left = relay.shutdown_if_idle(quiet, Farewell::Stopping);
                    turn.set(drain.next_slot());
                }
                () = asked, if !left => left = relay.shutdown_if_idle(YIELDS_AFTER, Farewell::Yielding),
            }
        }
    }

    /// Notes its end.
    pub(super) fn note(self, report: Report) {
        let Self { relay, protocol, started, subject, whose, live, of_mailbox, service, journal, memory, .. } = self;
        if let (End::Upstream | End::UpstreamBroke(_), Some(pause)) = (&report.end, relay.pause()) {
            memory.pause(protocol, of_mailbox.mailbox(), pause);
        }
        drop(of_mailbox);
        let ending = Ending {
            cause: report.end.cause(),
            duration: started.elapsed(),
            sent: report.sent,
            received: report.received,
        };
        journal.ended(service.listener.protocol, &subject, &whose, live, ending);
    }
}

/// What Exchange Online decided in a relayed SMTP session, for the journal.
struct Verdicts<'a> {
    journal: &'a Journal,
    subject: &'a ConnectionInfo,
    whose: &'a SessionUser,
    /// How many of them are in the log.
    told: u32,
}

impl Verdicts<'_> {
    fn passed(&self, sender: Option<&str>) {
        self.journal.passed(Protocol::Smtp, self.subject, &self.whose.account, sender);
    }

    fn note(&mut self, refused: &RefusedCommand) {
        let Self { journal, subject, whose, .. } = *self;
        let mailbox = whose.mailbox.as_deref().unwrap_or(&whose.account);
        let failure = MailRefusal::of(refused, mailbox).failure();
        self.told = self.told.saturating_add(1);
        if self.told <= REFUSALS_TOLD {
            journal.command_refused(subject, whose, None, &refused.reply, &failure);
        } else {
            journal.mail_refused(subject, whose, &failure);
        }
    }
}

/// What a login yields: a connection on which the upstream has accepted it too.
struct Established {
    stream: Stream,
    authenticated: Authenticated,
    of_mailbox: MailboxPermit,
}

fn established(
    stream: Stream,
    authenticated: Authenticated,
    of_mailbox: MailboxPermit,
    whose: SessionUser,
    token: &'static str,
) -> Accepted<Established> {
    let announced = authenticated.capabilities().clone();
    Accepted { whose, token, announced, brings: Established { stream, authenticated, of_mailbox } }
}

/// Logs clients in at a mail server.
struct MailLogin<'a> {
    shared: &'a SessionContext,
    servers: &'a MailServers,
    service: &'a ListenerState,
    source: IpAddr,
}

impl LoginHandler for MailLogin<'_> {
    type LoggedInAs = Established;

    fn protocol(&self) -> MailProtocol {
        self.servers.protocol()
    }

    fn announced(&self) -> Arc<Capabilities> {
        self.servers.announced()
    }

    async fn decide(&self, credentials: &Arc<Credentials>, end: Instant) -> Result<Accepted<Established>, Failure> {
        match &**credentials {
            Credentials::Token(bearer) => {
                let target = self.shared.server_of_owner(self.servers, bearer)?;
                let ask = async {
                    let claimant = Claimant::Token(self.source);
                    let signed_in = self.shared.sign_in(target, claimant, bearer.clone(), end).await;
                    signed_in.map_err(|error| clients_own_token(&error, &target.upstream))
                };
                let judge = target.judge(self.service.listener.protocol);
                let (stream, authenticated) = self.shared.judge(bearer, self.source, judge, ask).await?;
                // Taken after the upstream accepted the token. Before that, it may be anybody's.
                let of_mailbox = self.place(&bearer.user).await?;
                let whose = SessionUser::named(bearer.user.as_str());
                Ok(established(stream, authenticated, of_mailbox, whose, "of the client"))
            }
            Credentials::Password { login, acting_as, password } => {
                let servers = self.servers;
                let protocol = self.service.listener.protocol;
                let request = LoginRequest {
                    login,
                    acting_as: acting_as.as_ref(),
                    password,
                    source: self.source,
                    protocol,
                    resource: Resource::Exchange,
                };
                let authenticator = &self.shared.authenticator;
                let admit = || authenticator.admit(request, min_token_lifetime_at(&servers.own().upstream));
                let admission = admit().await?;
                // Taken after the password was verified, so that a client that cannot log in takes
                // no permit.
                let place = self.place(&admission.bearer.user).await?;
                let sign_in = |admission: &AuthorizedLogin| {
                    self.shared.sign_in_as(servers, admission, &admission.bearer.user, &place, end)
                };
                let signed_in = with_fresh_token(authenticator, admission, admit, sign_in).await?;
                let (admission, (stream, authenticated)) = signed_in.map_err(|refused| refused.failure)?;
                let token = origin(&admission);
                let whose = SessionUser::from(&admission);
                Ok(established(stream, authenticated, place, whose, token))
            }
        }
    }
}

impl MailLogin<'_> {
    async fn place(&self, mailbox: &MailAddress) -> Result<MailboxPermit, Failure> {
        let protocol = self.service.listener.protocol;
        self.shared.places.acquire(protocol, mailbox).await.map_err(|occupied| occupied.failure(protocol))
    }
}

/// Returns the failure of a client's own token. A refusal is the fault of the client's credentials,
/// not the operator's.
pub(super) fn clients_own_token(error: &OpenError, upstream: &gatepost_config::Upstream) -> Failure {
    let failure = error.failure(upstream);
    match error {
        OpenError::Upstream(reply) if reply.kind == UpstreamFailureKind::TokenRefused => failure
            .answered(Refusal::InvalidCredentials)
            .by(Actor::ClientOwner)
            .to_do("get a new token with the scope of this protocol and try again")
            .delayed(),
        OpenError::Upstream(reply) if reply.kind == UpstreamFailureKind::MailboxNotConnected => {
            failure.answered(Refusal::NotAuthorized).delayed()
        }
        OpenError::Upstream(UpstreamFailure { kind: UpstreamFailureKind::TokenNotUnderstood { .. }, .. }) => {
            failure.answered(Refusal::InvalidCredentials).delayed()
        }
        _ => failure,
    }
}
