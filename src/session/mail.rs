//! A mail session: the client's machine is driven until a login is decided, then bytes are relayed.

use std::future::{Future as _, pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use zeroize::{Zeroize as _, Zeroizing};

use super::journal::{ENDED_BY_OPERATOR, Ending};
use super::live::Live;
use super::places::MailboxPlace;
use super::upstream::{OpenError, Target};
use super::{Service, Shared, Subject, Whose, want_life};
use crate::account::MailAddress;
use crate::chance;
use crate::config::{ListenerTls, Resource};
use crate::failure::{Actor, Failure};
use crate::login::{Admission, LoginRequest, TokenOrigin, UNKNOWN_ACCOUNT, is_guess};
use crate::net::census::Place;
use crate::net::penalty::{Offence, Visit};
use crate::net::relay::{RelayLimits, relay};
use crate::net::side::Side;
use crate::net::stream::Stream;
use crate::proto::{
    Authenticated, ClientEvent, ClientSettings, ClientSide, CloseReason, Farewell, MailProtocol, Refusal, Rejection,
    UpstreamFailureKind, client_side,
};
use crate::sasl::Credentials;

/// Serves one connection from accept to end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    service: Arc<Service>,
    target: Arc<Target>,
    socket: TcpStream,
    peer: SocketAddr,
    mut place: Place,
) {
    let started = Instant::now();
    let subject = Subject::new(&service, peer);
    // In a box of its own, so that the memory of the login is gone while the relay sits idle.
    let visit = shared.penalties.visit(peer.ip());
    let login = Box::pin(
        Login { shared: &shared, service: &service, target: &target, subject: &subject, visit: &visit }.run(socket),
    )
    .await;
    drop(visit);
    let Some(ready) = login else { return };
    place.logged_in();
    let limits = RelayLimits {
        idle: match target.upstream.protocol {
            MailProtocol::Imap => shared.limits.imap_idle,
            MailProtocol::Pop3 => shared.limits.pop3_idle,
            MailProtocol::Smtp => shared.limits.smtp_idle,
        },
        half_closed: shared.limits.half_closed,
        write_stall: shared.limits.write_stall,
        buffer_bytes: shared.limits.relay_buffer_bytes,
    };
    let journal = Arc::clone(&shared.journal);
    drop(shared);
    let Ready { client, upstream, to_upstream, to_client, whose, live, of_mailbox } = ready;
    let mut relay = relay(client, upstream, to_upstream, to_client, limits);
    let ended = async {
        match &whose.device {
            Some(device) => device.ended().await,
            None => pending().await,
        }
    };
    let moving = poll_fn(|cx| {
        let polled = Pin::new(&mut relay).poll(cx);
        let (sent, received) = relay.moved();
        live.moved(sent, received);
        polled
    });
    let moved = tokio::select! {
        report = moving => Ok(report),
        ending = ended => Err(ending.cause()),
        () = live.told_to_end() => Err(ENDED_BY_OPERATOR),
    };
    let report = moved.unwrap_or_else(|cause| relay.cut(cause));
    drop(of_mailbox);
    let ending =
        Ending { cause: report.end.cause(), duration: started.elapsed(), sent: report.sent, received: report.received };
    journal.ended(&service, &subject, &whose, ending);
    drop(live);
}

/// Both sides have logged in: what the relay needs.
struct Ready {
    client: Side,
    upstream: Side,
    to_upstream: Vec<u8>,
    to_client: Vec<u8>,
    whose: Whose,
    live: Live,
    of_mailbox: MailboxPlace,
}

/// A login that the upstream accepted.
struct Established {
    stream: Stream,
    authenticated: Authenticated,
    whose: Whose,
    token: &'static str,
    of_mailbox: MailboxPlace,
}

/// A connection that has not logged in.
struct Login<'a> {
    shared: &'a Shared,
    service: &'a Service,
    target: &'a Target,
    subject: &'a Subject,
    visit: &'a Visit,
}

/// Why a login phase ended without a login; the log line has been written or is not needed.
struct Over;

