//! Another configuration while sessions go on: all of it or nothing, and nobody who is in notices.

use std::fs;
use std::io::ErrorKind;

use gatepost::daemon::phase::NotReloaded;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::Attempts;
use tokio::net::TcpStream;

use crate::common::directory::Directory;
use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, PROTOCOLS, Setup, World};

use MailProtocol::{Imap, Pop3, Smtp};

const BOTH: &str = "\n  - login: alice@contoso.example\n  - login: bob@contoso.example";
const BOB_LINE: &str = "\n  - login: bob@contoso.example";

fn two_accounts() -> Setup {
    Setup { accounts: BOTH.to_owned(), ..Setup::default() }
}

fn token_requests(world: &World, account: &str) -> Attempts {
    world.sandbox.counters().token_requests_of("password", account)
}

#[tokio::test]
async fn an_account_that_is_taken_out_lets_nobody_in_and_leaves_its_sessions_and_the_others_alone() {
    let world = two_accounts().start().await;
    let mut alices = world.session(Imap, ALICE, ALICES).await;
    let mut bobs = world.session(Imap, BOB, BOBS).await;
    let reloaded = world.reload(|yaml| yaml.replace(BOB_LINE, "")).await.unwrap();
    assert_eq!((reloaded.generation, reloaded.changed), (2, vec!["accounts"]));
    world.refuses(Pop3, BOB, BOBS, Refusal::InvalidCredentials, "unknown-account").await;
    world.session(Smtp, ALICE, ALICES).await.works().await;
    alices.works().await;
    bobs.works().await;
    assert_eq!(token_requests(&world, ALICE).succeeded, 1, "Alice's token is still at hand");

    let reloaded = world.reload(|yaml| yaml.replace("accounts:", &format!("accounts:{BOB_LINE}"))).await.unwrap();
    assert_eq!(reloaded.generation, 3);
    world.session(Pop3, BOB, BOBS).await.works().await;
    assert_eq!(token_requests(&world, BOB).succeeded, 2, "Bob's was forgotten");
    world.session(Pop3, ALICE, ALICES).await;
    assert_eq!(token_requests(&world, ALICE).succeeded, 1);
}

#[tokio::test]
async fn an_account_that_has_changed_gets_another_token() {
    let world = two_accounts().start().await;
    for (user, password) in [(ALICE, ALICES), (BOB, BOBS)] {
        world.session(Imap, user, password).await;
    }
    world.reload(|yaml| yaml.replace(BOB_LINE, &format!("{BOB_LINE}\n    token_expiry_margin: 7m"))).await.unwrap();
    for (user, password) in [(ALICE, ALICES), (BOB, BOBS)] {
        world.session(Imap, user, password).await;
    }
    assert_eq!(token_requests(&world, ALICE).succeeded, 1);
    assert_eq!(token_requests(&world, BOB).succeeded, 2);
}

#[tokio::test]
async fn mistakes_change_nothing_and_are_told_all_at_once() {
    let world = two_accounts().start().await;
    let mut session = world.session(Imap, ALICE, ALICES).await;
    let wrong = |yaml: &str| {
        yaml.replace(BOB_LINE, "")
            .replace("failure_delay: 0s", "failure_delay: soon")
            .replace("level: trace", "level: loud")
    };
    let error = world.reload(wrong).await.unwrap_err();
    assert!(matches!(error, NotReloaded::Mistakes(..)), "{error}");
    let text = error.to_string();
    assert!(text.contains("limits.failure_delay") && text.contains("log.level"), "{text}");
    session.works().await;
    world.session(Pop3, BOB, BOBS).await.works().await;
    assert_eq!(world.control.generation(), 1);
    assert_eq!(world.control.last_reload().unwrap().outcome.unwrap_err(), text);
    assert!(world.log.has("reload failed, the former configuration stays active"));

    let reloaded = world.reload(|yaml| yaml.replace("soon", "1ms").replace("loud", "debug")).await.unwrap();
    assert_eq!(reloaded.changed, ["accounts", "limits", "log"]);
}

#[tokio::test]
async fn the_same_configuration_again_is_no_change() {
    let world = World::new().await;
    for _ in 0..3 {
        let reloaded = world.reload(str::to_owned).await.unwrap();
        assert_eq!((reloaded.generation, reloaded.changed.len()), (1, 0));
    }
    // A comment is none either.
    let reloaded = world.reload(|yaml| format!("# a comment\n{yaml}")).await.unwrap();
    assert_eq!(reloaded.changed.len(), 0);
}

