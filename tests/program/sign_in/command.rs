//! `gatepost login` and `gatepost logout` as processes, with a person in front of them and a
//! service beside them.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatepost_core::clock::Clock;
use gatepost_sandbox::{Attempts, Sandbox, SandboxAccount, SandboxConfig};
use url::Url;

use crate::common::directory::Directory;
use crate::common::port::free_port;
use crate::common::running::Running;
use crate::common::wait::wait_until;
use crate::service::{Service, log_in, shown};
use crate::sign_in::browser::{Answer, Browser};

const ANNA: &str = "anna@contoso.example";
const ANNAS: &str = "anna's secret";
const BOB: &str = "bob@contoso.example";
const BOBS: &str = "bob's secret";
const RECEPTION: &str = "reception@contoso.example";
const AS_ANNA: Answer<'static> = Answer::SignIn(ANNA, ANNAS);
const AS_BOB: Answer<'static> = Answer::SignIn(BOB, BOBS);

/// A configuration in a directory of its own, and the Microsoft 365 that it names.
struct World {
    directory: Directory,
    sandbox: Sandbox,
    browser: Browser,
    port: u16,
}

impl World {
    async fn new() -> Self {
        Self::with_clock(Clock::system()).await
    }

    /// Anna and Bob, and a mailbox that Anna may open.
    async fn with_clock(clock: Clock) -> Self {
        let mut reception = SandboxAccount::new(RECEPTION, "nobody signs in with it");
        reception.delegates.push(ANNA.into());
        let config = SandboxConfig {
            accounts: vec![SandboxAccount::new(ANNA, ANNAS), SandboxAccount::new(BOB, BOBS), reception],
            device_code_interval: Duration::from_secs(1),
            clock,
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        let directory = Directory::new();
        let port = free_port();
        directory.write("ca.pem", sandbox.ca_pem());
        let yaml = format!(
            "listeners:\n  imap: {{bind: '127.0.0.1:{port}', upstream: 'localhost:{}'}}\n\
             microsoft:\n  authority: {}\n  tenant: {}\n  client_id: {}\n  grant: authorization_code\n\
             accounts:\n  - {{login: {ANNA}, aliases: [anna]}}\n  - {{login: {BOB}, grant: device_code}}\n  \
             - {{login: {RECEPTION}, signs_in_as: {ANNA}}}\n  - {{login: old@contoso.example, grant: password}}\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             limits: {{failure_delay: 0s}}\n",
            sandbox.imap().port(),
            sandbox.authority(),
            sandbox.tenant_id(),
            sandbox.public_client_id(),
        );
        directory.write("proxy.yaml", yaml);
        let browser = Browser::new(&sandbox);
        Self { directory, sandbox, browser, port }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        Running::start(command)
    }

    /// Exit code and what was written.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut running = self.start(arguments);
        running.input = None;
        running.end()
    }

    fn serve(&self) -> Service {
        self.serve_at(self.port)
    }