impl Login<'_> {
    async fn run(self, socket: TcpStream) -> Option<Ready> {
        let mut stream = Stream::Plain(socket.into());
        if matches!(self.service.listener.tls, ListenerTls::Implicit(_)) {
            stream = self.accept_tls(stream).await.ok()?;
        }
        let machine = client_side(self.target.upstream.protocol, self.settings());
        self.drive(stream, machine).await.ok()
    }

    fn settings(&self) -> ClientSettings {
        let listener = &self.service.listener;
        ClientSettings {
            limits: Arc::clone(&self.shared.limits.protocol),
            announced: self.target.announced(),
            starttls: matches!(listener.tls, ListenerTls::StartTls(_)),
            implicit_tls: matches!(listener.tls, ListenerTls::Implicit(_)),
            plaintext_login: self.service.allows_plaintext(self.subject.peer.ip()),
            bare_lf: listener.bare_lf,
            server_name: Arc::clone(&self.shared.server_name),
            session_id: Arc::clone(&self.subject.session),
        }
    }

    async fn drive(&self, mut stream: Stream, mut machine: Box<dyn ClientSide>) -> Result<Ready, Over> {
        let crowded = self.shared.census.crowded();
        let limit = |usual: Duration| if crowded { usual / 3 } else { usual };
        if let Some(greeting) = machine.poll_output() {
            self.write(&mut stream, &greeting).await?;
        }
        let mut end = Instant::now() + limit(self.shared.limits.pre_auth);
        // The first command is due from the greeting on, each further one from its first octet.
        let mut command_end = Some(Instant::now() + limit(self.shared.limits.command));
        // Passwords pass through it.
        let mut buffer = Zeroizing::new(vec![0; 2_048]);
        loop {
            let event = machine.poll_event();
            if let Some(output) = machine.poll_output() {
                self.write(&mut stream, &output).await?;
                command_end = None;
            }
            match event {
                None => {
                    let deadline = command_end.map_or(end, |command_end| end.min(command_end));
                    let read = tokio::select! {
                        read = stream.read(&mut buffer) => read,
                        () = tokio::time::sleep_until(deadline) => {
                            self.log_over("timeout", "the client took too long to log in");
                            self.visit.charge(Offence::Timeout);
                            return self.say_goodbye(stream, machine, Farewell::Timeout).await;
                        }
                        () = self.shared.draining.cancelled() => {
                            self.visit.excuse();
                            return self.say_goodbye(stream, machine, Farewell::Draining).await;
                        }
                    };
                    match read {
                        Ok(0) => {
                            self.log_over("client-left", "the client left without a login");
                            return Err(Over);
                        }
                        Ok(read) => {
                            command_end.get_or_insert_with(|| Instant::now() + limit(self.shared.limits.command));
                            machine.handle_input(&buffer[..read]);
                            buffer[..read].zeroize();
                        }
                        Err(error) => {
                            self.log_over("client-broke", &format!("the client's connection broke: {error}"));
                            return Err(Over);
                        }
                    }
                }
                Some(ClientEvent::StartTls) => {
                    stream = self.accept_tls(stream).await?;
                    machine.tls_established();
                }
                Some(ClientEvent::Rejected(rejection)) => {
                    // What it was is not known; whoever repeats it has not corrected his program.
                    self.visit.charge_guess("", "");
                    self.log_failure(None, &rejected(rejection));
                    self.delay().await?;
                    machine.resume();
                }
                Some(ClientEvent::Close(reason)) => {
                    self.log_close(reason);
                    self.charge_close(reason);
                    stream.end().await;
                    return Err(Over);
                }
                Some(ClientEvent::Login(credentials)) => {
                    let asked = Instant::now();
                    match self.decide(&credentials).await {
                        Ok(established) => {
                            self.visit.excuse();
                            return self.hand_over(stream, machine, established).await;
                        }
                        Err(failure) => {
                            self.log_failure(Some(&credentials), &failure);
                            self.charge_failure(&credentials, &failure);
                            if failure.delay {
                                self.delay().await?;
                            }
                            machine.refuse(failure.refusal);
                        }
                    }
                    // Waiting for Entra and the upstream is not the client's time.
                    end += asked.elapsed();
                }
            }
        }
    }

    /// The client hears of its success, and both connections are made ready for the relay.
    async fn hand_over(
        &self,
        mut stream: Stream,
        mut machine: Box<dyn ClientSide>,
        established: Established,
    ) -> Result<Ready, Over> {
        machine.accept(established.authenticated.capabilities());
        if let Some(output) = machine.poll_output() {
            self.write(&mut stream, &output).await?;
        }
        let live = self.shared.journal.accepted(self.service, self.subject, &established.whose, established.token);
        Ok(Ready {
            client: stream.into_side(),
            upstream: established.stream.into_side(),
            to_upstream: machine.take_leftovers(),
            to_client: established.authenticated.into_leftovers(),
            whose: established.whose,
            live,
            of_mailbox: established.of_mailbox,
        })
    }

    fn charge_failure(&self, credentials: &Credentials, failure: &Failure) {
        // A token of its own, which the upstream did not take, is the client's guess as well.
        let own_token = matches!(credentials, Credentials::Token(_)) && failure.refusal == Refusal::InvalidCredentials;
        if !own_token && !is_guess(failure) {
            return self.visit.excuse();
        }
        match credentials {
            Credentials::Password { login, password, .. } => {
                self.visit.charge_guess(login.as_str(), password.expose());
            }
            Credentials::Token(bearer) => self.visit.charge_guess(bearer.user.as_str(), bearer.token.expose()),
        }
    }

    fn charge_close(&self, reason: CloseReason) {
        match reason {
            CloseReason::Http => self.visit.charge(Offence::Http),
            CloseReason::BytesBehindStartTls | CloseReason::TooLong | CloseReason::TooManyCommands => {
                self.visit.charge(Offence::Garbage);
            }
            // Each failed login has had its price.
            CloseReason::Logout | CloseReason::TooManyAttempts => {}
        }
    }

    async fn decide(&self, credentials: &Credentials) -> Result<Established, Failure> {
        match timeout(self.shared.limits.login, self.sign_in(credentials)).await {
            Ok(result) => result,
            Err(_) => Err(Failure {
                refusal: Refusal::Unavailable,
                actor: Actor::Microsoft,
                cause: "login-timeout",
                message: format!("the login was not decided within {:?}", self.shared.limits.login),
                remedy: "the client tries again; `limits.login` is the bound".into(),
                delay: false,
            }),
        }
    }

    async fn sign_in(&self, credentials: &Credentials) -> Result<Established, Failure> {
        let target = self.target;
        match credentials {
            Credentials::Token(bearer) => {
                let (_, bearer) = self.shared.gatekeeper.admit_token(bearer)?;
                let whose = Whose { account: bearer.user.to_string().into(), device: None };
                let of_mailbox = self.place(&bearer.user).await?;
                match self.shared.opener.sign_in(target, bearer).await {
                    Ok((stream, authenticated)) => {
                        Ok(Established { stream, authenticated, whose, token: "of the client", of_mailbox })
                    }
                    Err(error) => Err(clients_own_token(error, &target.upstream)),
                }
            }
            Credentials::Password { login, acting_as, password } => {
                let mut second_try = false;
                let mut of_mailbox = None;
                loop {
                    let protocol = self.service.listener.protocol;
                    let request = LoginRequest {
                        login,
                        acting_as: acting_as.as_ref(),
                        password,
                        source: self.subject.peer.ip(),
                        protocol,
                        resource: Resource::Exchange,
                    };
                    let want_life = want_life(protocol);
                    let admission = self.shared.gatekeeper.admit(request, want_life).await?;
                    // After the proof: who cannot log in takes nobody's place.
                    let place = match of_mailbox.take() {
                        Some(place) => place,
                        None => self.place(&admission.bearer.user).await?,
                    };
                    match self.shared.opener.sign_in(target, admission.bearer.clone()).await {
                        Ok((stream, authenticated)) => {
                            let token = origin(&admission);
                            let whose = Whose { account: admission.login.to_string().into(), device: admission.device };
                            return Ok(Established { stream, authenticated, whose, token, of_mailbox: place });
                        }
                        // A token can be revoked before it expires: a fresh one is tried, once.
                        Err(OpenError::Upstream(failure))
                            if failure.kind == UpstreamFailureKind::TokenRefused
                                && admission.origin == TokenOrigin::Cached
                                && !second_try
                                && self.shared.gatekeeper.token_refused(&admission) =>
                        {
                            second_try = true;
                            of_mailbox = Some(place);
                        }
                        Err(error) => return Err(error.failure(&target.upstream)),
                    }
                }
            }
        }
    }

    async fn place(&self, mailbox: &MailAddress) -> Result<MailboxPlace, Failure> {
        let protocol = self.service.listener.protocol;
        self.shared.places.enter(protocol, mailbox).await.map_err(|occupied| occupied.failure(protocol))
    }

    async fn accept_tls(&self, stream: Stream) -> Result<Stream, Over> {
        let Some(config) = &self.service.tls else {
            // A listener without certificate never offers TLS.
            return Err(Over);
        };
        match timeout(self.shared.limits.tls_handshake, stream.accept_tls(Arc::clone(config))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                self.log_over(
                    "tls-failed",
                    &format!(
                        "the TLS handshake with the client failed: {error}; whoever uses the mail program: check that it \
                         speaks TLS 1.2 or newer on this port and trusts the certificate of this listener"
                    ),
                );
                Err(Over)
            }
            Err(_) => {
                self.visit.charge(Offence::Timeout);
                self.log_over("tls-timeout", "the client did not finish the TLS handshake in time");
                Err(Over)
            }
        }
    }

    async fn write(&self, stream: &mut Stream, output: &[u8]) -> Result<(), Over> {
        match timeout(self.shared.limits.command, stream.write(output)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.log_over("client-broke", &format!("the client's connection broke: {error}"));
                Err(Over)
            }
            Err(_) => {
                self.log_over("client-stalled", "the client does not take what it is sent");
                Err(Over)
            }
        }
    }

    async fn say_goodbye(
        &self,
        mut stream: Stream,
        mut machine: Box<dyn ClientSide>,
        farewell: Farewell,
    ) -> Result<Ready, Over> {
        machine.close(farewell);
        if let Some(output) = machine.poll_output() {
            self.write(&mut stream, &output).await?;
        }
        let _late = timeout(Duration::from_secs(1), stream.end()).await;
        Err(Over)
    }

    /// Holds a refusal back, so that guessing is slow; with too many held back already, the connection is closed.
    async fn delay(&self) -> Result<(), Over> {
        let Ok(_place) = self.shared.delays.try_acquire() else {
            self.log_over("too-many-failures", "too many refusals are held back (`limits.delayed_failures`)");
            return Err(Over);
        };
        let usual = self.shared.limits.failure_delay;
        sleep(usual * 3 / 4 + usual / 2 * (chance::number() % 256) as u32 / 255).await;
        Ok(())
    }

    fn log_failure(&self, credentials: Option<&Credentials>, failure: &Failure) {
        let account = match credentials {
            // What is no account's name may be a password in the wrong field; an address is needed to add its account.
            Some(Credentials::Password { login, .. })
                if failure.cause == UNKNOWN_ACCOUNT && !login.as_str().contains('@') =>
            {
                "(not an address)"
            }
            Some(Credentials::Password { login, .. }) => login.as_str(),
            Some(Credentials::Token(bearer)) => bearer.user.as_str(),
            None => "",
        };
        self.shared.journal.refused(self.service, self.subject, account, failure);
    }

    fn log_close(&self, reason: CloseReason) {
        let (cause, text) = match reason {
            CloseReason::Logout => ("logout", "the client said goodbye"),
            CloseReason::BytesBehindStartTls => (
                "bytes-behind-starttls",
                "octets arrived behind STARTTLS, before the handshake: closed, as somebody may be injecting commands",
            ),
            CloseReason::Http => ("http", "an HTTP request arrived on a mail port: closed without a reply"),
            CloseReason::TooLong => ("too-long", "a line or literal was longer than `limits` allow"),
            CloseReason::TooManyCommands => ("too-many-commands", "too many commands before the login"),
            CloseReason::TooManyAttempts => ("too-many-attempts", "too many failed logins on one connection"),
        };
        self.log_over(cause, text);
    }

    fn log_over(&self, cause: &'static str, text: &str) {
        self.shared.journal.closed(self.service, self.subject, cause, text);
    }
}

