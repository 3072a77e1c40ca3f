//! Bounds on connections and on what waits, and that all of it is given back.

use std::time::Duration;

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::EntraMode;

use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, PROTOCOLS, Setup, is_accepted, service};

use MailProtocol::{Imap, Pop3, Smtp};

const FEW: &str = "  connections: 3\n  pre_auth_connections: 2\n  pre_auth_connections_per_source: 2";

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_places_come_back() {
    let world = Setup::limits(FEW).start().await;
    let logged_in = world.session(Imap, ALICE, ALICES).await;
    let waiting = world.client(Pop3).await;
    let mut third = world.client(Smtp).await;
    for protocol in PROTOCOLS {
        let mut refused = Client::connect(world.address(protocol.name()), protocol).await;
        assert_eq!(refused.rest().await, "", "not even a greeting");
    }
    assert!(world.log.has("cause=too-many-connections"));
    // Who is in goes on.
    assert!(is_accepted(Smtp, &third.log_in(ALICE, ALICES).await));
    third.works().await;
    // A place comes back however it was left: after a login, before one, and by a connection that
    // breaks.
    for left in [logged_in, waiting, third] {
        drop(left);
        let mut greeting = None;
        while greeting.is_none() {
            // The end of the one is noticed soon, but not necessarily before the next arrives.
            greeting = Client::connect(world.address("imap"), Imap).await.line().await;
        }
    }
}

#[tokio::test]
async fn who_may_not_connect_hears_nothing() {
    let listeners = "
  imap: {bind: '127.0.0.1:0', upstream: 'localhost:{imap}', allow_from: [192.0.2.0/24]}
  pop3: {bind: '127.0.0.1:0', upstream: 'localhost:{pop3}'}"
        .to_owned();
    let world = Setup { listeners, ..Setup::default() }.start().await;
    assert_eq!(Client::connect(world.address("imap"), Imap).await.rest().await, "");
    assert!(world.log.has("cause=not-allowed"));
    world.session(Pop3, ALICE, ALICES).await.works().await;
}

#[tokio::test]
async fn refusals_beyond_those_that_are_held_back_close() {
    let world = Setup::limits("  delayed_failures: 0").start().await;
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        let said = match protocol {
            Imap => format!("a LOGIN {ALICE} wrong\r\n"),
            Pop3 => format!("USER {ALICE}\r\nPASS wrong\r\n"),
            Smtp => format!("AUTH PLAIN {}\r\n", crate::session::support::plain(ALICE, "wrong")),
        };
        client.send(said).await;
        let rest = client.rest().await;
        assert!(!rest.contains("Invalid"), "{rest}");
        // Nothing else is delayed.
        world.session(protocol, ALICE, ALICES).await.works().await;
    }
}

#[tokio::test]
async fn the_time_that_refusals_take_is_not_the_clients() {
    let world = Setup::limits("  pre_auth: 40s").start().await;
    world.reload(|yaml| yaml.replace("failure_delay: 0s", "failure_delay: 30s")).await.unwrap();
    let mut client = world.client(Imap).await;
    // Time passes while everybody waits.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    for guess in ["one", "another"] {
        let reply = client.log_in(ALICE, guess).await;
        assert!(reply.contains("[AUTHENTICATIONFAILED]"), "{reply}");
    }
    assert!(begin.elapsed() > Duration::from_secs(40));
    assert!(is_accepted(Imap, &client.log_in(ALICE, ALICES).await));
}

#[tokio::test]
async fn token_requests_that_find_no_turn_fail_as_temporary() {
    let world = Setup::limits("  token_requests: 1\n  token_queue: 1").start().await;
    world.sandbox.set_entra_mode(EntraMode::Slow(Duration::from_secs(2)));
    let (mut first, mut second, mut third) =
        (world.client(Imap).await, world.client(Imap).await, world.client(Imap).await);
    first.send(format!("a LOGIN {ALICE} {ALICES}\r\n")).await;
    world.until("the first asks", || world.sandbox.counters().http_requests == 1).await;
    second.send(format!("a LOGIN {BOB} one-in-the-queue\r\n")).await;
    // The one in the queue leaves no trace outside; a noop on the same thread comes after it.
    world.client(Imap).await.ask("n NOOP", "n OK").await;
    world.was_refused(Imap, &third.log_in(BOB, "one-too-many").await, Refusal::Unavailable, "token-queue-full");
    assert!(is_accepted(Imap, &first.hear("a ").await));
    world.was_refused(Imap, &second.hear("a ").await, Refusal::InvalidCredentials, "wrong-password");
}

