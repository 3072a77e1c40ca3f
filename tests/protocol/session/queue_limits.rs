//! The limits that Exchange has for a mailbox, and what a queue makes of them: nobody is refused,
//! and a mailbox with much to send holds up no other. Time is virtual, so that half an hour passes
//! in seconds.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_sandbox::{Delivery, SandboxAccount, SandboxConfig};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};

use crate::common::directory::Directory;
use crate::session::support::{ALICE, BOB, Client, Setup, World};

const MESSAGES: usize = 1_000;
const TICK: Duration = Duration::from_millis(2);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// What Exchange Online lets a mailbox send in a minute.
const PER_MINUTE: usize = 30;
/// Devices of Alice's mailbox, each with an order of its own.
const DEVICES: u8 = 5;
/// The device of Bob's mailbox.
const OTHER: u8 = 9;

/// Lets time be virtual from now on. It goes on by one tick when nobody has anything to do, and
/// stands still during work on the disk: tokio waits for its blocking tasks. So what takes a second
/// of it has waited for something.
fn begin_virtual_time() {
    tokio::time::pause();
    tokio::spawn(async {
        loop {
            // Octets between two sockets of this thread are on their way for a tick.
            tokio::time::sleep(TICK).await;
        }
    });
}

fn source(device: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, device)
}

async fn world(state: &Directory) -> World {
    let mut listeners =
        "\n  smtp:\n    bind: '127.0.0.1:0'\n    upstream: 'localhost:{smtp}'\n    queue: true\n    trusted_senders:"
            .to_owned();
    for (device, login) in (1..=DEVICES).map(|device| (device, ALICE)).chain([(OTHER, BOB)]) {
        listeners
            .push_str(&format!("\n      - {{from: {}, login: {login}, messages_per_minute: 10000}}", source(device)));
    }
    let of_tenant = [ALICE, BOB].map(|user| SandboxAccount::new(user, "known-to-entra-only")).into();
    let setup = Setup {
        listeners,
        accounts: format!("\n  - {{login: {ALICE}}}\n  - {{login: {BOB}}}"),
        sandbox: SandboxConfig { accounts: of_tenant, ..SandboxConfig::default() },
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        sections: format!("state: {{directory: '{}'}}", state.file("state").display()),
        ..Setup::default()
    };
    setup.start().await
}

/// Sends so many messages from a device, numbered from 0, on one connection.
async fn send(world: &World, device: u8, messages: usize) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source(device), 0).into()).unwrap();
    let socket = socket.connect(world.address("smtp")).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut client = Client::over(socket, Smtp);
    client.greet().await;
    for number in 0..messages {
        client.ask("MAIL FROM:<device@localhost>", "250 ").await;
        client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
        client.ask("DATA", "354 ").await;
        client.ask(&format!("Message-ID: <{number}.{device}@device>\r\n\r\nx\r\n."), "250 2.0.0 Queued as ").await;
    }
}

/// The messages that left a mailbox.
fn of(world: &World, mailbox: &str) -> Vec<Delivery> {
    let deliveries = world.sandbox.deliveries();
    deliveries.into_iter().filter(|delivery| delivery.mailbox == mailbox).collect()
}

/// How long a message of the other mailbox waits.
async fn other_waits(world: &World) -> Duration {
    let before = of(world, BOB).len();
    send(world, OTHER, 1).await;
    let begin = Instant::now();
    until_sent(world, BOB, before + 1, TICK).await;
    begin.elapsed()
}

/// Waits until so many messages of a mailbox have left, and looks so often.
async fn until_sent(world: &World, mailbox: &str, messages: usize, every: Duration) {
    // Nobody waits for so long; it ends a test that hangs.
    let deadline = Instant::now() + Duration::from_secs(24 * 3_600);
    while of(world, mailbox).len() < messages {
        assert!(Instant::now() < deadline, "{} of {messages} have left", of(world, mailbox).len());
        sleep(every).await;
    }
}

#[tokio::test]
async fn a_thousand_messages_leave_at_the_pace_of_exchange_and_hold_up_nobody() {
    let state = Directory::in_memory();
    let world = world(&state).await;
    begin_virtual_time();
    for device in 1..=DEVICES {
        send(&world, device, MESSAGES / usize::from(DEVICES)).await;
    }
    let mut waits = vec![other_waits(&world).await];
    until_sent(&world, ALICE, MESSAGES / 2, SECOND).await;
    waits.push(other_waits(&world).await);
    until_sent(&world, ALICE, MESSAGES, SECOND).await;
    assert!(waits.iter().all(|wait| *wait < SECOND), "another mailbox waits: {waits:?}");

    let sent = of(&world, ALICE);
    assert_eq!(sent.len(), MESSAGES);
    for (at, later) in sent.iter().zip(&sent[PER_MINUTE..]) {
        assert!(later.at - at.at >= MINUTE, "{PER_MINUTE} others between {at:?} and {later:?}");
    }
    let connections = world.sandbox.counters().most_smtp_sessions_of(ALICE);
    assert!((1..=3).contains(&connections), "{connections}");
    // Each device's messages keep their order.
    let mut next: HashMap<String, usize> = HashMap::new();
    for delivery in &sent {
        let (number, device) = delivery.message_id.trim_start_matches('<').split_once('.').unwrap();
        let expected = next.entry(device.to_owned()).or_default();
        assert_eq!(number.parse::<usize>().unwrap(), *expected, "of {device}");
        *expected += 1;
    }
    // The last one waits for as many minutes as there are full ones before it, and not much longer.
    let waited = sent[MESSAGES - 1].at - sent[0].at;
    let demanded = MINUTE * u32::try_from((MESSAGES - 1) / PER_MINUTE).unwrap();
    assert!((demanded..demanded + 2 * MINUTE).contains(&waited), "{waited:?}, and the limits demand {demanded:?}");
    println!("the last of {MESSAGES} waited {waited:?}, the limits demand {demanded:?}, others waited {waits:?}");
}
