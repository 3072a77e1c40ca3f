//! Sessions of accounts of several providers, each with its own token service and mail servers.
//! What one provider gave never arrives at another.

use std::time::Duration;

use gatepost::login::issue::{self, Order};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::{AccessToken, RefreshToken};
use gatepost_sandbox::{
    AccountKind, Attempts, ClientAuthentication, Google, GoogleConfig, Manner, Plain, PlainConfig, ProviderHandle,
    Sandbox, SandboxAccount, SandboxConfig, SignInAudience,
};
use gatepost_store::{SignIn, SignInKey, Store};

use crate::common::wait;
use crate::session::http::client::{Connection, basic, envelope, request};
use crate::session::http::guessing::join_all;
use crate::session::support::{Client, PROTOCOLS, Setup, World, is_accepted, refused_words, service, told, xoauth2};

use MailProtocol::{Imap, Pop3, Smtp};

/// A work account.
const ANNA: &str = "anna@contoso.example";
/// A personal Microsoft account.
const PAT: &str = "pat@outlook.example";
/// An account of Google Workspace.
const GUS: &str = "gus@workspace.example";
/// An account of the plain provider.
const PIA: &str = "pia@plain.example";

/// The directory of all personal Microsoft accounts.
const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// How Gatepost reaches Google.
const IMPLICIT: &str = "smtp_tls: implicit";
/// What the plain provider is configured with besides its addresses.
const USUAL: &str = "sasl: oauthbearer";

fn address(text: &str) -> MailAddress {
    MailAddress::parse(text).unwrap()
}

fn now() -> UnixTime {
    Clock::system().unix_time()
}

/// What a test wants other than usual.
struct Wanted {
    tenant: &'static str,
    microsoft: &'static str,
    /// Google's SMTP: `implicit` or `starttls`.
    google_smtp: &'static str,
    /// Further keys of the plain provider.
    plain: &'static str,
    listeners: Option<&'static str>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            tenant: "common",
            microsoft: "  tenant: common\n  grant: authorization_code",
            google_smtp: IMPLICIT,
            plain: USUAL,
            listeners: None,
        }
    }
}

/// Gatepost in front of three providers, with an account of each kind.
struct Providers {
    world: World,
    google: Google,
    plain: Plain,
    tenant: &'static str,
}

impl Providers {
    async fn new() -> Self {
        Wanted::default().start().await
    }

    fn handle(&self, user: &str) -> Option<&ProviderHandle> {
        match user {
            GUS => Some(&self.google),
            PIA => Some(&self.plain),
            _ => None,
        }
    }

    fn key(&self, user: &str) -> SignInKey {
        let (authority, tenant, client_id) = match user {
            GUS => (format!("{}/token", self.google.base()), "", self.google.client_id()),
            PIA => (format!("{}/token", self.plain.base()), "", self.plain.client_id()),
            _ => (self.world.sandbox.authority(), self.tenant, self.world.sandbox.public_client_id()),
        };
        SignInKey { login: address(user), authority, tenant: tenant.into(), client_id: client_id.into() }
    }

    /// What `gatepost login` leaves in the store when the user has signed in; the refresh token.
    async fn sign_in(&self, user: &str) -> RefreshToken {
        let sandbox = &self.world.sandbox;
        let refresh_token = match self.handle(user) {
            Some(handle) => handle.sign_in(user).unwrap().refresh,
            None => sandbox.sign_in(user).unwrap(),
        };
        let (tenant_id, object_id) = match user {
            ANNA => (sandbox.tenant_id(), sandbox.object_id(user)),
            PAT => (PERSONAL, sandbox.object_id(user)),
            _ => ("", String::new()),
        };
        let copy = RefreshToken::new(refresh_token.expose().to_owned());
        let record = SignIn {
            refresh_token,
            tenant_id: tenant_id.into(),
            object_id,
            username: user.into(),
            scope: String::new(),
            signed_in_at: now(),
            rotated_at: now(),
            refused: None,
        };
        self.world.store.put_sign_in(&self.key(user), &record, None).await.unwrap();
        copy
    }