#[tokio::test]
async fn listeners_come_go_and_move_and_their_sessions_stay() {
    let free = crate::common::port::free_address();
    let world = World::new().await;
    let mut sessions = Vec::new();
    for protocol in PROTOCOLS {
        sessions.push(world.session(protocol, ALICE, ALICES).await);
    }
    let of = |name: &str| {
        let listeners = world.control.listeners();
        listeners.into_iter().find(|(service, _)| &*service.listener.name == name).map(|(_, address)| address)
    };
    let (imap, pop3) = (of("imap").unwrap(), of("pop3").unwrap());
    // IMAP moves to a port of its own choice and gets another name; POP3 goes; SMTP stays as it is.
    let edit = |yaml: &str| {
        let pop3 = yaml.lines().find(|line| line.starts_with("  pop3:")).unwrap();
        yaml.replace(&format!("{pop3}\n"), "")
            .replace("  imap: {bind: '127.0.0.1:0'", &format!("  mail: {{protocol: imap, bind: '{free}'"))
    };
    assert_eq!(world.reload(edit).await.unwrap().changed, ["listeners"]);
    assert_eq!((of("imap"), of("pop3"), of("mail")), (None, None, Some(free)));
    for gone in [imap, pop3] {
        world
            .until("the socket is closed", || {
                std::net::TcpStream::connect(gone).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            })
            .await;
    }
    let mut moved = Client::connect(free, Imap).await;
    moved.greet().await;
    assert!(moved.log_in(ALICE, ALICES).await.starts_with("a OK"));
    world.session(Smtp, ALICE, ALICES).await.works().await;
    for session in &mut sessions {
        session.works().await;
    }

    // An address that somebody else has: nothing changes.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = world.reload(|yaml| yaml.replace(&free.to_string(), &address.to_string())).await.unwrap_err();
    assert!(matches!(error, NotReloaded::Start(_)), "{error}");
    assert_eq!(of("mail"), Some(free));
    moved.works().await;
    assert!(TcpStream::connect(free).await.is_ok());
}

#[tokio::test]
async fn localhost_is_both_loopback_addresses_and_each_comes_and_goes_alone() {
    let mut setup = Setup::default();
    setup.listeners = setup.listeners.replace("imap: {bind: '127.0.0.1:0'", "imap: {bind: 'localhost:0'");
    let world = setup.start().await;
    let imap = || -> Vec<_> {
        let listeners = world.control.listeners();
        listeners.into_iter().filter(|(service, _)| &*service.listener.name == "imap").map(|(_, at)| at).collect()
    };
    let [v4, v6] = imap().try_into().unwrap();
    assert_eq!((v4.ip().to_string(), v6.ip().to_string()), ("127.0.0.1".to_owned(), "::1".to_owned()));
    assert_eq!(v4.port(), v6.port(), "a client knows one port");
    let mut sessions = Vec::new();
    for address in [v4, v6] {
        let mut client = Client::connect(address, Imap).await;
        client.greet().await;
        assert!(client.log_in(ALICE, ALICES).await.starts_with("a OK"));
        sessions.push(client);
    }
    assert_eq!(world.reload(|yaml| format!("{yaml}\n# the same\n")).await.unwrap().changed.len(), 0);
    assert_eq!(imap(), [v4, v6]);
    let localhost = format!("localhost:{}", v4.port());
    for (before, after, served) in [
        ("localhost:0", v6.to_string(), vec![v6]),
        (&v6.to_string(), localhost.clone(), vec![v4, v6]),
        (&localhost, v4.to_string(), vec![v4]),
    ] {
        world.reload(|yaml| yaml.replace(&format!("bind: '{before}'"), &format!("bind: '{after}'"))).await.unwrap();
        assert_eq!(imap(), served, "{after}");
        for address in [v4, v6] {
            let is_open = || std::net::TcpStream::connect(address).is_ok();
            world.until("exactly these are open", || is_open() == served.contains(&address)).await;
        }
    }
    // Somebody else has one of the two.
    let taken = std::net::TcpListener::bind(v6).unwrap();
    let error = world.reload(|yaml| yaml.replace(&v4.to_string(), &localhost)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("listen on {v6}: ")), "{error}");
    drop(taken);
    for session in &mut sessions {
        session.works().await;
    }
}

#[tokio::test]
async fn whoever_waits_in_the_queue_of_a_listener_that_goes_is_let_in() {
    let world = World::new().await;
    let address = world.address("imap");
    // The runtime has one thread: nothing is accepted while this one does not wait.
    let waiting: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    world
        .reload(|yaml| {
            let imap = yaml.lines().find(|line| line.starts_with("  imap:")).unwrap();
            yaml.replace(&format!("{imap}\n"), "")
        })
        .await
        .unwrap();
    for socket in waiting {
        socket.set_nonblocking(true).unwrap();
        let mut client = Client::over(TcpStream::from_std(socket).unwrap(), Imap);
        client.greet().await;
        assert!(client.log_in(ALICE, ALICES).await.starts_with("a OK"));
    }
}

