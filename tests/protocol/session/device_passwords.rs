//! Device passwords: what opens a mailbox, from where and for how long, and what ends with them.

use std::sync::Arc;
use std::time::Duration;

use gatepost::app::App;
use gatepost::daemon::StartError;
use gatepost::login::issue::{self, Order};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use gatepost_store::{DevicePasswordId, Store};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::session::support::{self, Client, PROTOCOLS, Setup, World, is_accepted, until};

use MailProtocol::{Imap, Pop3, Smtp};

const SCANNER: &str = "scanner@contoso.example";
const FAX: &str = "fax@contoso.example";

/// Two mailboxes that an application opens, and nothing in the configuration that proves anybody.
fn setup() -> Setup {
    let of_tenant = [SCANNER, FAX].map(|user| SandboxAccount::new(user, "known-to-entra-only")).into();
    Setup {
        accounts: format!("\n  - {{login: {SCANNER}, aliases: [scan7]}}\n  - login: '*@contoso.example'"),
        sandbox: SandboxConfig { accounts: of_tenant, ..SandboxConfig::default() },
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        ..Setup::default()
    }
}

fn order(login: &str, name: &str) -> Order {
    let login = MailAddress::parse(login).unwrap();
    Order { login, name: name.into(), protocols: Vec::new(), from: Vec::new(), expires_at: None }
}

async fn issue(store: &dyn Store, order: Order) -> (DevicePasswordId, String) {
    let (made, password) = issue::generate(store, order, now()).await.unwrap();
    (made.id, password.expose().to_owned())
}

fn now() -> UnixTime {
    Clock::system().unix_time()
}

/// A Gatepost with a password for each of the two.
async fn world() -> (World, [(DevicePasswordId, String); 2]) {
    let setup = setup();
    let scanners = issue(&*setup.store, order(SCANNER, "Scanner, 3rd floor")).await;
    let faxes = issue(&*setup.store, order(FAX, "Fax")).await;
    (setup.start().await, [scanners, faxes])
}

/// The client hears the same for each. The log helps whoever reads it.
#[tokio::test]
async fn a_wrong_device_password_is_told_with_its_account_and_what_may_be_wrong_with_it() {
    let (world, [(id, scanners), _]) = world().await;
    let blank = format!("{scanners} ");
    for protocol in PROTOCOLS {
        let meant =
            format!("device password {id} `Scanner, 3rd floor` of `{SCANNER}` was typed with capitals or blanks");
        for (password, told) in [
            ("wrong", format!("no device password of `{SCANNER}` matches")),
            (&*scanners.to_uppercase(), meant.clone()),
            (&*blank, meant),
        ] {
            let mut client = world.client(protocol).await;
            let message = support::plain(SCANNER, password);
            let reply = match protocol {
                Imap => client.ask(&format!("a AUTHENTICATE PLAIN {message}"), "a ").await,
                Pop3 | Smtp => client.ask(&format!("AUTH PLAIN {message}"), "").await,
            };
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "wrong-password");
            let line =
                format!("login refused: {told}. Device owner: enter the password again (lower case, no spaces). ");
            assert!(world.log.lines(|it| it.contains(line.trim_end())).iter().all(|it| it.contains(" INFO ")));
            assert!(world.log.has(line.trim_end()), "{line}");
        }
    }
}

#[tokio::test]
async fn each_device_has_its_own_password_and_the_log_says_which() {
    let (world, [(id, scanners), (_, faxes)]) = world().await;
    for protocol in PROTOCOLS {
        for name in [SCANNER, "scan7", "SCAN7"] {
            world.session(protocol, name, &scanners).await.works().await;
        }
        world.session(protocol, FAX, &faxes).await.works().await;
        for (user, password) in [(SCANNER, &faxes), (FAX, &scanners), (SCANNER, &scanners.to_uppercase())] {
            world.refuses(protocol, user, password, Refusal::InvalidCredentials, "wrong-password").await;
        }
    }
    assert_eq!(world.sandbox.counters().http_requests, 1);
    let of_scanner = format!("account={SCANNER} device=\"{id} (Scanner, 3rd floor)\" outcome=accepted");
    assert_eq!(world.log.lines(|line| line.contains(&of_scanner)).len(), 9);
    let ended = format!("device=\"{id} (Scanner, 3rd floor)\" outcome=ended");
    world.until("the sessions have ended", || world.log.lines(|line| line.contains(&ended)).len() == 9).await;
    assert!(!world.log.has(&scanners) && !world.log.has(&faxes));
}