    async fn record(&self, user: &str) -> SignIn {
        self.world.store.sign_in(&self.key(user)).await.unwrap().unwrap().0
    }

    async fn device_password(&self, user: &str) -> String {
        let (name, protocols, from) = ("first".into(), Vec::new(), Vec::new());
        let order = Order { login: address(user), name, protocols, from, expires_at: None };
        let (_, password) = issue::generate(&*self.world.store, order, now()).await.unwrap();
        password.expose().to_owned()
    }

    /// A device password of a user who has signed in.
    async fn ready(&self, user: &str) -> String {
        self.sign_in(user).await;
        self.device_password(user).await
    }

    fn refreshes(&self, user: &str) -> Attempts {
        let counters = self.handle(user).map_or_else(|| self.world.sandbox.counters(), |handle| handle.counters());
        counters.token_requests_of("refresh_token", user)
    }

    fn logins(&self, protocol: MailProtocol, user: &str) -> Attempts {
        let counters = self.handle(user).map_or_else(|| self.world.sandbox.counters(), |handle| handle.counters());
        counters.logins_of(service(protocol), user)
    }

    /// Reads over IMAP and POP3, and sends over SMTP.
    async fn reads_and_sends(&self, user: &str, password: &str) {
        let mut client = self.world.session(Imap, user, password).await;
        client.ask("b SELECT INBOX", "b OK").await;
        client.ask("c FETCH 1 (BODY.PEEK[HEADER])", "c OK").await;
        assert!(String::from_utf8_lossy(&client.heard).contains("Subject: "), "{user}");
        let mut client = self.world.session(Pop3, user, password).await;
        client.ask("RETR 1", "+OK").await;
        client.hear(".").await;
        assert!(String::from_utf8_lossy(&client.heard).contains("Subject: "), "{user}");
        let mut client = self.world.session(Smtp, user, password).await;
        let before = self.world.sandbox.outbox().len();
        client.ask(&format!("MAIL FROM:<{user}>"), "250 ").await;
        client.ask("RCPT TO:<somebody@elsewhere.example>", "250 ").await;
        client.ask("DATA", "354 ").await;
        client
            .ask(&format!("From: {user}\r\nTo: somebody@elsewhere.example\r\nSubject: x\r\n\r\nx\r\n."), "250 ")
            .await;
        assert_eq!(self.world.sandbox.outbox().len(), before + 1, "{user}");
    }

    fn nothing_strayed(&self) {
        assert_eq!(self.world.sandbox.foreign_tokens(), []);
    }
}

impl Wanted {
    async fn start(self) -> Providers {
        let Self { tenant, microsoft, google_smtp, plain: of_plain, listeners } = self;
        let config = SandboxConfig { accounts: vec![SandboxAccount::new(ANNA, "pw")], ..SandboxConfig::default() };
        let sandbox = Sandbox::start(config).await.unwrap();
        sandbox.add_account(SandboxAccount::of(AccountKind::Personal, PAT, "pw"));
        sandbox.set_sign_in_audience(sandbox.public_client_id(), SignInAudience::AnyOrganizationAndPersonal);
        let google = sandbox.start_google(GoogleConfig::default()).await.unwrap();
        google.add_account(GUS, "pw");
        let plain = sandbox.start_plain(PlainConfig::default()).await.unwrap();
        plain.add_account(PIA, "pw");
        let google_smtp_port = if google_smtp == IMPLICIT { google.smtps() } else { google.submission() }.port();
        let (of_google, of_base) = (google.base(), plain.base());
        let hosts = |handle: &ProviderHandle, smtp: u16, tls: &str| {
            let (imap, pop3) = (handle.imap().port(), handle.pop3().port());
            format!("{{imap: 'localhost:{imap}', pop3: 'localhost:{pop3}', smtp: 'localhost:{smtp}', {tls}}}")
        };
        let sections = format!(
            "providers:\n  google:\n    client_id: {}\n    client_secret: GOCSPX-sandbox\n    \
             authorize_url: {of_google}/o/oauth2/v2/auth\n    token_url: {of_google}/token\n    \
             revoke_url: {of_google}/revoke\n    domains: [workspace.example]\n    hosts: {}\n  \
             plain:\n    client_id: {}\n    authorize_url: {of_base}/authorize\n    token_url: {of_base}/token\n    \
             device_url: {of_base}/device_authorization\n    scope: mail offline_access\n    \
             domains: [plain.example]\n    hosts: {}\n    {of_plain}\n",
            google.client_id(),
            hosts(&google, google_smtp_port, google_smtp),
            plain.client_id(),
            hosts(&plain, plain.submission().port(), "smtp_tls: starttls"),
        );
        let usual = Setup::default();
        let setup = Setup {
            accounts: format!(
                "\n  - login: {ANNA}\n  - login: {PAT}\n  - login: {GUS}\n  - {{login: {PIA}, provider: plain}}"
            ),
            microsoft,
            sections,
            // How long a login waits for a token service that is away.
            limits: "  token_request: 2s\n  token_total: 2s",
            listeners: listeners.map_or(usual.listeners.clone(), str::to_owned),
            ..usual
        };
        Providers { world: setup.start_at(sandbox).await, google, plain, tenant }
    }
}