    fn serve_at(&self, port: u16) -> Service {
        let log = std::fs::File::create(self.directory.file("log")).unwrap();
        let mut command = self.command(&["--set", &format!("listeners.imap.bind=127.0.0.1:{port}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Service::listening(child, port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.file("log")).unwrap()
    }

    /// The reply to an IMAP login, after the tag.
    fn log_in(&self, user: &str, password: &str) -> String {
        log_in(self.port, user, password).1
    }

    /// Signs Anna in, in the browser of this machine; all that was written.
    async fn sign_anna_in(&self, arguments: &[&str]) -> (i32, String) {
        let mut running = self.start(arguments);
        let redirect = self.browser.answer(&running.address(), AS_ANNA).await.unwrap();
        self.browser.get(redirect.as_str()).await;
        running.end()
    }

    fn refreshes(&self, user: &str) -> Attempts {
        self.sandbox.counters().token_requests_of("refresh_token", user)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_on_this_machine_while_the_service_runs() {
    let world = World::new().await;
    let _service = world.serve();
    // Nobody has signed in: neither a wrong password nor a prompt, before and after there is a
    // password.
    let made = world.run(&["password", "add", ANNA, "--name", "Laptop"]);
    let laptops = shown(&made.1);
    let refused = world.log_in(ANNA, &laptops);
    assert!(refused.starts_with("NO [CONTACTADMIN] "), "{refused}");
    assert!(world.log().contains(&format!("run `gatepost login {ANNA}`")), "{}", world.log());
    assert!(world.log_in(ANNA, "wrong").starts_with("NO [AUTHENTICATIONFAILED] "));
    assert_eq!(world.sandbox.counters().token_requests.len(), 0);

    let mut running = world.start(&["login", "Anna"]);
    let address = running.address();
    let asked: Vec<(String, String)> = Url::parse(&address).unwrap().query_pairs().into_owned().collect();
    let scope = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid profile";
    assert!(asked.contains(&("scope".into(), scope.into())), "as little as an IMAP listener needs: {asked:?}");
    assert!(asked.contains(&("login_hint".into(), ANNA.into())));
    let redirect = world.browser.answer(&address, AS_ANNA).await.unwrap();
    // A stranger's redirect changes nothing.
    let mut forged = redirect.clone();
    forged.set_query(Some("code=mine&state=guessed"));
    assert!(world.browser.get(forged.as_str()).await.contains("does not belong to the sign-in"));
    assert!(world.browser.get(redirect.as_str()).await.contains("You may close this window"));
    let (code, text) = running.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("`{ANNA}` signed in for `{ANNA}`")), "{text}");
    assert!(text.contains("Its device passwords stay valid"), "{text}");
    let port = redirect.port().unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "the listener is closed");

    assert!(world.log_in(ANNA, &laptops).starts_with("OK "), "{}", world.log());
    assert!(world.log_in("anna", &laptops).starts_with("OK "));
    assert_eq!(world.refreshes(ANNA), Attempts { succeeded: 1, refused: 0 });
    let (code, text) = world.run(&["password", "list", ANNA]);
    assert!(code == 0 && text.contains("Laptop") && !text.contains("first"), "{text}");

    // The service's log has what was done beside it.
    let has = |done: &str| {
        let log = world.log();
        let line = log.lines().find(|line| line.contains(&format!("done={done}")));
        assert!(
            line.is_some_and(|line| line.contains(ANNA) && line.contains("by=\"command-line (uid ")),
            "{done}: {log}"
        );
    };
    has("password-made");
    has("signed-in");
    let (code, text) = world.run(&["logout", ANNA, "--yes"]);
    assert!(code == 0 && text.starts_with(&format!("Removed the sign-in of `{ANNA}` for `{ANNA}`. ")), "{text}");
    has("signed-out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_elsewhere_and_a_shared_mailbox() {
    let world = World::new().await;
    let mut running = world.start(&["login", RECEPTION, "--paste"]);
    let address = running.address();
    assert!(address.contains("redirect_uri=http%3A%2F%2Flocalhost&"), "{address}");
    assert!(running.said.contains(&format!("To sign in as {ANNA}, for {RECEPTION}, open")), "{}", running.said);
    let redirect = world.browser.answer(&address, AS_ANNA).await.unwrap();
    running.type_in("what is this?");
    running.line("That is not the address: it holds neither `code=` nor `error=`.");
    running.type_in(&redirect.as_str().replace("state=", "state=x"));
    running.line("That is not the address: it belongs to another sign-in.");
    running.type_in(redirect.as_str());
    let (code, text) = running.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("`{ANNA}` signed in for `{RECEPTION}`")), "{text}");
    assert!(text.contains(&format!("Created device password \"first\" for {RECEPTION} (ID ")), "{text}");
    assert!(text.contains(&format!("  IMAP        127.0.0.1, port {}, no encryption", world.port)), "{text}");

    let _service = world.serve();
    let reply = world.log_in(RECEPTION, &shown(&text));
    assert!(reply.starts_with("OK "), "{reply}\n{}", world.log());
    let logins = world.sandbox.counters().logins_of(gatepost_sandbox::Service::Imap, RECEPTION);
    assert_eq!(logins.succeeded, 1, "the mailbox, with her token");
    assert_eq!(world.refreshes(ANNA).succeeded, 1);

    // The same address is worth nothing a second time.
    let mut running = world.start(&["login", RECEPTION, "--paste"]);
    running.address();
    running.type_in(redirect.as_str());
    running.input = None;
    let (code, text) = running.end();
    assert_eq!(code, 1);
    assert!(text.contains("belongs to another sign-in") && text.contains("Nothing was saved"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_code() {
    let world = World::new().await;
    // The default of the account's grant; Anna's is asked for.
    for arguments in [&["login", BOB][..], &["login", ANNA, "--device-code"]] {
        let answer = if arguments.len() == 2 { AS_BOB } else { AS_ANNA };
        let mut running = world.start(arguments);
        let (address, user_code) = (running.address(), running.line("  code  "));
        wait_until("it polls", || {
            world.sandbox.counters().token_requests_of("device_code", world.sandbox.public_client_id()).refused > 0
        });
        assert!(world.browser.enter(&address, &user_code, answer).await.contains("You have signed in"));
        let (code, text) = running.end();
        assert_eq!(code, 0, "{text}");
        assert_eq!(shown(&text).len(), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impatient_poller_slows_down() {
    let world = World::with_clock(Clock::manual()).await;
    let mut running = world.start(&["login", BOB]);
    let (address, user_code) = (running.address(), running.line("  code  "));
    let polls = || world.sandbox.counters().token_requests_of("device_code", world.sandbox.public_client_id());
    // The sandbox's clock stands still, so the second poll comes too early for it.
    wait_until("it has polled twice", || polls().refused == 2);
    let slowed_at = Instant::now();
    world.browser.enter(&address, &user_code, AS_BOB).await;
    world.sandbox.advance(Duration::from_secs(6));
    let (code, text) = running.end();
    assert_eq!(code, 0, "{text}");
    assert!(slowed_at.elapsed() >= Duration::from_millis(5_900), "{:?}", slowed_at.elapsed());
    assert_eq!(polls(), Attempts { succeeded: 1, refused: 2 });
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_stores_nothing_and_is_told() {
    let world = World::with_clock(Clock::manual()).await;
    let nobody = format!("gatepost: nobody has signed in for `{ANNA}`\n");
    let stored_nothing = || assert_eq!(world.run(&["logout", ANNA, "--yes"]), (1, nobody.clone()));

    // Another person.
    let mut running = world.start(&["login", ANNA]);
    let redirect = world.browser.answer(&running.address(), AS_BOB).await.unwrap();
    world.browser.get(redirect.as_str()).await;
    let (code, text) = running.end();
    assert_eq!(code, 1);
    let told = format!("gatepost: nothing was saved: `{BOB}` signed in, but `{ANNA}` needs `{ANNA}`");
    assert!(text.contains(&told), "{text}");
    stored_nothing();

    // Consent denied, in the browser and on the device.
    let mut running = world.start(&["login", ANNA]);
    let redirect = world.browser.answer(&running.address(), Answer::Decline).await.unwrap();
    world.browser.get(redirect.as_str()).await;
    let (code, text) = running.end();
    assert_eq!(code, 1);
    assert!(
        text.contains("nothing was saved: Entra refused the sign-in with `AADSTS65004`: the user declined consent"),
        "{text}"
    );
    let mut running = world.start(&["login", ANNA, "--device-code"]);
    let (address, user_code) = (running.address(), running.line("  code  "));
    world.browser.enter(&address, &user_code, Answer::Decline).await;
    let (code, text) = running.end();
    assert!(code == 1 && text.contains("nothing was saved: the sign-in was declined"), "{text}");

    // An application that the tenant does not have.
    let other = "11111111-2222-3333-4444-555555555555";
    let (code, text) = world.run(&["login", ANNA, "--device-code", "--set", &format!("microsoft.client_id={other}")]);
    assert!(code == 1 && text.contains(&format!("application `{other}` does not exist in tenant `")), "{text}");

    // A code that somebody else has redeemed.
    let mut running = world.start(&["login", ANNA, "--paste"]);
    let redirect = world.browser.answer(&running.address(), AS_ANNA).await.unwrap();
    let used = redirect.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let state = redirect.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    running.type_in(&format!("http://localhost/?code={}&state={state}", &used[..used.len() - 1]));
    let (code, text) = running.end();
    assert!(code == 1 && text.contains("nothing was saved: Entra refused the sign-in with `AADSTS70008`"), "{text}");

    // A device code that has expired.
    let mut running = world.start(&["login", ANNA, "--device-code"]);
    running.line("  code  ");
    world.sandbox.advance(Duration::from_secs(900));
    let (code, text) = running.end();
    assert!(code == 1 && text.contains("nothing was saved: nobody signed in before the time was over"), "{text}");
    stored_nothing();

    // Accounts for which nobody signs in.
    for (login, complaint) in
        [("old@contoso.example", "has `grant: password`"), ("nobody@contoso.example", "no entry of `accounts` matches")]
    {
        let (code, text) = world.run(&["login", login]);
        assert!(code == 1 && text.contains(complaint), "{text}");
    }
    assert_eq!(world.run(&["login", ANNA, "--paste", "--device-code"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_person_of_the_same_name_needs_a_word() {
    let world = World::new().await;
    assert_eq!(world.sign_anna_in(&["login", ANNA]).await.0, 0);
    assert_eq!(world.sign_anna_in(&["login", ANNA]).await.0, 0, "the same person again");
    // In the store it is somebody else's.
    let outside = world.directory.file("proxy.yaml");
    let config = gatepost_config::load::load(Some(&outside), &[], []).unwrap();
    let store = gatepost_store::open(&config.state).await.unwrap();
    let (key, mut record) = store.sign_ins().await.unwrap().pop().unwrap();
    assert_eq!((record.object_id.as_str(), record.username.as_str()), (world.sandbox.object_id(ANNA).as_str(), ANNA));
    record.object_id = "11111111-2222-3333-4444-555555555555".into();
    store.put_sign_in(&key, &record, None).await.unwrap();
    let (code, text) = world.sign_anna_in(&["login", ANNA]).await;
    assert!(code == 1 && text.contains("the name has passed to another user"), "{text}");
    assert_eq!(store.sign_in(&key).await.unwrap().unwrap().0.object_id, record.object_id);
    let (code, text) = world.sign_anna_in(&["login", ANNA, "--replace"]).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(store.sign_in(&key).await.unwrap().unwrap().0.object_id, world.sandbox.object_id(ANNA));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_ended_is_begun_anew_and_one_that_is_forgotten_is_gone() {
    let world = World::new().await;
    let (_, text) = world.sign_anna_in(&["login", ANNA]).await;
    let password = shown(&text);
    world.sandbox.end_sign_ins(ANNA, 50173);
    let service = world.serve();
    for _ in 0..3 {
        let reply = world.log_in(ANNA, &password);
        assert!(reply.starts_with("NO [CONTACTADMIN] "), "{reply}");
    }
    assert_eq!(world.refreshes(ANNA), Attempts { succeeded: 0, refused: 1 });
    assert!(world.log().contains("`AADSTS50173`"), "{}", world.log());
    // Known to a service that starts anew, too.
    drop(service);
    let service = world.serve();
    assert!(world.log_in(ANNA, &password).starts_with("NO [CONTACTADMIN] "));
    assert_eq!(world.refreshes(ANNA).refused, 1);
    assert_eq!(world.sign_anna_in(&["login", ANNA]).await.0, 0);
    let reply = world.log_in(ANNA, &password);
    assert!(reply.starts_with("OK "), "{reply}\n{}", world.log());

    let (code, text) = world.run(&["logout", ANNA]);
    assert!(code == 1 && text.contains("To confirm, add `--yes`"), "{text}");
    let (code, text) = world.run(&["logout", "anna", "--yes"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Revoke sessions") && text.contains("still has 1 device password"), "{text}");
    drop(service);
    let _service = world.serve();
    assert!(world.log_in(ANNA, &password).starts_with("NO [CONTACTADMIN] "));
    assert_eq!(world.refreshes(ANNA).succeeded, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_exchange_one_sign_in_in_turn_and_lose_nothing() {
    let world = World::new().await;
    let password = shown(&world.sign_anna_in(&["login", ANNA]).await.1);
    let ports = [world.port, free_port()];
    let _services = ports.map(|port| world.serve_at(port));
    let logins: Vec<_> = (0..40)
        .map(|n| {
            let (port, password) = (ports[n % 2], password.clone());
            std::thread::spawn(move || log_in(port, ANNA, &password).1)
        })
        .collect();
    for login in logins {
        let reply = login.join().unwrap();
        assert!(reply.starts_with("OK "), "{reply}\n{}", world.log());
    }
    assert_eq!(world.refreshes(ANNA), Attempts { succeeded: 2, refused: 0 }, "one each");
    // What they left is the newest, and good.
    let third = free_port();
    let _third = world.serve_at(third);
    assert!(log_in(third, ANNA, &password).1.starts_with("OK "));
    assert_eq!(world.refreshes(ANNA), Attempts { succeeded: 3, refused: 0 });
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_browser_is_opened_and_an_interrupt_closes_everything() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let script = world.directory.file("browser");
    std::fs::write(&script, "#!/bin/sh\nprintf %s \"$1\" > opened.part && mv opened.part opened\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let variables = [("BROWSER", script.to_str().unwrap()), ("PATH", "/usr/bin:/bin")];
    let mut running = world.start_with(&["login", ANNA], &variables);
    let address = running.address();
    let opened = world.directory.file("opened");
    wait_until("the browser is opened", || opened.exists());
    assert_eq!(std::fs::read_to_string(&opened).unwrap(), address);
    let redirect = Url::parse(&address).unwrap();
    let redirect = redirect.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    let listening = SocketAddr::from((Ipv4Addr::LOCALHOST, Url::parse(&redirect).unwrap().port().unwrap()));
    assert!(TcpStream::connect(listening).is_ok());
    rustix::process::kill_process(rustix::process::Pid::from_child(&running.child), rustix::process::Signal::INT)
        .unwrap();
    let (code, text) = running.end();
    assert!(code == 1 && text.ends_with("gatepost: canceled. Nothing was saved\n"), "{text}");
    assert!(TcpStream::connect(listening).is_err());
}