#[tokio::test]
async fn many_reloads_cost_no_token_and_no_session() {
    let world = two_accounts().start().await;
    let mut sessions = Vec::new();
    for protocol in PROTOCOLS {
        sessions.push(world.session(protocol, ALICE, ALICES).await);
    }
    for round in 0..60 {
        let outcome = match round % 3 {
            // Valid, with everything made anew; wrong; back again.
            0 => {
                world.reload(|yaml| yaml.replace(BOB_LINE, "").replace("failure_delay: 0s", "failure_delay: 1ms")).await
            }
            1 => world.reload(|yaml| format!("{yaml}\nnonsense: 1\n")).await,
            _ => {
                let back = |yaml: &str| {
                    let yaml = yaml.replace("\nnonsense: 1\n", "").replace("failure_delay: 1ms", "failure_delay: 0s");
                    yaml.replace("\n  - login: alice", &format!("{BOB_LINE}\n  - login: alice"))
                };
                world.reload(back).await
            }
        };
        assert_eq!(outcome.is_ok(), round % 3 != 1);
        for session in &mut sessions {
            session.works().await;
        }
        world.session(Imap, ALICE, ALICES).await.works().await;
    }
    assert_eq!(token_requests(&world, ALICE).succeeded, 1);
    assert_eq!(world.control.generation(), 41);
}

#[tokio::test]
async fn a_password_that_was_refused_is_tried_once_more_after_a_reload() {
    let world = two_accounts().start().await;
    world.refuses(Imap, ALICE, "wrong", Refusal::InvalidCredentials, "wrong-password").await;
    world.reload(|yaml| yaml.replace(BOB_LINE, "")).await.unwrap();
    let before = token_requests(&world, ALICE);
    for _ in 0..3 {
        world.reply(Imap, ALICE, "wrong").await;
    }
    assert_eq!(token_requests(&world, ALICE).refused, before.refused + 1);
}

#[tokio::test]
async fn limits_hold_from_the_next_connection_on() {
    let world = World::new().await;
    let mut first = world.session(Imap, ALICE, ALICES).await;
    let limited = |connections: u32| {
        let limits = format!(
            "limits:\n  connections: {connections}\n  pre_auth_connections: 2\n  pre_auth_connections_per_source: 1\n"
        );
        move |yaml: &str| yaml.replace("limits:\n", &limits)
    };
    assert!(world.reload(limited(1)).await.is_err(), "fewer than those before their login: a mistake");
    world.reload(|yaml| yaml.replace("connections: 1\n", "connections: 2\n")).await.unwrap();
    let mut second = world.session(Imap, ALICE, ALICES).await;
    let mut third = Client::connect(world.address("imap"), Imap).await;
    assert_eq!(third.rest().await, "");
    first.works().await;
    second.works().await;
}

#[tokio::test]
async fn the_store_cannot_be_changed() {
    let directory = Directory::new();
    let world = World::new().await;
    let state = format!("state: {{directory: '{}'}}\n", directory.path().display());
    let error = world.reload(|yaml| format!("{yaml}{state}")).await.unwrap_err();
    assert!(matches!(&error, NotReloaded::NeedsRestart(keys) if *keys == ["state"]), "{error}");
    assert!(error.to_string().contains("`state` cannot change while Gatepost runs: restart it"), "{error}");
    world.session(Imap, ALICE, ALICES).await.works().await;
}

#[tokio::test]
async fn a_certificate_is_replaced_and_a_bad_one_leaves_the_old_one_in_place() {
    let directory = Directory::new();
    let files = [directory.file("c.pem"), directory.file("c.key")];
    let write = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&files[0], made.cert.pem()).unwrap();
        fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let old = write();
    let listeners = format!(
        "\n  imap: {{bind: '127.0.0.1:0', upstream: 'localhost:{{imap}}', tls: starttls, certificate: '{}', private_key: '{}'}}",
        files[0].display(),
        files[1].display()
    );
    let world = Setup { listeners, ..Setup::default() }.start().await;
    let secured = async |pem: &str| {
        let mut client = world.client(Imap).await;
        client.ask("a STARTTLS", "a OK").await;
        let mut client = client.start_tls(pem).await;
        assert!(client.log_in(ALICE, ALICES).await.starts_with("a OK"));
        client
    };
    let mut before = secured(&old).await;
    assert_eq!(world.reload(str::to_owned).await.unwrap().changed.len(), 0, "the files are the same");

    fs::write(&files[0], "nothing of the kind").unwrap();
    let error = world.reload(str::to_owned).await.unwrap_err();
    assert!(error.to_string().contains("listeners.imap.certificate"), "{error}");
    secured(&old).await;

    let new = write();
    assert_eq!(world.reload(str::to_owned).await.unwrap().changed, ["certificates"]);
    secured(&new).await;
    before.works().await;
}