#[tokio::test]
async fn a_personal_account_reads_and_sends() {
    let wanted =
        Wanted { tenant: "consumers", microsoft: "  tenant: consumers\n  grant: device_code", ..Wanted::default() };
    let of = wanted.start().await;
    let password = of.ready(PAT).await;
    of.reads_and_sends(PAT, &password).await;
    assert_eq!(of.refreshes(PAT), Attempts { succeeded: 1, refused: 0 });
    // The sign-in of a work account is worth nothing there.
    let password = of.ready(ANNA).await;
    for protocol in PROTOCOLS {
        of.world.refuses(protocol, ANNA, &password, Refusal::ContactAdmin, "sign-in-needed").await;
    }
    assert_eq!(of.logins(Imap, ANNA), Attempts::default());
}

#[tokio::test]
async fn a_personal_account_is_nobody_in_a_tenant() {
    let wanted = Wanted {
        tenant: "contoso.example",
        microsoft: "  tenant: contoso.example\n  grant: authorization_code",
        ..Wanted::default()
    };
    let of = wanted.start().await;
    let (annas, pats) = (of.ready(ANNA).await, of.ready(PAT).await);
    of.reads_and_sends(ANNA, &annas).await;
    let reply = of.world.reply(Imap, PAT, &pats).await;
    assert_eq!(told(&reply).0, refused_words(Imap, Refusal::ContactAdmin));
    assert_eq!(of.logins(Imap, PAT), Attempts::default());
}

#[tokio::test]
async fn one_configuration_serves_work_and_personal_accounts() {
    let of = Providers::new().await;
    for user in [ANNA, PAT] {
        let password = of.ready(user).await;
        of.reads_and_sends(user, &password).await;
        assert_eq!(of.refreshes(user), Attempts { succeeded: 1, refused: 0 }, "{user}");
    }
}

#[tokio::test]
async fn google_by_465_and_by_starttls_with_a_refresh_token_that_stays() {
    for google_smtp in [IMPLICIT, "smtp_tls: starttls"] {
        let of = Wanted { google_smtp, ..Wanted::default() }.start().await;
        let refresh = of.sign_in(GUS).await;
        let password = of.device_password(GUS).await;
        for _ in 0..2 {
            of.reads_and_sends(GUS, &password).await;
        }
        assert_eq!(of.refreshes(GUS), Attempts { succeeded: 1, refused: 0 }, "one token serves all");
        for protocol in PROTOCOLS {
            assert_eq!(of.logins(protocol, GUS), Attempts { succeeded: 2, refused: 0 }, "{protocol:?}");
        }
        assert_eq!(of.record(GUS).await.refresh_token.expose(), refresh.expose());
        let asked = of.google.last_request("/token").unwrap();
        assert_eq!(asked.parameter("scope"), None, "it has the scope that was consented to");
        assert!(!of.world.log.has(refresh.expose()) && !of.world.log.has("GOCSPX-sandbox"));
        of.nothing_strayed();
    }
}

