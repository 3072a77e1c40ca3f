//! What a test does with a provider beside Microsoft, whichever it is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::grants::{Asked, GrantProblem, Granted, Person};
use super::mail::MailPorts;
use super::manner::Manner;
use super::seen::SeenRequest;
use super::token::issue;
use super::{AccountKind, Provider, ProviderState};
use crate::counters::Counters;
use crate::directory::SandboxAccount;
use crate::mode::{Service, UpstreamMode};
use crate::smtp_fault::SmtpFault;
use crate::state::SandboxState;
use gatepost_core::secret::{AccessToken, Password, RefreshToken};

/// The tokens of a sign-in.
#[derive(Debug)]
pub struct Tokens {
    /// Opens the mailbox.
    pub access: AccessToken,
    /// Gives further ones.
    pub refresh: RefreshToken,
}

/// A running provider beside Microsoft: its token service and its mail servers. It ends with the
/// sandbox.
pub struct ProviderHandle {
    shared: Arc<SandboxState>,
    provider: Provider,
    kind: AccountKind,
    address: SocketAddr,
    ports: MailPorts,
}

impl ProviderHandle {
    pub(crate) fn new(shared: Arc<SandboxState>, kind: AccountKind, (address, ports): (SocketAddr, MailPorts)) -> Self {
        Self { shared, provider: kind.provider(), kind, address, ports }
    }

    fn state(&self) -> io::Result<&ProviderState> {
        self.shared.provider(self.provider).ok_or_else(|| io::Error::other("it has no token service of this form"))
    }

    fn with<R: Default>(&self, work: impl FnOnce(&ProviderState) -> R) -> R {
        self.shared.provider(self.provider).map(work).unwrap_or_default()
    }

    /// Which provider it is.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The address of the token service (HTTPS).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands in for the provider's `https://` addresses, without a slash at its end.
    pub fn base(&self) -> String {
        self.with(|state| state.started().map(|started| started.base.clone())).unwrap_or_default()
    }

    /// The IMAP service (implicit TLS, as port 993).
    pub fn imap(&self) -> SocketAddr {
        self.ports.imap
    }

    /// The POP3 service (implicit TLS, as port 995).
    pub fn pop3(&self) -> SocketAddr {
        self.ports.pop3
    }

    /// The SMTP service with implicit TLS, as port 465.
    pub fn smtps(&self) -> SocketAddr {
        self.ports.smtps
    }

    /// The SMTP service with STARTTLS, as port 587.
    pub fn submission(&self) -> SocketAddr {
        self.ports.submission
    }

    /// Adds a person with a mailbox of sample messages; replaces one of the same address.
    pub fn add_account(&self, address: &str, password: &str) {
        let account = SandboxAccount::of(self.kind, address, password);
        self.shared.directory.add(account, self.shared.time.unix_seconds());
    }

    /// Gives a person another password, which ends the sign-ins; whether the person exists.
    pub fn set_password(&self, address: &str, password: &str) -> bool {
        self.end_sign_ins(address);
        self.shared.directory.set_password(address, Password::new(password.to_owned()))
    }

    /// Revokes everything that a person has granted so far.
    pub fn end_sign_ins(&self, address: &str) {
        self.with(|state| state.grants.end_all_of(address));
    }

    /// Whether a refresh token is one of a sign-in that nothing has ended.
    pub fn has_sign_in(&self, refresh_token: &str) -> bool {
        let number = |state: &ProviderState| state.grants.sign_in_of(refresh_token).map(|(number, _)| number);
        self.with(|state| number(state).is_some_and(|number| !state.grants.has_ended(number)))
    }

    /// What a person is told in place of a token, such as
    /// `Some(("invalid_grant", "reauth related error (invalid_rapt)"))`; `None` ends it.
    pub fn set_refusal(&self, address: &str, refusal: Option<(&str, &str)>) {
        self.with(|state| state.set_refusal(address, refusal));
    }

    /// The manners of the token service from now on, in place of those before.
    pub fn set_manners(&self, manners: &[Manner]) {
        self.with(|state| state.manners.set(manners));
    }

    /// How a mail service behaves towards new connections.
    pub fn set_upstream_mode(&self, service: Service, mode: UpstreamMode) {
        self.with(|state| state.modes.set_upstream(service, mode));
    }

    /// The next messages over SMTP meet a fault, so many `times`. Several plans are used up in the
    /// order in which they were made.
    pub fn fail_smtp(&self, fault: SmtpFault, times: usize) {
        self.with(|state| state.smtp_faults.plan(fault, times));
    }

    /// How long access tokens issued from now on live.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.with(|state| state.set_token_lifetime(lifetime));
    }

    /// Tokens as if a person had signed in to the application and had granted all that it asks for.
    ///
    /// # Errors
    /// When there is no randomness, or no room.
    pub fn sign_in(&self, address: &str) -> io::Result<Tokens> {
        let state = self.state()?;
        let started = state.started().ok_or_else(|| io::Error::other("it was not started"))?;
        let (client_id, scopes) = (started.client_id.clone(), started.scopes.clone());
        let asked = Asked { client_id, scopes, nonce: None, offline: true };
        let when = (state.rules(), self.shared.time.now());
        let broken = |_: GrantProblem| io::Error::other("there is no room, or no randomness");
        let granted = state.grants.begin(asked, Person(address.to_lowercase()), when).map_err(broken)?;
        let Granted { number, user, asked, refresh_token } = granted;
        let access = issue(&self.shared, self.provider, (&user, &asked.scopes, number))?;
        let refresh = refresh_token.ok_or_else(|| io::Error::other("no refresh token was asked for"))?;
        Ok(Tokens { access, refresh: RefreshToken::new(refresh) })
    }

    /// The requests that reached the token service, oldest first; the latest 1,000.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.with(|state| state.seen.all())
    }

    /// The latest request that reached a path of the token service.
    pub fn last_request(&self, path: &str) -> Option<SeenRequest> {
        self.requests().into_iter().rev().find(|request| request.path == path)
    }

    /// What happened so far at this provider: token requests by grant, logins, connections.
    pub fn counters(&self) -> Counters {
        self.with(|state| state.tally.snapshot())
    }
}
