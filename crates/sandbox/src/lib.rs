//! The embedded Microsoft 365: an Entra token endpoint, IMAP, POP3 and SMTP services that take
//! nothing but XOAUTH2, and EWS and Graph, which take nothing but its tokens; in one process, on
//! loopback, with a throw-away certification authority.
//!
//! On demand, Google and a provider by the RFCs alone stand beside it, with token services and mail
//! servers of their own.
//!
//! It stands behind `gatepost demo` and the tests. It is a stand-in that real clients can work with
//! and that is as strict as Microsoft where strictness matters; it is not a mail server. It shares
//! no protocol code with the proxy, so that each can judge the other. Its texts and its oddities
//! are those that Exchange Online shows.
//!
//! Module map: [`Sandbox`] starts everything, and `beside` what is no part of the tenant; `entra`
//! grants tokens, `registration` judges the application's credentials, `applications` knows those that
//! were registered over Graph, `audience` whom each was registered for, `identity` gives tokens to
//! managed identities, `token` signs them; `directory` knows who exists, `exchange` what is switched
//! on; `state` holds what all of them share, `platform` what managed identities live in, `connection`
//! what the mail services hear; `store` keeps the mail; `service` accepts connections and applies the
//! [`UpstreamMode`]; `imap`, `pop3` and `smtp` speak, in the `dialect` of their provider, and `sasl`
//! judges who logs in; `provider` is what `google` and `plain` have in common, `html` the pages for
//! persons; `http` carries `graph` and `ews`, and its `call` applies the [`HttpFault`]s; `letter` reads
//! messages for them, `compose` makes some, `submission` sends them; `deliveries` records what was
//! sent, `chaos` draws faults at random.
// What a stranger sends must not end in a panic, nor in a number that was quietly cut short.
// (Overflow is checked in every build.) Tests may panic.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]
#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "it serves tests and the demonstration, never strangers"
)]

mod address;
mod applications;
mod audience;
mod beside;
mod calendar;
mod certificate;
mod chaos;
mod compose;
mod connection;
mod counters;
mod deliveries;
mod dialect;
mod directory;
mod entra;
mod ews;
mod exchange;
mod google;
mod graph;
mod html;
mod http;
mod identity;
mod imap;
mod item_id;
mod letter;
mod mime;
mod mode;
mod plain;
mod platform;
mod pop3;
mod provider;
mod random;
mod registration;
mod sasl;
mod service;
mod smtp;
mod smtp_fault;
mod smtp_syntax;
mod state;
mod store;
mod submission;
#[cfg(test)]
mod testing;
mod text;
mod time;
mod token;
mod xoauth2;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

pub use applications::RegisteredApplication;
pub use audience::SignInAudience;
pub use certificate::CertificateFault;
pub use chaos::Chaos;
pub use counters::{Attempts, Counters};
pub use deliveries::Delivery;
pub use directory::SandboxAccount;
pub use google::{Google, GoogleConfig, ServiceAccountKey};
pub use http::fault::HttpFault;
pub use mode::{EntraMode, Service, UpstreamMode};
pub use plain::{ClientAuthentication, Plain, PlainConfig};
pub use provider::{AccountKind, ForeignToken, Manner, Provider, ProviderHandle, SeenRequest, Tokens};
pub use registration::{FederatedToken, SandboxSecret};
pub use smtp_fault::SmtpFault;
pub use state::SandboxConfig;
pub use store::OutboundMessage;

use self::state::SandboxState;
use self::store::{Flags, INBOX};
use gatepost_core::secret::{AccessToken, Password, RefreshToken};

/// A running sandbox. Dropping it stops it; [`Sandbox::shutdown`] also waits until all is closed.
pub struct Sandbox {
    shared: Arc<SandboxState>,
    entra: SocketAddr,
    identity: SocketAddr,
    imap: SocketAddr,
    pop3: SocketAddr,
    smtp: SocketAddr,
    ews: SocketAddr,
    graph: SocketAddr,
}

