//! A real browser at sign-ins of personal Microsoft accounts, of Google's and of a plain provider's: with
//! `gatepost login`, and on the status page. An old client reads and sends afterwards.

use std::process::Command;

use gatepost_sandbox::{
    AccountKind, GoogleConfig, PlainConfig, ProviderHandle, Sandbox, SandboxAccount, SandboxConfig, SignInAudience,
};
use tokio::runtime::{Builder, Runtime};

use super::browser::Browser;
use super::common::running::Running;
use super::message::{assert_same, message};
use super::old_client::{Listeners, OldClient};
use super::process::{Directory, Server, free_port, run};

/// Personal Microsoft accounts.
const PAT: &str = "pat@outlook.example";
const PAM: &str = "pam@outlook.example";
/// Google's.
const GUS: &str = "gus@workspace.example";
const GIL: &str = "gil@workspace.example";
/// A plain provider's, with a code.
const PIA: &str = "pia@plain.example";
const PASSWORD: &str = "a secret";

/// A Gatepost with a status page, and the providers that it knows. The service ends first.
struct World {
    service: Server,
    sandbox: Sandbox,
    directory: Directory,
    listeners: Listeners,
    page: u16,
}

impl World {
    fn start(runtime: &Runtime) -> Self {
        let (sandbox, providers) = runtime.block_on(async {
            let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
            for person in [PAT, PAM] {
                sandbox.add_account(SandboxAccount::of(AccountKind::Personal, person, PASSWORD));
            }
            sandbox.set_sign_in_audience(sandbox.public_client_id(), SignInAudience::PersonalOnly);
            let google = sandbox.start_google(GoogleConfig::default()).await.unwrap();
            google.add_account(GUS, PASSWORD);
            google.add_account(GIL, PASSWORD);
            let plain = sandbox.start_plain(PlainConfig::default()).await.unwrap();
            plain.add_account(PIA, PASSWORD);
            let hosts = |handle: &ProviderHandle| {
                let [imap, pop3, smtp] = [handle.imap(), handle.pop3(), handle.smtps()].map(|address| address.port());
                format!("hosts: {{imap: 'localhost:{imap}', pop3: 'localhost:{pop3}', smtp: 'localhost:{smtp}'}}")
            };
            let providers = format!(
                "providers:\n  google: {{client_id: {}, client_secret: GOCSPX-sandbox, domains: workspace.example, \
                 authorize_url: '{base}/o/oauth2/v2/auth', token_url: '{base}/token', {}}}\n  \
                 plain: {{client_id: {}, scope: mail offline_access, grant: device_code, domains: plain.example, \
                 token_url: '{other}/token', device_url: '{other}/device_authorization', {}}}\n",
                google.client_id(),
                hosts(&google),
                plain.client_id(),
                hosts(&plain),
                base = google.base(),
                other = plain.base(),
            );
            (sandbox, providers)
        });
        let (directory, listeners, page) = (Directory::new(), Listeners::new(), free_port());
        directory.write("ca.pem", sandbox.ca_pem());
        let upstreams = [sandbox.imap(), sandbox.pop3(), sandbox.smtp()].map(|address| address.port());
        let accounts: String = [PAT, PAM, GUS, GIL, PIA].map(|login| format!("  - login: {login}\n")).concat();
        let yaml = format!(
            "{}microsoft: {{authority: '{}', tenant: consumers, client_id: {}, grant: authorization_code}}\n\
             {providers}accounts:\n{accounts}trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\nadmin: {{bind: '127.0.0.1:{page}'}}\n",
            listeners.section(Some(upstreams)),
            sandbox.authority(),
            sandbox.public_client_id(),
        );
        directory.write("proxy.yaml", yaml);
        let mut service =
            Server::start("gatepost", &mut gatepost(&directory, &["run"]), directory.path().join("gatepost.log"));
        service.wait_for_port(page);
        Self { service, sandbox, directory, listeners, page }
    }

    /// What the first message of an inbox is by IMAP and by POP3, and that one can be sent.
    fn reads_and_sends(&self, login: &str, password: &str) {
        let client = OldClient { listeners: self.listeners, login, password };
        let messages = self.sandbox.messages(login, "INBOX");
        for fetched in [client.fetch(), client.retrieve()] {
            assert_same(&fetched.expect_success(login).stdout, &messages[0], login);
        }
        let file = self.directory.write("message", message(8));
        client.send("recipient@example.org", &file).expect_success(login);
        let sent = self.sandbox.outbox().pop().unwrap();
        assert_eq!((&*sent.sender, &*sent.recipients), (login, &["recipient@example.org".to_owned()][..]));
        assert_same(&sent.content, &message(8), login);
    }
}

fn gatepost(directory: &Directory, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(arguments).current_dir(directory.path()).env_clear();
    command
}

/// Signs in with `gatepost login`; the device password.
fn by_command(world: &World, browser: &Browser<'_>, login: &str) -> String {
    let mut running = Running::start(gatepost(&world.directory, &["login", login]));
    browser.open(&running.address());
    browser.sign_in(login, PASSWORD);
    browser.wait_for_text("You may close this window");
    let (code, said) = running.end();
    assert!(code == 0 && said.contains(&format!("`{login}` signed in for `{login}`")), "{said}");
    said.lines().find_map(|line| line.strip_prefix("  password    ")).unwrap().to_owned()
}

/// Begins to sign in on the status page at `home`.
fn begin(browser: &Browser<'_>, home: &str, login: &str) {
    browser.open(home);
    browser.click(&format!("form[action$='/sign-in']:has(input[value='{login}']) button"));
}

/// Shows the status page again, on which the account has signed in.
fn end(browser: &Browser<'_>, login: &str) -> String {
    let password = browser.text("#new-password");
    browser.click("form[action$='/end'] button");
    browser.element(&format!("tr:has(input[value='{login}']) .pill.good"));
    password
}

#[test]
#[ignore = "needs Chromium and curl: run tests/run"]
fn every_kind_of_account_signs_in_and_its_client_reads_and_sends() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut world = World::start(&runtime);
    let browser = Browser::start(&runtime, &world.directory);
    for login in [PAM, GIL] {
        let password = by_command(&world, &browser, login);
        world.reads_and_sends(login, &password);
    }

    let link = run(&mut gatepost(&world.directory, &["status", "--page"])).expect_success("gatepost status").stdout;
    browser.open(String::from_utf8(link).unwrap().trim());
    browser.element("#accounts");
    let home = browser.get("/url").as_str().unwrap().to_owned();
    assert!(home.starts_with(&format!("http://127.0.0.1:{}/", world.page)), "{home}");
    for (login, provider) in [(PAT, "Microsoft"), (GUS, "Google")] {
        begin(&browser, &home, login);
        assert_eq!(browser.text("main a.button"), format!("Continue to {provider}"));
        browser.click("main a.button");
        browser.sign_in(login, PASSWORD);
        let password = end(&browser, login);
        world.reads_and_sends(login, &password);
    }

    // With the code of another device, whose page this browser opens in between.
    begin(&browser, &home, PIA);
    let code = browser.text(".secret code");
    let sign_in = browser.get("/url").as_str().unwrap().to_owned();
    browser.open(&browser.text("main p a"));
    browser.type_into("input[name='user_code']", &code);
    browser.sign_in(PIA, PASSWORD);
    browser.wait_for_text("You have signed in.");
    browser.open(&sign_in);
    let password = end(&browser, PIA);
    world.reads_and_sends(PIA, &password);

    drop(browser);
    assert!(world.service.stop().success());
    assert_eq!(world.sandbox.foreign_tokens(), []);
}
