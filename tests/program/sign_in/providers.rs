//! `gatepost login` for personal Microsoft accounts and for accounts of other providers, and a service
//! that serves them afterwards.

use std::process::{Command, Stdio};
use std::time::Duration;

use gatepost_sandbox::{
    AccountKind, ClientAuthentication, Google, GoogleConfig, Manner, Plain, PlainConfig, ProviderHandle, Sandbox,
    SandboxAccount, SandboxConfig, SignInAudience,
};
use url::Url;

use crate::common::directory::Directory;
use crate::common::port::free_port;
use crate::common::running::Running;
use crate::service::{Service, log_in, shown};
use crate::sign_in::browser::{Answer, Browser};

const ANNA: &str = "anna@contoso.example";
const PAT: &str = "pat@outlook.example";
const GUS: &str = "gus@workspace.example";
const PIA: &str = "pia@plain.example";
const OTHER: &str = "other@plain.example";
const PASSWORD: &str = "a secret";

/// A configuration in a directory of its own, and the providers that it names.
struct World {
    directory: Directory,
    sandbox: Sandbox,
    google: Google,
    plain: Plain,
    browser: Browser,
    port: u16,
}

impl World {
    async fn new(tenant: &str) -> Self {
        Self::with_plain(tenant, "scope: mail offline_access").await
    }