fn origin(admission: &Admission) -> &'static str {
    match admission.origin {
        TokenOrigin::Cached => "cached",
        TokenOrigin::Fetched => "fetched",
    }
}

/// With a token of its own the client answers for it: a refusal is its credentials' fault, not the operator's.
fn clients_own_token(error: OpenError, upstream: &crate::config::Upstream) -> Failure {
    let failure = error.failure(upstream);
    match error {
        OpenError::Upstream(reply) if reply.kind == UpstreamFailureKind::TokenRefused => Failure {
            refusal: Refusal::InvalidCredentials,
            actor: Actor::Client,
            remedy: "get a fresh token with the scope of this protocol and try again".into(),
            delay: true,
            ..failure
        },
        _ => failure,
    }
}

fn rejected(rejection: Rejection) -> Failure {
    let (cause, message, remedy) = match rejection {
        Rejection::Name(error) => (
            "bad-name",
            format!("the user name cannot be one: {error}"),
            "set the full mail address, or an alias from `accounts`, as the user name",
        ),
        Rejection::Password => (
            "bad-password",
            "the password is empty, longer than 1,024 octets, or holds a line break, NUL or ^A".to_owned(),
            "set the password of the account",
        ),
        Rejection::Token => (
            "bad-token",
            "the XOAUTH2 or OAUTHBEARER message is malformed".to_owned(),
            "check the mail program's OAuth settings, or let it use PLAIN or LOGIN with a password",
        ),
        Rejection::PlaintextLogin => (
            "plaintext-login",
            "a login came without TLS from a network that needs it; the password has been readable on the wire"
                .to_owned(),
            "switch on STARTTLS or TLS in the mail program and change the password, or list the network in \
             `allow_plaintext_from`",
        ),
    };
    Failure {
        refusal: Refusal::InvalidCredentials,
        actor: Actor::Client,
        cause,
        message,
        remedy: remedy.into(),
        delay: true,
    }
}