#[tokio::test]
async fn a_sign_in_that_google_ended_is_no_wrong_password() {
    let of = Providers::new().await;
    let password = of.ready(GUS).await;
    of.world.session(Imap, GUS, &password).await.works().await;
    of.google.end_sign_ins(GUS);
    for protocol in PROTOCOLS {
        of.world.refuses(protocol, GUS, &password, Refusal::ContactAdmin, "sign-in-needed").await;
    }
    assert_eq!(of.refreshes(GUS), Attempts { succeeded: 1, refused: 1 }, "it is asked once");
    assert!(of.world.log.has(&format!("Gatepost admin: run `gatepost login {GUS}`")));
    assert!(of.world.log.has(&format!("Google has refused the sign-in of `{GUS}`")));
    assert!(!of.world.log.has("Entra has refused"));
    of.sign_in(GUS).await;
    for protocol in PROTOCOLS {
        of.world.session(protocol, GUS, &password).await.works().await;
    }
}

#[tokio::test]
async fn a_plain_provider_by_each_mechanism() {
    for plain in ["sasl: oauthbearer", "sasl: xoauth2", "pop3_lines: 1"] {
        let of = Wanted { plain, ..Wanted::default() }.start().await;
        let password = of.ready(PIA).await;
        of.reads_and_sends(PIA, &password).await;
        for protocol in PROTOCOLS {
            assert_eq!(of.logins(protocol, PIA), Attempts { succeeded: 1, refused: 0 }, "{plain} {protocol:?}");
        }
        of.nothing_strayed();
    }
}

#[tokio::test]
async fn refresh_tokens_that_rotate_are_each_used_once() {
    for rotates in [true, false] {
        let of = Providers::new().await;
        of.plain.set_rotation(rotates);
        // Each login needs another one.
        of.plain.set_token_lifetime(Duration::from_secs(60));
        let first = of.sign_in(PIA).await;
        let password = of.device_password(PIA).await;
        for _ in 0..3 {
            for protocol in PROTOCOLS {
                of.world.session(protocol, PIA, &password).await.works().await;
            }
        }
        let Attempts { succeeded, refused } = of.refreshes(PIA);
        assert!(succeeded > 1 && refused == 0, "{succeeded} {refused}");
        assert_eq!(of.record(PIA).await.refresh_token.expose() != first.expose(), rotates);
    }
}

#[tokio::test]
async fn the_application_authenticates_as_it_is_registered() {
    use ClientAuthentication::{Basic, Form, None};
    const POST: &str = "client_secret: plain-secret\n    client_authentication: post";
    const BASIC: &str = "client_secret: plain-secret\n    client_authentication: basic";
    for (plain, registered, fits) in [
        (USUAL, None, true),
        (POST, Form, true),
        (BASIC, Basic, true),
        (BASIC, Form, false),
        (POST, Basic, false),
        (USUAL, Form, false),
    ] {
        let of = Wanted { plain, ..Wanted::default() }.start().await;
        of.plain.set_client_authentication(registered);
        let password = of.ready(PIA).await;
        if fits {
            of.reads_and_sends(PIA, &password).await;
        } else {
            of.world.refuses(Imap, PIA, &password, Refusal::ContactAdmin, "provider-refused").await;
            assert!(of.world.log.has("of `providers.plain` with the console of plain"));
            assert!(of.record(PIA).await.refused.is_none(), "the person is not at fault");
        }
        let asked = of.plain.last_request("/token").unwrap();
        assert_eq!(asked.has_basic, plain == BASIC);
        assert_eq!(asked.parameter("client_secret").is_some(), plain == POST);
        assert!(!of.world.log.has("plain-secret"));
    }
}