impl Sandbox {
    /// Starts all services on ports of the operating system's choice.
    ///
    /// # Errors
    /// When the address is not a loopback address or cannot be bound, or when there is no
    /// randomness for keys.
    pub async fn start(config: SandboxConfig) -> io::Result<Self> {
        if !config.address.is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the sandbox listens on loopback only"));
        }
        let address = config.address;
        let bind = || TcpListener::bind((address, 0));
        let (entra, identity) = tokio::try_join!(bind(), bind())?;
        let (imap, pop3, smtp, ews, graph) = tokio::try_join!(bind(), bind(), bind(), bind(), bind())?;
        let authority = format!("https://localhost:{}/", entra.local_addr()?.port());
        let shared = Arc::new(SandboxState::new(config, authority)?);
        let sandbox = Self {
            entra: entra.local_addr()?,
            identity: identity.local_addr()?,
            imap: imap.local_addr()?,
            pop3: pop3.local_addr()?,
            smtp: smtp.local_addr()?,
            ews: ews.local_addr()?,
            graph: graph.local_addr()?,
            shared,
        };
        service::spawn_entra(&sandbox.shared, entra);
        service::spawn_identity(&sandbox.shared, identity);
        let mail = [(Service::Imap, imap), (Service::Pop3, pop3), (Service::Smtp, smtp)];
        for (service, listener) in mail.into_iter().chain([(Service::Ews, ews), (Service::Graph, graph)]) {
            let door = service::Door { provider: Provider::Microsoft, service, starts_tls: service == Service::Smtp };
            service::spawn_mail(&sandbox.shared, door, listener);
        }
        Ok(sandbox)
    }

    /// The token endpoint's address (HTTPS).
    pub fn entra(&self) -> SocketAddr {
        self.entra
    }

    /// What stands in for `https://login.microsoftonline.com/`.
    pub fn authority(&self) -> String {
        self.shared.authority.clone()
    }

    /// The tenant's directory id.
    pub fn tenant_id(&self) -> &str {
        &self.shared.directory.tenant_id
    }

    /// The client id of the application that needs no secret.
    pub fn public_client_id(&self) -> &str {
        &self.shared.directory.public_client_id
    }

    /// The client id of the application that has a secret.
    pub fn confidential_client_id(&self) -> &str {
        &self.shared.directory.confidential_client_id
    }

    /// The client id of the user-assigned managed identity.
    pub fn user_assigned_client_id(&self) -> &str {
        &self.shared.platform.user_assigned
    }

    /// The address of the endpoints for managed identities (plain HTTP):
    /// `/metadata/identity/oauth2/token` as IMDS and Azure Arc have it, `/msi/token` as App
    /// Service.
    pub fn identity(&self) -> SocketAddr {
        self.identity
    }

    /// What App Service puts into `IDENTITY_HEADER`.
    pub fn identity_header(&self) -> &str {
        &self.shared.platform.header
    }

    /// The IMAP service's address (implicit TLS, as port 993).
    pub fn imap(&self) -> SocketAddr {
        self.imap
    }

    /// The POP3 service's address (implicit TLS, as port 995).
    pub fn pop3(&self) -> SocketAddr {
        self.pop3
    }

    /// The SMTP service's address (STARTTLS, as port 587).
    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// The address of EWS (HTTPS; the path is `/EWS/Exchange.asmx`).
    pub fn ews(&self) -> SocketAddr {
        self.ews
    }

    /// The address of Graph (HTTPS; the paths begin with `/v1.0/` or `/beta/`).
    pub fn graph(&self) -> SocketAddr {
        self.graph
    }

    /// The certificate of the throw-away authority. The servers' certificates are for `localhost`,
    /// 127.0.0.1 and ::1.
    pub fn ca_pem(&self) -> &str {
        self.shared.certificates.ca_pem()
    }

    /// Adds a user with a mailbox of sample messages; replaces one of the same address.
    pub fn add_account(&self, account: SandboxAccount) {
        self.shared.directory.add(account, self.shared.time.unix_seconds());
    }

    /// Gives a user another password, which also unlocks the account and ends the user's sign-ins
    /// (AADSTS50173); whether the user exists.
    pub fn set_password(&self, address: &str, password: &str) -> bool {
        self.end_sign_ins(address, 50173);
        self.shared.directory.set_password(address, Password::new(password.to_owned()))
    }

    /// Every refresh token that a user has so far is refused with this code from now on, such as
    /// 50173 (revoked) or 700082 (unused for too long). A new sign-in works.
    pub fn end_sign_ins(&self, user: &str, aadsts: u32) {
        self.shared.sign_ins.end(user, aadsts);
    }

    /// A refresh token as if a user had signed in to the application without a secret, and had
    /// consented to everything that Exchange Online offers.
    ///
    /// # Errors
    /// When there is no randomness, or no room.
    pub fn sign_in(&self, user: &str) -> io::Result<RefreshToken> {
        let token = entra::grant::sign_in_user(&self.shared, user)?;
        token.map(RefreshToken::new).ok_or_else(|| io::Error::other("no refresh token was asked for"))
    }

    /// The `oid` of a user.
    pub fn object_id(&self, user: &str) -> String {
        self.shared.directory.object_id(user)
    }

    /// Registers other secrets for the confidential application, in place of all it had.
    pub fn set_client_secrets(&self, secrets: Vec<SandboxSecret>) {
        self.shared.directory.registration.set_secrets(secrets);
    }

    /// Registers a further certificate for the confidential application.
    ///
    /// # Errors
    /// When it is no certificate in PEM form.
    pub fn add_certificate(&self, pem: &str) -> io::Result<()> {
        self.shared.directory.registration.add_certificate(pem)
    }

    /// Registers a further application, with a certificate and consent to every permission of
    /// applications.
    ///
    /// # Errors
    /// When it is no certificate in PEM form.
    pub fn add_application(&self, client_id: &str, certificate: &str) -> io::Result<()> {
        let registration = registration::Registration::without_secret();
        registration.add_certificate(certificate)?;
        self.shared.applications.add_known(&self.shared.directory, client_id, registration);
        Ok(())
    }

    /// Strikes all certificates of the confidential application.
    pub fn remove_certificates(&self) {
        self.shared.directory.registration.remove_certificates();
    }

    /// The thumbprints of all certificates of the confidential application.
    pub fn certificates(&self) -> Vec<String> {
        self.shared.directory.registration.keys().into_iter().map(|(_, thumbprint)| thumbprint).collect()
    }

    /// The object id of the confidential application, which is not that of its service principal.
    pub fn application_object_id(&self) -> String {
        self.shared.directory.application_object_id()
    }

    /// Whether the confidential application has `Application.Read.All`, and so may read its own
    /// registration at Graph. It has not at the start.
    pub fn set_application_readable(&self, readable: bool) {
        self.shared.set_may_read_application(readable);
    }

    /// Whether the token endpoint does not know yet what was added by `addKey`, as in the first
    /// minutes at Entra.
    pub fn set_added_keys_unknown(&self, unknown: bool) {
        self.shared.directory.registration.set_spreading(unknown);
    }

    /// A token of another issuer, as a cluster gives its workloads; the confidential application
    /// trusts the default one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn federated_token(&self, says: &FederatedToken) -> io::Result<String> {
        self.shared.directory.registration.federated_token(says, self.shared.time.unix_seconds())
    }

    /// The next answers of the endpoints for managed identities have these statuses.
    pub fn fail_identity_with(&self, statuses: &[u16]) {
        self.shared.platform.fail_with(statuses);
    }

    /// Takes all managed identities from the machine, or gives them back.
    pub fn set_identity_absent(&self, absent: bool) {
        self.shared.platform.set_absent(absent);
    }

    /// Where the agent of Azure Arc leaves the keys of its challenges.
    pub fn set_arc_keys(&self, directory: &Path) {
        self.shared.platform.set_arc_keys(directory.to_owned());
    }

    /// What a user (an address) or an application (a client id) is told from now on although the
    /// credentials are right, such as `Some(50076)` for "multi-factor authentication required";
    /// `None` ends it.
    pub fn set_sign_in_error(&self, who: &str, aadsts: Option<u32>) {
        self.shared.directory.set_sign_in_error(who, aadsts);
    }

    /// How long tokens issued from now on live.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.shared.set_token_lifetime(lifetime);
    }

    /// How the token endpoint behaves from now on, also towards connections that are open.
    pub fn set_entra_mode(&self, mode: EntraMode) {
        self.shared.modes.set_entra(mode);
    }

    /// How a mail service behaves towards new connections.
    pub fn set_upstream_mode(&self, service: Service, mode: UpstreamMode) {
        self.shared.modes.set_upstream(service, mode);
    }

    /// Calls to Graph or EWS whose name contains `call` meet a fault, so many `times`; an empty
    /// `call` is any. The names are those of [`Counters::calls`]. Several plans are used up in the
    /// order in which they were made.
    pub fn fail_http(&self, service: Service, call: &str, fault: HttpFault, times: usize) {
        self.shared.http_faults.plan(service, call, fault, times);
    }

    /// Forgets the faults planned for a service; calls that hang go on.
    pub fn clear_http_faults(&self, service: Service) {
        self.shared.http_faults.clear(service);
    }

    /// The next messages over SMTP meet a fault, so many `times`. Several plans are used up in the
    /// order in which they were made.
    pub fn fail_smtp(&self, fault: SmtpFault, times: usize) {
        self.shared.smtp_faults.plan(fault, times);
    }

    /// Forgets the faults planned for SMTP.
    pub fn clear_smtp_faults(&self) {
        self.shared.smtp_faults.clear();
    }

    /// A share of the calls to Graph or EWS, or of the messages over SMTP, meets a fault at random
    /// from now on, unless one was planned for it; `None` ends it.
    pub fn set_chaos(&self, service: Service, chaos: Option<Chaos>) {
        self.shared.weather.set(service, chaos);
    }

    /// What the administrator has consented to at Graph, for users and for applications, such as
    /// `["Mail.Send"]`; tokens issued from now on say nothing else. `None`, as at the start, is
    /// everything that the sandbox knows.
    pub fn set_graph_consent(&self, permissions: Option<&[&str]>) {
        let permissions = permissions.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        self.shared.set_graph_consent(permissions);
    }

    /// The host that upload sessions opened from now on name, such as `outlook.office.com` as at
    /// Microsoft, or one that is not Microsoft's. This service answers for it, and shows a certificate
    /// for that one. `None`, as at the start, is Graph's own.
    pub fn set_upload_host(&self, host: Option<&str>) {
        self.shared.set_upload_host(host.map(str::to_owned));
    }

    /// What the administrator has consented to at Exchange Online, for users and for applications,
    /// such as `["IMAP.AccessAsApp"]`; tokens issued from now on permit nothing else. `None`, as at
    /// the start, is everything that the sandbox knows.
    pub fn set_exchange_consent(&self, permissions: Option<&[&str]>) {
        let permissions = permissions.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        self.shared.exchange.set_consent(permissions);
    }

    /// What applications may by a role of Exchange Online (RBAC for Applications), such as
    /// `["full_access_as_app"]`. No token says so.
    pub fn set_exchange_roles(&self, permissions: &[&str]) {
        self.shared.exchange.set_roles(permissions.iter().map(|&name| name.to_owned()).collect());
    }

    /// Whether Exchange knows the application by its object id (`New-ServicePrincipal`). Without,
    /// its tokens open no mailbox over IMAP, POP3 and SMTP, whatever they permit; nor do they when
    /// the object id is a wrong one.
    pub fn set_service_principal(&self, registered: bool) {
        self.shared.exchange.set_service_principal(registered);
    }

    /// Whether the application may open one mailbox: with `Add-MailboxPermission`, or at Graph and EWS
    /// within the scope of its role.
    pub fn set_application_access(&self, address: &str, allowed: bool) {
        self.shared.directory.set_application_access(address, allowed);
    }

    /// Switches a protocol of one mailbox on or off (`Set-CASMailbox`). IMAP and POP3 then refuse
    /// the token; SMTP says that it is disabled for the mailbox.
    pub fn set_protocol_enabled(&self, address: &str, service: Service, enabled: bool) {
        self.shared.exchange.set_protocol(address, service, enabled);
    }

    /// Gives a mailbox its licence, or takes it: a login then ends "authenticated but not
    /// connected".
    pub fn set_licence(&self, address: &str, assigned: bool) {
        self.shared.exchange.set_licence(address, assigned);
    }

    /// Whether the person who signs in to a mailbox may send as it (`Add-RecipientPermission`).
    /// Otherwise its messages are refused with 554 5.2.252.
    pub fn set_send_as(&self, address: &str, allowed: bool) {
        self.shared.exchange.set_send_as(address, allowed);
    }

    /// Makes an account one of High Volume Email (`New-MailUser -HVEAccount`), which the mail
    /// server in [`UpstreamMode::HighVolume`] accepts with `Mail.Send`.
    pub fn set_high_volume(&self, address: &str) {
        self.shared.exchange.set_high_volume(address);
    }

    /// Moves a manual clock: tokens expire, locks open, IMAP sessions end.
    pub fn advance(&self, by: Duration) {
        self.shared.time.advance(by);
    }

    /// A token for a user without asking Entra, good for everything that Exchange Online offers.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn issue_token(&self, user: &str) -> io::Result<AccessToken> {
        entra::grant::issue_for_user(&self.shared, user)
    }

    /// A token of the application with a secret without asking Entra, good for everything that
    /// Exchange Online offers.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn issue_app_token(&self) -> io::Result<AccessToken> {
        entra::grant::issue_for_app(&self.shared)
    }

    /// A Graph token for a user or, without one, for the application with a secret; without asking
    /// Entra.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn issue_graph_token(&self, user: Option<&str>) -> io::Result<AccessToken> {
        entra::grant::issue_for_graph(&self.shared, user)
    }

    /// A Graph token of an administrator's tool with these permissions, such as
    /// `["Application.ReadWrite.All"]`, or `["Directory.AccessAsUser.All"]` for an administrator who
    /// may do everything.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn issue_administrator_token(&self, permissions: &[&str]) -> io::Result<AccessToken> {
        entra::grant::issue_for_administrator(&self.shared, permissions)
    }

    /// The applications that were registered over Graph.
    pub fn applications(&self) -> Vec<RegisteredApplication> {
        self.shared.applications.snapshot(&self.shared.directory)
    }

    /// Puts a message into a user's INBOX, as if it had just arrived; whether there is such a user
    /// and room for it.
    pub fn deliver(&self, address: &str, content: &[u8]) -> bool {
        let now = self.shared.time.unix_seconds();
        self.shared
            .directory
            .mailbox(address)
            .is_some_and(|mailbox| mailbox.append(INBOX, content.into(), Flags::default(), now).is_ok())
    }

    /// The messages in one folder of a user (`INBOX`, `Sent Items`, …), oldest first; none if there
    /// is no such folder.
    pub fn messages(&self, address: &str, folder: &str) -> Vec<Arc<[u8]>> {
        let Some(mailbox) = self.shared.directory.mailbox(address) else { return Vec::new() };
        mailbox.read(|folders| {
            folders.get(folder).into_iter().flat_map(|f| f.messages()).map(|m| Arc::clone(&m.content)).collect()
        })
    }

    /// Throws away what is in a user's INBOX: the messages that every mailbox begins with, for
    /// instance.
    pub fn empty(&self, address: &str) {
        if let Some(mailbox) = self.shared.directory.mailbox(address) {
            mailbox.change(|folders| {
                let inbox = folders.get(INBOX).map(|folder| folder.uid_validity);
                inbox.map(|inbox| folders.expunge(inbox, |_, _| true));
            });
        }
    }

    /// What was submitted for recipients outside the sandbox, oldest first; the latest 256 MiB.
    pub fn outbox(&self) -> Vec<OutboundMessage> {
        self.shared.outbox.messages()
    }

    /// Each message that left a mailbox, as often as it left, whatever the client was told; in
    /// order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.all()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }

    /// Stops listening, ends all sessions, and waits for them.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