#[tokio::test]
async fn a_password_made_while_the_service_runs_works_at_once_and_its_use_is_noted() {
    let (world, _) = world().await;
    for n in 0..5 {
        let (id, password) = issue(&*world.store, order(SCANNER, &n.to_string())).await;
        world.session(Imap, SCANNER, &password).await.works().await;
        let find = async || {
            let all = world.store.device_passwords().await.unwrap();
            all.into_iter().find(|password| password.id == id).unwrap().last_use
        };
        while find().await.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let last_use = find().await.unwrap();
        assert_eq!(last_use.from.to_string(), "127.0.0.1");
        assert!(now().since(last_use.at) < Duration::from_secs(60));
    }
}

#[tokio::test]
async fn revoking_ends_the_sessions_of_that_password_only() {
    let (world, [(id, scanners), (_, faxes)]) = world().await;
    let (_, second) = issue(&*world.store, order(SCANNER, "Another device")).await;
    let (mut revoked, mut others) = (Vec::new(), Vec::new());
    for protocol in PROTOCOLS {
        revoked.push(world.session(protocol, SCANNER, &scanners).await);
        others.push(world.session(protocol, SCANNER, &second).await);
        others.push(world.session(protocol, FAX, &faxes).await);
    }
    world.store.revoke_device_password(&id).await.unwrap();
    let ends = async {
        for client in &mut revoked {
            assert_eq!(client.rest().await, "");
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), ends).await.is_ok(), "within five seconds");
    let cut = format!("device=\"{id} (Scanner, 3rd floor)\" outcome=ended cause=password-revoked");
    until("each is told in the log", || world.log.lines(|line| line.contains(&cut)).len() == 3).await;
    for client in &mut others {
        client.works().await;
    }
    for protocol in PROTOCOLS {
        world.refuses(protocol, SCANNER, &scanners, Refusal::InvalidCredentials, "wrong-password").await;
        world.session(protocol, SCANNER, &second).await.works().await;
    }
}

#[tokio::test]
async fn an_expired_password_ends_like_a_revoked_one() {
    let (world, _) = world().await;
    let expires_at = Some(now().after(Duration::from_secs(3)));
    let (_, password) = issue(&*world.store, Order { expires_at, ..order(SCANNER, "Guest") }).await;
    let mut client = world.session(Imap, SCANNER, &password).await;
    assert_eq!(client.rest().await, "");
    assert!(Some(now()) >= expires_at);
    until("the log says so", || world.log.has("outcome=ended cause=password-expired")).await;
    for protocol in PROTOCOLS {
        world.refuses(protocol, SCANNER, &password, Refusal::InvalidCredentials, "password-expired").await;
    }
}

#[tokio::test]
async fn a_password_for_one_protocol_or_network_is_worth_nothing_elsewhere() {
    let (world, _) = world().await;
    let smtp_only = Order { protocols: vec![Smtp.into()], ..order(SCANNER, "SMTP") };
    let elsewhere = Order { from: vec!["192.168.7.0/24".parse().unwrap()], ..order(SCANNER, "elsewhere") };
    let here = Order { from: vec!["127.0.0.0/8".parse().unwrap()], ..order(SCANNER, "here") };
    let (_, smtp_only) = issue(&*world.store, smtp_only).await;
    let (_, elsewhere) = issue(&*world.store, elsewhere).await;
    let (_, here) = issue(&*world.store, here).await;
    for protocol in PROTOCOLS {
        world.session(protocol, SCANNER, &here).await.works().await;
        let refusal = Refusal::InvalidCredentials;
        world.refuses(protocol, SCANNER, &elsewhere, refusal, "password-for-other-networks").await;
    }
    assert!(is_accepted(Smtp, &world.reply(Smtp, SCANNER, &smtp_only).await));
    for protocol in [Imap, Pop3] {
        let refusal = Refusal::InvalidCredentials;
        world.refuses(protocol, SCANNER, &smtp_only, refusal, "password-for-other-protocols").await;
    }
}