/// Google wants the secret of a desktop application, which is easily left out.
#[tokio::test]
async fn a_request_that_lacks_something_is_for_the_administrator() {
    let of = Providers::new().await;
    let password = of.ready(PIA).await;
    of.plain.set_refusal(PIA, Some(("invalid_request", "client_secret is missing.")));
    of.world.refuses(Imap, PIA, &password, Refusal::ContactAdmin, "provider-refused").await;
    assert!(of.world.log.has("It says \"client_secret is missing\""));
}

#[tokio::test]
async fn bad_manners_that_change_nothing() {
    for manner in [Manner::NoExpiresIn, Manner::TextExpiresIn] {
        let of = Providers::new().await;
        of.plain.set_manners(std::slice::from_ref(&manner));
        let password = of.ready(PIA).await;
        of.reads_and_sends(PIA, &password).await;
    }
}

#[tokio::test]
async fn an_error_counts_however_it_is_written() {
    for manner in [Manner::FormErrors, Manner::OkWithError] {
        let of = Providers::new().await;
        of.plain.set_manners(std::slice::from_ref(&manner));
        let password = of.ready(PIA).await;
        of.plain.end_sign_ins(PIA);
        of.world.refuses(Imap, PIA, &password, Refusal::ContactAdmin, "sign-in-needed").await;
        assert!(of.record(PIA).await.refused.is_some(), "{manner:?}");
    }
}

#[tokio::test]
async fn bad_manners_lose_no_sign_in() {
    const UNAVAILABLE: &str = "provider-unavailable";
    const UNCLEAR: &str = "provider-refused";
    for (manner, cause) in [
        (Manner::Throttled(Duration::from_secs(1)), UNAVAILABLE),
        (Manner::ServerError, UNAVAILABLE),
        (Manner::Down, UNAVAILABLE),
        (Manner::Html, UNCLEAR),
        (Manner::Redirect, UNCLEAR),
        (Manner::FormTokens, UNCLEAR),
        (Manner::TruncatedJson, UNCLEAR),
        (Manner::NoTokenType, UNCLEAR),
    ] {
        let of = Providers::new().await;
        // A token that rotated in an answer that cannot be read is lost at any client.
        of.plain.set_rotation(false);
        let password = of.ready(PIA).await;
        of.plain.set_manners(std::slice::from_ref(&manner));
        let reply = of.world.reply(Imap, PIA, &password).await;
        let because = of.world.log.lines(|line| line.contains("outcome=refused"));
        assert_eq!(told(&reply).0, refused_words(Imap, Refusal::Unavailable), "{manner:?}: {because:?}");
        assert!(because[0].contains(&format!(" cause={cause} ")), "{manner:?}: {because:?}");
        assert!(!because[0].contains("Entra"), "{manner:?}: {because:?}");
        assert!(of.record(PIA).await.refused.is_none(), "{manner:?}");
        if matches!(manner, Manner::Down) {
            assert!(of.world.log.has("plain does not answer as it should: "));
        }
        of.plain.set_manners(&[]);
        wait::until("it is asked again", async || is_accepted(Imap, &of.world.reply(Imap, PIA, &password).await)).await;
        of.nothing_strayed();
        assert_eq!(of.world.log.lines(|line| line.contains("Entra")), [""; 0], "{manner:?}");
    }
}

/// The provider does not say who signed in, so its mail server decides.
#[tokio::test]
async fn the_token_of_another_person_or_for_something_else_opens_nothing() {
    let of = Providers::new().await;
    of.plain.add_account("other@plain.example", "pw");
    let password = of.ready(PIA).await;
    let others = of.plain.sign_in("other@plain.example").unwrap().refresh;
    let record = SignIn { refresh_token: others, ..of.record(PIA).await };
    of.world.store.put_sign_in(&of.key(PIA), &record, None).await.unwrap();
    for protocol in PROTOCOLS {
        of.world.refuses(protocol, PIA, &password, Refusal::ContactAdmin, "token-refused").await;
    }
    assert!(of.world.log.has(&format!("check that {PIA} signed in itself")));
    assert!(of.world.log.has(&format!("run `gatepost login {PIA}`")));
}