    /// `of_plain`: further keys of the plain provider; `{plain}` stands for its address.
    async fn with_plain(tenant: &str, of_plain: &str) -> Self {
        let config = SandboxConfig {
            accounts: vec![SandboxAccount::new(ANNA, PASSWORD)],
            device_code_interval: Duration::from_secs(1),
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        sandbox.add_account(SandboxAccount::of(AccountKind::Personal, PAT, PASSWORD));
        sandbox.set_sign_in_audience(sandbox.public_client_id(), SignInAudience::AnyOrganizationAndPersonal);
        let google = sandbox.start_google(GoogleConfig::default()).await.unwrap();
        google.add_account(GUS, PASSWORD);
        let plain = sandbox.start_plain(PlainConfig::default()).await.unwrap();
        plain.add_account(PIA, PASSWORD);
        plain.add_account(OTHER, PASSWORD);
        let (directory, port) = (Directory::new(), free_port());
        directory.write("ca.pem", sandbox.ca_pem());
        let hosts = |handle: &ProviderHandle| {
            let (imap, pop3, smtp) = (handle.imap().port(), handle.pop3().port(), handle.smtps().port());
            format!("{{imap: 'localhost:{imap}', pop3: 'localhost:{pop3}', smtp: 'localhost:{smtp}'}}")
        };
        let (of, other) = (google.base(), plain.base());
        let yaml = format!(
            "listeners:\n  imap: {{bind: '127.0.0.1:{port}', upstream: 'localhost:{}'}}\n\
             microsoft:\n  authority: {}\n  tenant: {tenant}\n  client_id: {}\n  grant: authorization_code\n\
             providers:\n  google:\n    client_id: {}\n    client_secret: GOCSPX-sandbox\n    \
             authorize_url: {of}/o/oauth2/v2/auth\n    token_url: {of}/token\n    revoke_url: {of}/revoke\n    hosts: {}\n  \
             plain:\n    client_id: {}\n    authorize_url: {other}/authorize\n    token_url: {other}/token\n    \
             device_url: {other}/device_authorization\n    domains: [plain.example]\n    hosts: {}\n    {}\n\
             accounts:\n  - login: {ANNA}\n  - login: {PAT}\n  - {{login: {GUS}, provider: google}}\n  - login: {PIA}\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             limits: {{failure_delay: 0s}}\n",
            sandbox.imap().port(),
            sandbox.authority(),
            sandbox.public_client_id(),
            google.client_id(),
            hosts(&google),
            plain.client_id(),
            hosts(&plain),
            of_plain.replace("{plain}", &other),
        );
        directory.write("proxy.yaml", yaml);
        let browser = Browser::new(&sandbox);
        Self { directory, sandbox, google, plain, browser, port }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut running = self.start(arguments);
        running.input = None;
        running.end()
    }

    fn serve(&self) -> Service {
        let log = std::fs::File::create(self.directory.file("log")).unwrap();
        let child = self.command(&[]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Service::listening(child, self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.file("log")).unwrap()
    }

    /// Signs in with a browser on this machine; the exit code, and all that was written.
    async fn by_code(&self, arguments: &[&str], answer: Answer<'_>) -> (i32, String) {
        let mut running = self.start(&[&["login"], arguments].concat());
        let redirect = self.browser.answer(&running.address(), answer).await.unwrap();
        self.browser.get(redirect.as_str()).await;
        running.end()
    }

    /// The same on another device.
    async fn by_device_code(&self, login: &str, answer: Answer<'_>) -> (i32, String) {
        let mut running = self.start(&["login", login, "--device-code"]);
        let (address, user_code) = (running.address(), running.line("  code  "));
        self.browser.enter(&address, &user_code, answer).await;
        running.end()
    }

    fn has_nothing_of(&self, login: &str) {
        let (code, text) = self.run(&["logout", login, "--yes"]);
        assert_eq!((code, text), (1, format!("gatepost: nobody has signed in for `{login}`\n")));
    }

    fn opens(&self, login: &str, password: &str) {
        let reply = log_in(self.port, login, password).1;
        assert!(reply.starts_with("OK "), "{reply}\n{}", self.log());
    }
}

fn as_user(user: &str) -> Answer<'_> {
    Answer::SignIn(user, PASSWORD)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_account_by_browser_and_by_device_code() {
    for tenant in ["consumers", "common"] {
        let world = World::new(tenant).await;
        let (code, text) = world.by_code(&[PAT], as_user(PAT)).await;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(&format!("`{PAT}` signed in for `{PAT}`")), "{text}");
        let password = shown(&text);
        let (code, text) = world.by_device_code(PAT, as_user(PAT)).await;
        assert_eq!(code, 0, "the same person again: {text}");
        let _service = world.serve();
        world.opens(PAT, &password);
        let (code, text) = world.run(&["logout", PAT, "--yes"]);
        assert!(code == 0 && text.contains("https://account.microsoft.com/privacy/app-access"), "{text}");
        assert!(!text.contains("Entra admin center"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn common_takes_both_kinds_and_another_tenant_says_which_it_takes() {
    let world = World::new("common").await;
    let (pat, anna) = (world.by_code(&[PAT], as_user(PAT)).await, world.by_code(&[ANNA], as_user(ANNA)).await);
    assert_eq!((pat.0, anna.0), (0, 0), "{}{}", pat.1, anna.1);
    // One does not sign in for the other.
    let (code, text) = world.by_code(&[PAT], as_user(ANNA)).await;
    assert!(code == 1 && text.contains(&format!("`{ANNA}` signed in, but `{PAT}` needs `{PAT}`")), "{text}");
    let _service = world.serve();
    world.opens(PAT, &shown(&pat.1));
    world.opens(ANNA, &shown(&anna.1));

    for (tenant, login, page) in [
        ("consumers", ANNA, "That Microsoft account doesn&#39;t exist."),
        ("contoso.example", PAT, "AADSTS50020"),
        ("organizations", PAT, "AADSTS500200"),
    ] {
        let world = World::new(tenant).await;
        let mut running = world.start(&["login", login]);
        let address = running.address();
        let told = world.browser.answer(&address, as_user(login)).await.unwrap_err();
        assert!(told.replace('\'', "&#39;").contains(page), "{tenant}: {told}");
        let redirect = world.browser.answer(&address, Answer::Decline).await.unwrap();
        world.browser.get(redirect.as_str()).await;
        let (code, text) = running.end();
        assert!(code == 1 && text.contains("nothing was saved"), "{text}");
        world.has_nothing_of(login);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn google_by_browser() {
    let world = World::new("common").await;
    let mut running = world.start(&["login", GUS]);
    let address = running.address();
    let asked: Vec<(String, String)> = Url::parse(&address).unwrap().query_pairs().into_owned().collect();
    for (name, value) in [
        ("scope", "https://mail.google.com/ openid email"),
        ("access_type", "offline"),
        ("prompt", "consent"),
        ("code_challenge_method", "S256"),
        ("login_hint", GUS),
    ] {
        assert!(asked.contains(&(name.into(), value.into())), "{name}: {asked:?}");
    }
    let redirect = world.browser.answer(&address, as_user(GUS)).await.unwrap();
    assert!(world.browser.get(redirect.as_str()).await.contains("You may close this window"));
    let (code, text) = running.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("`{GUS}` signed in for `{GUS}`")), "{text}");
    let password = shown(&text);
    // Who has consented before is asked again, because only then there is a refresh token.
    let (code, text) = world.by_code(&[GUS], as_user(GUS)).await;
    assert_eq!(code, 0, "{text}");
    let _service = world.serve();
    world.opens(GUS, &password);
    let (code, text) = world.run(&["logout", GUS, "--yes"]);
    assert!(code == 0 && text.contains("Google has revoked the refresh token."), "{text}");
    assert!(!text.contains("Entra") && !text.contains("stays valid"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_at_google_stores_nothing_and_is_told() {
    let world = World::new("common").await;
    let (code, text) = world.by_code(&[GUS], Answer::Decline).await;
    assert!(code == 1 && text.contains("nothing was saved: the sign-in was declined in the browser"), "{text}");
    world.google.add_account("other@workspace.example", PASSWORD);
    let (code, text) = world.by_code(&[GUS], as_user("other@workspace.example")).await;
    let told = format!("nothing was saved: `other@workspace.example` signed in, but `{GUS}` needs `{GUS}`");
    assert!(code == 1 && text.contains(&told), "{text}");
    world.directory.write("secret", "GOCSPX-wrong");
    for (secret, said) in
        [("{file: secret}", "The provided client secret is invalid"), ("none", "client_secret is missing")]
    {
        let set = format!("providers.google.client_secret={secret}");
        let (code, text) = world.by_code(&[GUS, "--set", &set], as_user(GUS)).await;
        assert!(code == 1 && text.contains(said), "{text}");
        assert!(text.contains("`client_secret` and `scope` of `providers.google`"), "{text}");
    }
    let (code, text) = world.run(&["login", GUS, "--device-code"]);
    assert!(code == 1 && text.contains("no sign-in by device code"), "{text}");
    // A check box of the consent page stays empty.
    world.google.set_manners(&[Manner::FewerScopes]);
    let (code, text) = world.by_code(&[GUS], as_user(GUS)).await;
    let told = "nothing was saved: Google did not grant the scope `https://mail.google.com/`, which Gatepost needs to \
                open the mailbox. Gatepost admin: sign in again, and allow everything on the consent page.";
    assert!(code == 1 && text.contains(told), "{text}");
    world.has_nothing_of(GUS);
    assert_eq!(world.sandbox.foreign_tokens(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_provider_by_browser_and_by_device_code() {
    let world = World::new("common").await;
    let (code, text) = world.by_code(&[PIA], as_user(PIA)).await;
    assert_eq!(code, 0, "{text}");
    let password = shown(&text);
    {
        let _service = world.serve();
        world.opens(PIA, &password);
    }
    let (code, text) = world.by_device_code(PIA, as_user(PIA)).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = world.by_device_code(PIA, Answer::Decline).await;
    assert!(code == 1 && text.contains("nothing was saved: the sign-in was declined"), "{text}");
    let _service = world.serve();
    world.opens(PIA, &password);
    assert_eq!(world.sandbox.foreign_tokens(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_provider_that_says_who_signed_in() {
    const OF_PLAIN: &str = "scope: mail offline_access openid email\n    issuer: '{plain}'\n    \
                            client_secret: plain-secret\n    client_authentication: basic";
    let world = World::with_plain("common", OF_PLAIN).await;
    world.plain.set_client_authentication(ClientAuthentication::Basic);
    let (code, text) = world.by_code(&[PIA], as_user(PIA)).await;
    assert_eq!(code, 0, "{text}");
    assert!(world.plain.last_request("/token").unwrap().has_basic);
    let password = shown(&text);
    let (code, text) = world.by_device_code(PIA, as_user(PIA)).await;
    assert_eq!(code, 0, "{text}");
    // Another person signs in, whichever was asked for.
    world.plain.set_manners(&[Manner::AnotherUser(OTHER.into())]);
    let told = format!("nothing was saved: `{OTHER}` signed in, but `{PIA}` needs `{PIA}`");
    for (code, text) in [world.by_code(&[PIA], as_user(PIA)).await, world.by_device_code(PIA, as_user(PIA)).await] {
        assert!(code == 1 && text.contains(&told), "{text}");
    }
    world.plain.set_manners(&[]);
    let _service = world.serve();
    world.opens(PIA, &password);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manners_at_a_sign_in_store_nothing_and_are_told() {
    let world = World::new("common").await;
    for (manner, told) in [
        (Manner::Html, "of plain to the token request (status `200`) cannot be used: not JSON"),
        (Manner::NoTokenType, "a `token_type` that is not Bearer"),
        (Manner::ServerError, "plain answered with status `503`"),
        (Manner::Redirect, "(status `307`) cannot be used"),
    ] {
        world.plain.set_manners(std::slice::from_ref(&manner));
        let (code, text) = world.by_code(&[PIA], as_user(PIA)).await;
        assert!(code == 1 && text.contains("nothing was saved") && text.contains(told), "{manner:?}: {text}");
        assert!(!text.contains("Entra"), "{manner:?}: {text}");
    }
    world.plain.set_manners(&[]);
    let (code, text) = world.by_code(&[PIA, "--set", "providers.plain.scope=mail"], as_user(PIA)).await;
    assert!(code == 1 && text.contains("plain gave no refresh token"), "{text}");
    assert!(text.contains("correct `scope` of `providers.plain`"), "{text}");
    world.has_nothing_of(PIA);
}

/// Signs out, and returns the refresh token that the provider was asked to revoke.
fn signed_out(world: &World, provider: &ProviderHandle, login: &str, title: &str) -> String {
    let (code, text) = world.run(&["logout", login, "--yes"]);
    assert!(code == 0 && text.contains(&format!("{title} has revoked the refresh token.\n")), "{text}");
    assert!(!text.contains("stays valid"), "{text}");
    let asked = provider.last_request("/revoke").unwrap();
    assert_eq!(asked.parameter("token_type_hint"), Some("refresh_token"), "{asked:?}");
    world.has_nothing_of(login);
    asked.parameter("token").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_revokes_the_refresh_token_at_the_provider() {
    const OF_PLAIN: &str = "scope: mail offline_access\n    revoke_url: '{plain}/revoke'\n    \
                            client_secret: [wrong-secret, plain-secret]\n    client_authentication: basic";
    let world = World::with_plain("common", OF_PLAIN).await;
    world.plain.set_client_authentication(ClientAuthentication::Basic);
    for (login, title) in [(GUS, "Google"), (PIA, "plain")] {
        let (code, text) = world.by_code(&[login], as_user(login)).await;
        assert_eq!(code, 0, "{text}");
        let provider: &ProviderHandle = if login == GUS { &world.google } else { &world.plain };
        let password = shown(&text);
        {
            let _service = world.serve();
            world.opens(login, &password);
        }
        let token = signed_out(&world, provider, login, title);
        assert!(!provider.has_sign_in(&token), "{title} takes the token no more");
    }
    assert!(world.plain.last_request("/revoke").unwrap().has_basic);
    assert_eq!(world.sandbox.foreign_tokens(), []);

    // A token that is gone already is no reason to complain.
    let (code, text) = world.by_code(&[GUS], as_user(GUS)).await;
    assert_eq!(code, 0, "{text}");
    world.google.end_sign_ins(GUS);
    signed_out(&world, &world.google, GUS, "Google");
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_without_revocation_removes_the_sign_in_and_says_what_is_left_to_do() {
    const OF_PLAIN: &str = "scope: mail offline_access\n    revoke_url: '{plain}/revoke'\n    \
                            client_secret: {file: secret}";
    let by_hand = format!(
        "The refresh token stays valid until you revoke it: in the settings of `{PIA}` at plain, remove the access of \
         this application."
    );
    let world = World::with_plain("common", OF_PLAIN).await;
    world.plain.set_client_authentication(ClientAuthentication::Form);
    for (manner, secret, why) in [
        (Some(Manner::ServerError), Some("plain-secret"), "plain answered with status `503`"),
        (Some(Manner::Html), Some("plain-secret"), "(status `200`) cannot be used: not JSON"),
        (None, Some("wrong-secret"), "plain refused the revocation request with `invalid_client`"),
        (None, None, "the configuration cannot be read with its secrets: `secret` cannot be read"),
    ] {
        world.directory.write("secret", "plain-secret");
        let (code, text) = world.by_code(&[PIA], as_user(PIA)).await;
        assert_eq!(code, 0, "{text}");
        world.plain.set_manners(manner.as_slice());
        match secret {
            Some(secret) => _ = world.directory.write("secret", secret),
            None => std::fs::remove_file(world.directory.file("secret")).unwrap(),
        }
        let (code, text) = world.run(&["logout", PIA, "--yes"]);
        assert!(code == 0 && text.starts_with("Removed the sign-in"), "{why}: {text}");
        assert!(text.contains(&format!("{by_hand} Gatepost could not revoke it: ")) && text.contains(why), "{text}");
        assert!(!text.contains("has revoked"), "{text}");
        world.plain.set_manners(&[]);
        world.directory.write("secret", "plain-secret");
        world.has_nothing_of(PIA);
    }
    // Without `revoke_url` nobody is asked.
    let world = World::new("common").await;
    let (code, text) = world.by_code(&[PIA], as_user(PIA)).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = world.run(&["logout", PIA, "--yes"]);
    assert!(code == 0 && text.contains(&format!("{by_hand}\n")), "{text}");
    assert!(world.plain.last_request("/revoke").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_the_server_of_each_account() {
    let world = World::new("common").await;
    let (code, text) = world.by_code(&[GUS], as_user(GUS)).await;
    assert_eq!(code, 0, "{text}");
    // Nobody listens where the accounts of Microsoft lead.
    let nobody = free_port();
    let set = format!("listeners.imap.upstream=localhost:{nobody}");
    let (_, text) = world.run(&["doctor", GUS, "--set", &set]);
    assert!(text.contains(&format!("localhost:{nobody}")), "{text}");
    assert!(text.contains(&format!("localhost:{}", world.google.imap().port())), "{text}");
    assert!(text.contains("IMAP: INBOX has") && !text.contains("IMAP (network)"), "{text}");
}