/// Otherwise anybody who reaches the port would own the mailbox.
#[tokio::test]
async fn without_any_password_the_service_does_not_start() {
    for (passwords, open) in [
        (&[][..], &["accounts[0]", "accounts[1]"][..]),
        (&[SCANNER], &["accounts[1]"]),
        (&[FAX], &["accounts[0]"]),
        (&["somebody@elsewhere.example"], &["accounts[0]", "accounts[1]"]),
    ] {
        let setup = setup();
        for login in passwords {
            issue(&*setup.store, order(login, "Device")).await;
        }
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let (config, store) = (setup.config(&sandbox), Arc::clone(&setup.store));
        let Err(StartError::AccountWithoutPassword(problems)) = App::with_store(config, store).await else {
            panic!("{passwords:?}")
        };
        let keys: Vec<&str> = problems.iter().map(|problem| &*problem.key).collect();
        assert_eq!(keys, open, "{passwords:?}");
        assert!(problems.iter().all(|problem| problem.hint.contains("`gatepost password add ")));
    }
}

/// A login with HTTP Basic; the status line, or nothing when the connection is closed at once.
async fn over_http(world: &World, user: &str, password: &str) -> String {
    let credentials = STANDARD.encode(format!("{user}:{password}"));
    let request = format!(
        "GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(world.address("graph")).await.unwrap();
    let mut answer = String::new();
    // Either may find it closed.
    let _sent = stream.write_all(request.as_bytes()).await;
    let _read = stream.read_to_string(&mut answer).await;
    answer.lines().next().unwrap_or_default().to_owned()
}

/// What a refused login is told.
async fn told(world: &World, protocol: Option<MailProtocol>, password: &str) -> String {
    let Some(protocol) = protocol else { return over_http(world, SCANNER, password).await };
    let reply = world.reply(protocol, SCANNER, password).await;
    support::told(&reply).0.to_owned()
}

async fn is_closed(world: &World, protocol: Option<MailProtocol>) -> bool {
    match protocol {
        Some(protocol) => Client::connect(world.address(protocol.name()), protocol).await.line().await.is_none(),
        None => over_http(world, SCANNER, "any").await.is_empty(),
    }
}

#[tokio::test]
async fn a_right_password_outside_its_scope_costs_and_tells_what_a_wrong_one_does() {
    for protocol in [Some(Imap), Some(Pop3), Some(Smtp), None] {
        let setup = Setup {
            listeners: format!(
                "{}\n  graph: {{bind: '127.0.0.1:0', upstream: 'localhost:{{graph}}'}}",
                setup().listeners
            ),
            // They fade while the test runs.
            limits: "  penalty_cap: 1h\n  penalty_wrong_password: 10m\n  penalty_threshold: 15m\n  penalty_no_login: 0s",
            penalise_loopback: true,
            ..setup()
        };
        let elsewhere = |name: &str| Order { from: vec!["192.0.2.0/24".parse().unwrap()], ..order(SCANNER, name) };
        let (_, one) = issue(&*setup.store, elsewhere("one")).await;
        let (_, two) = issue(&*setup.store, elsewhere("two")).await;
        // Without one its entry would be refused at the start.
        issue(&*setup.store, order(FAX, "fax")).await;
        let world = setup.start().await;
        // The same again costs nothing: it is a device that somebody has set up wrongly.
        let outside = told(&world, protocol, &one).await;
        assert!(!outside.is_empty(), "{protocol:?}");
        for _ in 0..5 {
            assert_eq!(told(&world, protocol, &one).await, outside, "{protocol:?}");
        }
        assert!(world.log.has("cause=password-for-other-networks"), "the log says why");
        assert_eq!(told(&world, protocol, &two).await, outside, "{protocol:?}");
        assert!(is_closed(&world, protocol).await, "{protocol:?}: two of them close a source");
    }
}