/// A client that logs in with a token of its own.
async fn present(world: &World, protocol: MailProtocol, user: &str, token: &AccessToken) -> String {
    let mut client: Client = world.client(protocol).await;
    let message = xoauth2(user, token.expose());
    match protocol {
        Imap => client.ask(&format!("a AUTHENTICATE XOAUTH2 {message}"), "a ").await,
        Pop3 => {
            client.ask("AUTH XOAUTH2", "+ ").await;
            client.ask(&message, "").await
        }
        Smtp => client.ask(&format!("AUTH XOAUTH2 {message}"), "").await,
    }
}

#[tokio::test]
async fn every_account_at_every_listener_and_no_token_strays() {
    let of = Providers::new().await;
    let users = [ANNA, PAT, GUS, PIA];
    let mut passwords = Vec::new();
    for user in users {
        passwords.push(of.ready(user).await);
    }
    for (user, password) in users.iter().zip(&passwords) {
        for protocol in PROTOCOLS {
            of.world.session(protocol, user, password).await.works().await;
            assert_eq!(of.logins(protocol, user), Attempts { succeeded: 1, refused: 0 }, "{user} {protocol:?}");
        }
    }
    // All at once.
    let world = &of.world;
    let logins = users.iter().zip(&passwords).flat_map(|(user, password)| {
        PROTOCOLS.map(|protocol| async move { (protocol, world.reply(protocol, user, password).await) })
    });
    for (protocol, reply) in join_all(logins).await {
        assert!(is_accepted(protocol, &reply), "{reply}");
    }
    // A wrong password asks nobody.
    let asked = of.google.requests().len();
    for protocol in PROTOCOLS {
        of.world.refuses(protocol, GUS, &passwords[3], Refusal::InvalidCredentials, "wrong-password").await;
    }
    assert_eq!(of.google.requests().len(), asked);
    of.nothing_strayed();
}

/// Its server is that of the provider to which the mailbox belongs.
#[tokio::test]
async fn a_token_that_a_client_brings_goes_to_its_own_provider() {
    let of = Providers::new().await;
    let gus = of.google.sign_in(GUS).unwrap().access;
    let pia = of.plain.sign_in(PIA).unwrap().access;
    let pat = of.world.sandbox.issue_token(PAT).unwrap();
    let anna = of.world.sandbox.issue_token(ANNA).unwrap();
    for protocol in PROTOCOLS {
        for (user, token) in [(GUS, &gus), (PIA, &pia), (PAT, &pat), (ANNA, &anna)] {
            let reply = present(&of.world, protocol, user, token).await;
            assert!(is_accepted(protocol, &reply), "{user} {protocol:?}: {reply}");
        }
    }
    of.nothing_strayed();
}

/// Opaque tokens of others are shorter than Microsoft's. What is too short for the account's provider is
/// taken for a password, which no server sees.
#[tokio::test]
async fn a_short_token_goes_to_a_provider_that_may_have_made_it() {
    let of = Providers::new().await;
    let token = |octets: usize| AccessToken::new("Ab0-".repeat(50)[..octets].to_owned());
    for protocol in PROTOCOLS {
        for (user, octets, cause) in [
            (GUS, 60, "token-refused"),
            (PIA, 40, "token-refused"),
            (PIA, 39, "not-a-token"),
            (ANNA, 199, "not-a-token"),
            (PAT, 199, "not-a-token"),
            (ANNA, 200, "token-refused"),
        ] {
            let before = of.logins(protocol, user).refused;
            let reply = present(&of.world, protocol, user, &token(octets)).await;
            of.world.was_refused(protocol, &reply, Refusal::InvalidCredentials, cause);
            let seen = of.logins(protocol, user).refused - before;
            assert!(seen == 0 || cause == "token-refused", "{user} {octets} {protocol:?}");
        }
    }
}