/// Everybody comes back at once, as after an outage, and no token is at hand: one request serves
/// all.
#[tokio::test]
async fn a_thousand_logins_at_once_cost_one_token_request() {
    const LOGINS: usize = 1_000;
    let patient = "  login: 200s\n  upstream_login: 100s\n  connect: 100s\n  connect_attempt: 60s\n  pre_auth: 300s\n  command: 300s\n  \
                   imap_sessions_per_mailbox: 1000\n  pop3_sessions_per_mailbox: 1000\n  smtp_sessions_per_mailbox: 1000";
    let world = Setup::limits(patient).start().await;
    world.sandbox.set_entra_mode(EntraMode::Slow(Duration::from_secs(2)));
    let addresses = PROTOCOLS.map(|protocol| world.address(protocol.name()));
    let clients: Vec<_> = (0..LOGINS)
        .map(|n| {
            let (protocol, address) = (PROTOCOLS[n % 3], addresses[n % 3]);
            tokio::spawn(async move {
                let mut client = Client::connect(address, protocol).await;
                client.greet().await;
                let reply = client.log_in(ALICE, ALICES).await;
                assert!(is_accepted(protocol, &reply), "{reply}");
                client.works().await;
                client
            })
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.push(client.await.unwrap());
    }
    let counters = world.sandbox.counters();
    assert_eq!(counters.http_requests, 1);
    let logins = PROTOCOLS.map(|protocol| counters.logins_of(service(protocol), ALICE).succeeded);
    assert_eq!(logins.iter().sum::<u64>(), LOGINS as u64);
    drop(all);
    world.until("all have left", || world.sandbox.counters().open_connections.values().all(|open| *open == 0)).await;
}

/// Microsoft bears three SMTP sessions of a mailbox. A fourth waits for one of them to end, and is
/// told the truth when none does; who uses another mailbox or another protocol does not notice.
#[tokio::test]
async fn a_login_waits_for_a_place_of_its_mailbox() {
    for protocol in PROTOCOLS {
        let few = "  imap_sessions_per_mailbox: 3\n  pop3_sessions_per_mailbox: 3\n  mailbox_wait: 500ms";
        let world = Setup::limits(few).start().await;
        let mut inside = Vec::new();
        for _ in 0..3 {
            let mut client = world.session(protocol, ALICE, ALICES).await;
            if protocol == Smtp {
                // One at rest would make room.
                client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
            }
            inside.push(client);
        }
        let before = world.upstream_connections();
        world.refuses(protocol, ALICE, ALICES, Refusal::Limit, "mailbox-occupied").await;
        assert_eq!(world.upstream_connections(), before, "the upstream is not asked");
        world.session(protocol, BOB, BOBS).await.works().await;
        for other in PROTOCOLS.iter().filter(|other| **other != protocol) {
            world.session(*other, ALICE, ALICES).await.works().await;
        }
        // Whoever proves nothing waits for nothing.
        world.refuses(protocol, ALICE, "wrong", Refusal::InvalidCredentials, "wrong-password").await;
        for client in &mut inside {
            client.works().await;
        }
    }
}

#[tokio::test]
async fn a_place_passes_on_when_its_session_ends() {
    let world = Setup::limits("  smtp_sessions_per_mailbox: 1").start().await;
    let mut holder = world.session(Smtp, ALICE, ALICES).await;
    for _ in 0..5 {
        holder.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
        let mut next = world.client(Smtp).await;
        let before = world.upstream_connections();
        next.send(format!("AUTH PLAIN {}\r\n", crate::session::support::plain(ALICE, ALICES))).await;
        // It has asked before the one inside says anything more.
        world.client(Imap).await.ask("n NOOP", "n OK").await;
        holder.works().await;
        assert_eq!(world.upstream_connections(), before);
        drop(holder);
        assert!(is_accepted(Smtp, &next.hear("").await));
        next.works().await;
        holder = next;
    }
}

/// A dozen devices send at once from one mailbox: all get through, and Microsoft never sees more
/// than three of them.
#[tokio::test]
async fn many_devices_share_the_three_places() {
    let world = Setup::default().start().await;
    let address = world.address("smtp");
    let devices: Vec<_> = (0..12)
        .map(|_| {
            tokio::spawn(async move {
                let mut device = Client::connect(address, Smtp).await;
                device.greet().await;
                let reply = device.log_in(ALICE, ALICES).await;
                assert!(is_accepted(Smtp, &reply), "{reply}");
                for _ in 0..5 {
                    device.works().await;
                }
                device.ask("QUIT", "221 ").await;
            })
        })
        .collect();
    let mut most = 0;
    while !devices.iter().all(tokio::task::JoinHandle::is_finished) {
        let open = world.sandbox.counters().open_connections.get(&service(Smtp)).copied().unwrap_or(0);
        most = most.max(open);
        tokio::task::yield_now().await;
    }
    for device in devices {
        device.await.unwrap();
    }
    assert_eq!(most, 3);
}

/// More connections than the pace allows wait for their turn, and all come through.
#[tokio::test]
async fn connections_to_the_upstream_are_paced() {
    let world = Setup::limits("  upstream_connects_per_second: 20").start().await;
    let start = std::time::Instant::now();
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(world.session(Imap, ALICE, ALICES).await);
    }
    // Two at once from those saved, and then one each 50 ms.
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
}
