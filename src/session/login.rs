//! The phase of a mail session before its login is decided, the same for all backends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use zeroize::{Zeroize as _, Zeroizing};

use super::attempt::{Attempts, Claim, TooManyHeldBack};
use crate::login::own_token::not_a_token;
use crate::login::{AuthorizedLogin, TokenOrigin};
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::context::SessionContext;
use crate::session::drain::drain_grace;
use crate::session::listener_state::ListenerState;
use crate::session::registry::SessionGuard;
use gatepost_config::{ListenerTls, Upstream};
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_net::penalty::{Misbehavior, PenaltyGuard};
use gatepost_net::stream::Stream;
use gatepost_proto::mail::{
    Capabilities, ClientEvent, ClientSettings, ClientSide, CloseReason, Rejection, ShutdownReason, client_side,
};
use gatepost_proto::sasl::Credentials;

/// Decides about logins for one kind of backend.
pub(super) trait LoginHandler: Sync {
    /// What a login yields.
    type LoggedInAs: Send;

    /// The protocol of the client.
    fn protocol(&self) -> MailProtocol;

    /// What clients are told before the login.
    fn announced(&self) -> Arc<Capabilities>;

    /// Whether the client may send mail without a login.
    fn trusts(&self) -> bool {
        false
    }

    /// Decides about a login, whose time is over at `end`. The caller enforces that.
    fn decide(
        &self,
        credentials: &Arc<Credentials>,
        end: Instant,
    ) -> impl Future<Output = Result<Accepted<Self::LoggedInAs>, Failure>> + Send;
}

/// A login that succeeded.
pub(super) struct Accepted<T> {
    /// The account that logged in.
    pub(super) whose: SessionUser,
    /// Where the token comes from, for the log.
    pub(super) token: &'static str,
    /// What the client is told after the login.
    pub(super) announced: Capabilities,
    /// What the login yields.
    pub(super) brings: T,
}

/// A client that has logged in, or needs no login.
pub(super) struct LoggedIn<T> {
    /// Its connection.
    pub(super) stream: Stream,
    /// Octets that it sent after its login.
    pub(super) leftovers: Vec<u8>,
    /// The session that its login began; `None` when it sends mail without one.
    pub(super) session: Option<Begun<T>>,
}

/// A session that has begun. Holds nothing that only the login needed.
pub(super) struct Begun<T> {
    /// The account that logged in.
    pub(super) whose: SessionUser,
    /// What the login yields.
    pub(super) brings: T,
    /// Its entry in the journal.
    pub(super) live: SessionGuard,
}

/// The login phase of a connection.
pub(super) struct Login<'a, D> {
    pub(super) shared: &'a SessionContext,
    pub(super) service: &'a ListenerState,
    pub(super) subject: &'a ConnectionInfo,
    pub(super) visit: &'a PenaltyGuard,
    pub(super) destination: &'a D,
}

/// The deadlines of a client.
struct Clock {
    /// Time for one command.
    command: Duration,
    /// The end of the whole login phase.
    end: Instant,
    /// The deadline of the present command.
    command_end: Option<Instant>,
}

/// How a conversation before the login ended.
enum Next<T> {
    /// The client asked for the TLS handshake.
    StartTls,
    /// The client may enter.
    Enter(Option<Box<Begun<T>>>),
}

/// The login phase ended without a login. The log line has been written or is not needed.
struct LoginEnded;