#[tokio::test]
async fn services_that_only_microsoft_has_refuse_the_accounts_of_others() {
    const CAUSE: &str = "cause=provider-lacks-service";
    let listeners = "
  ews: {bind: '127.0.0.1:0', upstream: 'localhost:{ews}'}
  graph: {bind: '127.0.0.1:0', upstream: 'localhost:{graph}'}
  pop3: {bind: '127.0.0.1:0', upstream: graph, graph: 'localhost:{graph}'}
  smtp: {bind: '127.0.0.1:0', deliver: graph, graph: 'localhost:{graph}'}";
    let of = Wanted { listeners: Some(listeners), ..Wanted::default() }.start().await;
    for user in [GUS, PIA] {
        let password = of.ready(user).await;
        for (listener, method, path, body) in [
            ("ews", "POST", "/EWS/Exchange.asmx", envelope("", "<m:GetServerTimeZones/>")),
            ("graph", "GET", "/v1.0/me/messages", String::new()),
        ] {
            let before = of.world.log.lines(|line| line.contains(CAUSE)).len();
            let mut connection = Connection::http_1(&of.world, listener).await;
            let wrong = connection.ask(request(method, path, &basic(user, "wrong"), &body)).await;
            assert_eq!(wrong.status, 401, "{user} {listener}");
            assert_eq!(of.world.log.lines(|line| line.contains(CAUSE)).len(), before, "a stranger learns nothing");
            let mut connection = Connection::http_1(&of.world, listener).await;
            let got = connection.ask(request(method, path, &basic(user, &password), &body)).await;
            assert!(got.status != 200 && got.status != 401, "{user} {listener}: {got:?}");
            assert_eq!(of.world.log.lines(|line| line.contains(CAUSE)).len(), before + 1, "{user} {listener}");
        }
        for protocol in [Pop3, Smtp] {
            of.world.refuses(protocol, user, &password, Refusal::ContactAdmin, "provider-lacks-service").await;
            let token = of.handle(user).unwrap().sign_in(user).unwrap().access;
            let reply = present(&of.world, protocol, user, &token).await;
            of.world.was_refused(protocol, &reply, Refusal::ContactAdmin, "provider-lacks-service");
        }
        assert_eq!(of.refreshes(user), Attempts::default(), "no token is asked for");
    }
    of.nothing_strayed();
}

/// What a client is told before its login.
async fn announced(of: &Providers, protocol: MailProtocol) -> String {
    let mut client = of.world.client(protocol).await;
    client.heard.clear();
    match protocol {
        Imap => client.ask("a CAPABILITY", "a OK").await,
        Pop3 => client.ask("CAPA", ".").await,
        Smtp => client.ask("EHLO client.example", "250 ").await,
    };
    String::from_utf8(client.heard).unwrap()
}

/// Nobody knows then whose account it will be, and a client keeps what it was told.
#[tokio::test]
async fn before_the_login_a_client_is_told_what_all_servers_have() {
    let of = Providers::new().await;
    for (protocol, common, of_some) in [
        // Google takes the smallest messages.
        (
            Smtp,
            &["SIZE 35882577\r\n", "PIPELINING", "8BITMIME", "CHUNKING"][..],
            &["DSN", "BINARYMIME", "SMTPUTF8"][..],
        ),
        (Pop3, &["TOP\r\n", "UIDL\r\n"], &["EXPIRE"]),
        (Imap, &[" IMAP4rev1", " IDLE"], &["UIDPLUS", "MOVE", "QUOTA", "UNSELECT", "NAMESPACE"]),
    ] {
        wait::until("all servers were asked", async || {
            let told = announced(&of, protocol).await;
            common.iter().all(|it| told.contains(it)) && !of_some.iter().any(|it| told.contains(it))
        })
        .await;
    }
    // After the login it is the account's own server that counts.
    let password = of.ready(GUS).await;
    let reply = of.world.reply(Imap, GUS, &password).await;
    assert!(reply.contains("APPENDLIMIT=35651584") && reply.contains("UIDPLUS"), "{reply}");
}