impl<D: LoginHandler> Login<'_, D> {
    /// Drives the connection until a login is decided. `None`: the connection is over, and the log
    /// says why.
    pub(super) async fn run(self, socket: TcpStream) -> Option<LoggedIn<D::LoggedInAs>> {
        let mut stream = Stream::Plain(socket.into());
        if matches!(self.service.listener.tls, ListenerTls::Implicit(_)) {
            stream = self.accept_tls(stream).await.ok()?;
        }
        let machine = client_side(self.destination.protocol(), self.settings());
        self.drive(stream, machine).await.ok()
    }

    fn attempts(&self) -> Attempts<'_> {
        let Self { shared, service, subject, visit, .. } = *self;
        Attempts { shared, service, subject, visit }
    }

    fn settings(&self) -> ClientSettings {
        let listener = &self.service.listener;
        ClientSettings {
            limits: Arc::clone(&self.shared.limits.protocol),
            announced: self.destination.announced(),
            starttls: matches!(listener.tls, ListenerTls::StartTls(_)),
            implicit_tls: matches!(listener.tls, ListenerTls::Implicit(_)),
            plaintext_login: self.service.allows_plaintext(self.subject.peer.ip()),
            client_tokens: listener.client_tokens,
            bare_lf: listener.bare_lf,
            legacy: listener.legacy,
            trusted: self.destination.trusts(),
            server_name: Arc::clone(&self.shared.server_name),
            session_id: Arc::clone(&self.subject.session),
        }
    }

    async fn drive(
        &self,
        mut stream: Stream,
        mut machine: Box<dyn ClientSide>,
    ) -> Result<LoggedIn<D::LoggedInAs>, LoginEnded> {
        let crowded = self.shared.connections.is_overloaded();
        let limit = |usual: Duration| if crowded { usual / 3 } else { usual };
        if let Some(greeting) = machine.poll_output()
            && let Err(over) = self.write(&mut stream, &greeting).await
        {
            stream.end().await;
            return Err(over);
        }
        let mut clock = Clock {
            command: limit(self.shared.limits.command),
            end: Instant::now() + limit(self.shared.limits.pre_auth),
            // The first command's time starts with the greeting, each later one's with its first
            // octet.
            command_end: Some(Instant::now() + limit(self.shared.limits.command)),
        };
        loop {
            match self.converse(&mut stream, machine.as_mut(), &mut clock).await {
                Ok(Next::StartTls) => {
                    stream = self.accept_tls(stream).await?;
                    machine.tls_established();
                }
                Ok(Next::Enter(session)) => {
                    let leftovers = machine.take_leftovers();
                    return Ok(LoggedIn { stream, leftovers, session: session.map(|session| *session) });
                }
                Err(LoginEnded) => {
                    stream.end().await;
                    return Err(LoginEnded);
                }
            }
        }
    }

    /// Converses until the handshake or the login is next. On an error everything has been sent
    /// except the end of the stream.
    async fn converse(
        &self,
        stream: &mut Stream,
        machine: &mut dyn ClientSide,
        clock: &mut Clock,
    ) -> Result<Next<D::LoggedInAs>, LoginEnded> {
        // Zeroized because passwords pass through it.
        let mut buffer = Zeroizing::new(vec![0; 2_048]);
        loop {
            let event = machine.poll_event();
            if let Some(output) = machine.poll_output() {
                self.write(stream, &output).await?;
                clock.command_end = None;
            }
            match event {
                None => {
                    let deadline = clock.command_end.map_or(clock.end, |command_end| clock.end.min(command_end));
                    let read = tokio::select! {
                        read = stream.read(&mut buffer) => read,
                        () = tokio::time::sleep_until(deadline) => {
                            self.log_over(Cause::Timeout, "the client took too long to log in");
                            self.visit.penalize(Misbehavior::Timeout);
                            return self.say_goodbye(stream, machine, ShutdownReason::Timeout).await;
                        }
                        () = drain_grace(&self.shared.draining) => {
                            self.visit.forgive();
                            return self.say_goodbye(stream, machine, ShutdownReason::Draining).await;
                        }
                    };
                    match read {
                        Ok(0) => {
                            self.log_over(Cause::ClientLeft, "the client left without a login");
                            return Err(LoginEnded);
                        }
                        Ok(read) => {
                            clock.command_end.get_or_insert_with(|| Instant::now() + clock.command);
                            machine.handle_input(&buffer[..read]);
                            buffer[..read].zeroize();
                        }
                        Err(error) => {
                            self.attempts().broke(&error);
                            return Err(LoginEnded);
                        }
                    }
                }
                Some(ClientEvent::StartTls) => return Ok(Next::StartTls),
                Some(ClientEvent::Submission) => {
                    self.visit.forgive();
                    return Ok(Next::Enter(None));
                }
                Some(ClientEvent::Rejected(rejection)) => {
                    self.subject.note(|client| client.method = machine.login_method());
                    self.reject(&rejection).await?;
                    machine.resume();
                }
                Some(ClientEvent::Close(reason)) => {
                    self.log_close(reason);
                    self.charge_close(reason);
                    return Err(LoginEnded);
                }
                Some(ClientEvent::Login(credentials)) => {
                    self.subject.note(|client| client.method = machine.login_method());
                    let attempts = self.attempts();
                    if attempts.closed().is_some() {
                        self.log_over(Cause::Penalised, "the source is closed for its penalties");
                        self.visit.forgive();
                        return Err(LoginEnded);
                    }
                    let credentials = Arc::new(credentials);
                    let asked = Instant::now();
                    let end = asked + self.shared.limits.login;
                    let deciding = self.destination.decide(&credentials, end);
                    match attempts.judge(end, deciding).await {
                        Ok(Accepted { whose, token, announced, brings }) => {
                            self.visit.forgive();
                            machine.accept(&announced);
                            if let Some(output) = machine.poll_output() {
                                self.write(stream, &output).await?;
                            }
                            let (journal, protocol) = (&self.shared.journal, self.service.listener.protocol);
                            let live = journal.accepted(protocol, self.subject, &whose, token);
                            return Ok(Next::Enter(Some(Box::new(Begun { whose, brings, live }))));
                        }
                        Err(failure) => {
                            attempts.refused(Claim::from(&*credentials), &failure);
                            if failure.delay {
                                self.delay().await?;
                            }
                            machine.refuse(failure.refusal);
                        }
                    }
                    // The time that Entra and the upstream take is not the client's.
                    clock.end += asked.elapsed();
                }
            }
        }
    }

    /// Logs, charges and delays what the machine refused by itself.
    async fn reject(&self, rejection: &Rejection) -> Result<(), LoginEnded> {
        let user = match rejection {
            Rejection::Name(bad) => bad.hint.as_str(),
            Rejection::NotAToken(user) => user.as_str(),
            _ => "",
        };
        let failure = rejected(rejection);
        match rejection {
            Rejection::ClientTokens => {
                // No token was presented.
                self.attempts().log(user, &failure);
                self.visit.forgive();
                return Ok(());
            }
            // No password was presented. The machine counts it as a bad command.
            Rejection::Malformed => {
                self.attempts().log(user, &failure);
                return Ok(());
            }
            _ => {}
        }
        self.attempts().refused_unjudged(user, &failure);
        self.delay().await
    }

    fn charge_close(&self, reason: CloseReason) {
        match reason {
            CloseReason::Http => self.visit.penalize(Misbehavior::Http),
            CloseReason::BytesBehindStartTls | CloseReason::TooLong | CloseReason::TooManyCommands => {
                self.visit.penalize(Misbehavior::Garbage);
            }
            CloseReason::TlsHello => self.visit.forgive(),
            // A client that may send without a login need not try one.
            CloseReason::Logout if self.destination.trusts() => self.visit.forgive(),
            // Each failed login was already charged.
            CloseReason::Logout | CloseReason::TooManyAttempts => {}
        }
    }

    async fn accept_tls(&self, stream: Stream) -> Result<Stream, LoginEnded> {
        let Some(config) = &self.service.tls else {
            // A listener without certificate never offers TLS.
            return Err(LoginEnded);
        };
        let mut first = Vec::new();
        let handshake = async {
            first = stream.first_octets().await?;
            stream.accept_tls(Arc::clone(config)).await
        };
        let outcome = timeout(self.shared.limits.tls_handshake, handshake).await;
        match outcome {
            Ok(Ok(stream)) => {
                self.subject.note(|client| client.tls = stream.tls_version().unwrap_or_default());
                Ok(stream)
            }
            Ok(Err(error)) => {
                self.attempts().tls_failed(&error, &first);
                Err(LoginEnded)
            }
            Err(_) => {
                self.attempts().tls_timed_out(&first);
                Err(LoginEnded)
            }
        }
    }

    async fn write(&self, stream: &mut Stream, output: &[u8]) -> Result<(), LoginEnded> {
        match timeout(self.shared.limits.command, stream.write(output)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.log_over(Cause::ClientBroke, &format!("the client's connection broke: {error}"));
                Err(LoginEnded)
            }
            Err(_) => {
                self.log_over(Cause::ClientStalled, "the client does not take what it is sent");
                Err(LoginEnded)
            }
        }
    }

    async fn say_goodbye(
        &self,
        stream: &mut Stream,
        machine: &mut dyn ClientSide,
        farewell: ShutdownReason,
    ) -> Result<Next<D::LoggedInAs>, LoginEnded> {
        machine.close(farewell);
        if let Some(output) = machine.poll_output() {
            self.write(stream, &output).await?;
        }
        Err(LoginEnded)
    }

    /// Delays a refusal. If too many are delayed already, the connection is closed.
    async fn delay(&self) -> Result<(), LoginEnded> {
        self.attempts().hold_back().await.map_err(|TooManyHeldBack| {
            self.log_over(Cause::TooManyFailures, "too many refusals are held back (`limits.delayed_failures`)");
            LoginEnded
        })
    }

    fn log_close(&self, reason: CloseReason) {
        let (cause, text) = match reason {
            CloseReason::Logout => (Cause::Logout, "the client ended the connection"),
            CloseReason::BytesBehindStartTls => (
                Cause::BytesBehindStarttls,
                "bytes arrived after STARTTLS and before the handshake. The connection was closed, because \
                 an attacker may be injecting commands",
            ),
            CloseReason::Http => return self.attempts().http_on_mail_port(),
            CloseReason::TlsHello => return self.attempts().tls_on_plain_port(),
            CloseReason::TooLong => (Cause::TooLong, "a line or literal was longer than `limits` allow"),
            CloseReason::TooManyCommands => (Cause::TooManyCommands, "too many commands before the login"),
            CloseReason::TooManyAttempts => (Cause::TooManyAttempts, "too many failed logins on one connection"),
        };
        self.log_over(cause, text);
    }

    fn log_over(&self, cause: Cause, text: &str) {
        self.shared.journal.closed(self.subject, cause, text);
    }
}

/// Returns where the token of an authorized login comes from, for the log.
pub(super) fn origin(admission: &AuthorizedLogin) -> &'static str {
    match admission.origin {
        TokenOrigin::Cached => "cached",
        TokenOrigin::Fetched => "fetched",
    }
}

/// Returns how much life a token should have left at login. Exchange Online ends an IMAP session
/// when its token expires, so IMAP gets a token that still lasts a while. Sessions of the other
/// protocols are short.
pub(super) fn min_token_lifetime(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Imap => Duration::from_secs(30 * 60),
        Protocol::Pop3 | Protocol::Smtp | Protocol::Ews | Protocol::Graph => Duration::from_secs(5 * 60),
    }
}

/// The same for a mail server. High Volume Email refuses a token that ends within ten minutes, so it
/// gets one that still lasts when the client sends several messages.
pub(super) fn min_token_lifetime_at(server: &Upstream) -> Duration {
    match server.is_high_volume() {
        true => Duration::from_secs(20 * 60),
        false => min_token_lifetime(server.protocol.into()),
    }
}

fn rejected(rejection: &Rejection) -> Failure {
    let (cause, message) = match rejection {
        Rejection::Name(bad) => (Cause::BadName, format!("the user name cannot be one: {bad}")),
        Rejection::Password => (
            Cause::BadPassword,
            "the password is empty, longer than 1,024 bytes, or has a line break, NUL or ^A".to_owned(),
        ),
        Rejection::Malformed => (
            Cause::MalformedLogin,
            "the login command or the SASL message is malformed, so no password was read".to_owned(),
        ),
        Rejection::Token => (Cause::BadToken, "the XOAUTH2 or OAUTHBEARER message is malformed".to_owned()),
        Rejection::NotAToken(_) => return not_a_token(),
        Rejection::ClientTokens => (
            Cause::ClientTokensRefused,
            "the client brought a token of its own, which this listener does not accept (`client_tokens: refuse`)"
                .to_owned(),
        ),
        Rejection::PlaintextLogin => (
            Cause::PlaintextLogin,
            "a login came without TLS from a network that needs it. The password was readable on the wire".to_owned(),
        ),
    };
    Failure::new(cause, message).delayed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_config::UpstreamTls;
    use gatepost_proto::mail::TokenExchange;

    #[test]
    fn high_volume_email_gets_tokens_that_last_twenty_minutes() {
        for (name, minutes) in
            [("smtp.office365.com", 5), ("smtp.hve.mx.microsoft", 20), ("smtp-hve.office365.com", 20)]
        {
            let (host, name) = ("127.0.0.1".to_owned(), name.to_owned());
            let server = Upstream {
                protocol: MailProtocol::Smtp,
                host,
                port: 587,
                tls: UpstreamTls::StartTls,
                name,
                exchange: TokenExchange::EXCHANGE_ONLINE,
            };
            assert_eq!(min_token_lifetime_at(&server), Duration::from_secs(60 * minutes), "{}", server.name);
        }
    }

    #[test]
    fn an_imap_session_gets_a_token_that_lasts_half_an_hour() {
        let minutes = |protocol| min_token_lifetime(protocol).as_secs_f32() / 60.0;
        assert_eq!(Protocol::ALL.map(minutes).to_vec(), [30.0, 5.0, 5.0, 5.0, 5.0]);
    }

    #[test]
    fn every_refused_form_has_a_cause_of_its_own_and_is_answered_late() {
        for (rejection, cause) in [
            (Rejection::Password, Cause::BadPassword),
            (Rejection::Malformed, Cause::MalformedLogin),
            (Rejection::Token, Cause::BadToken),
            (Rejection::ClientTokens, Cause::ClientTokensRefused),
            (Rejection::PlaintextLogin, Cause::PlaintextLogin),
        ] {
            let failure = rejected(&rejection);
            assert_eq!((failure.cause, failure.delay), (cause, true));
        }
    }
}
