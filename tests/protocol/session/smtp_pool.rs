//! Programs that keep more SMTP connections to a mailbox than Microsoft bears: those at rest make
//! room for those that wait, and no message is lost.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_sandbox::Service;
use tokio::sync::Mutex;

use crate::session::support::{ALICE, ALICES, BOB, Client, Setup, World, is_accepted};

const FAREWELL: &str = "421 4.3.2 Another session of this mailbox waits, connect again\r\n";

/// A listener that relays, and one that takes messages itself.
const RELAY: &str = "upstream: 'localhost:{smtp}'";
const SUBMISSION: &str = "upstream: 'localhost:{smtp}', legacy: true";

async fn world(listener: &str, limits: &'static str) -> World {
    let listeners = format!("\n  smtp: {{bind: '127.0.0.1:0', {listener}}}");
    let world = Setup { listeners, limits, ..Setup::default() }.start().await;
    world.sandbox.empty(BOB);
    world
}

async fn send(client: &mut Client, text: &str) {
    begin(client).await;
    client.ask(&format!("From: {ALICE}\r\nTo: {BOB}\r\n\r\n{text}\r\n."), "250 ").await;
}

/// Up to the content of a message.
async fn begin(client: &mut Client) {
    client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.ask("DATA", "354 ").await;
}

fn arrived(world: &World) -> Vec<String> {
    let text = |content: &[u8]| String::from_utf8(content.to_vec()).unwrap();
    world.sandbox.messages(BOB, "INBOX").iter().map(|content| text(content)).collect()
}

#[tokio::test]
async fn the_session_at_rest_for_longest_makes_room() {
    let world = world(RELAY, "").await;
    let mut pool = Vec::new();
    for number in 0..3 {
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        send(&mut client, &format!("by {number}")).await;
        pool.push(client);
    }
    // The oldest is used once more, and the second is now at rest for longest.
    send(&mut pool[0], "again").await;
    let mut fourth = world.session(Smtp, ALICE, ALICES).await;
    assert_eq!(pool.remove(1).rest().await, FAREWELL);
    for client in pool.iter_mut().chain([&mut fourth]) {
        send(client, "further").await;
    }
    assert_eq!(arrived(&world).len(), 7);
    world.until("it is told", || world.log.has("cause=yielded")).await;
    assert_eq!(world.log.lines(|line| line.contains("cause=yielded")).len(), 1);
}

#[tokio::test]
async fn a_session_in_the_middle_of_anything_is_not_cut() {
    let world = world(RELAY, "  mailbox_wait: 3s").await;
    let mut pool = Vec::new();
    for _ in 0..3 {
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        send(&mut client, "first").await;
        pool.push(client);
    }
    // Within a message, before its content, and within a command.
    begin(&mut pool[0]).await;
    pool[0].send("Subject: half of it\r\n\r\n").await;
    pool[1].ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    pool[2].send("NO").await;
    world.refuses(Smtp, ALICE, ALICES, Refusal::Limit, "mailbox-occupied").await;
    pool[0].ask("the other half\r\n.", "250 ").await;
    pool[1].ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    pool[1].ask("DATA", "354 ").await;
    pool[1].ask(&format!("From: {ALICE}\r\n\r\nlate\r\n."), "250 ").await;
    pool[2].ask("OP", "250 ").await;
    assert_eq!(arrived(&world).len(), 5);
    assert!(!world.log.has("cause=yielded"));
}

/// Where Gatepost takes messages itself, the connection behind a session is another one. The client
/// does not notice that its place is given away.
#[tokio::test]
async fn a_connection_that_is_spare_makes_room_unnoticed() {
    let world = world(SUBMISSION, "  mailbox_wait: 3s").await;
    let mut pool = Vec::new();
    for number in 0..9 {
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        send(&mut client, &format!("by {number}")).await;
        pool.push(client);
    }
    for client in &mut pool {
        send(client, "again").await;
    }
    // The places are there for messages, and three are under way.
    for client in &mut pool[..3] {
        begin(client).await;
    }
    world.refuses(Smtp, ALICE, ALICES, Refusal::Limit, "mailbox-occupied").await;
    for client in &mut pool[..3] {
        client.ask(&format!("From: {ALICE}\r\n\r\nlast\r\n."), "250 ").await;
    }
    assert_eq!(arrived(&world).len(), 21);
}

/// A pool as nodemailer has it: a connection is opened with a message in hand, which is lost when
/// the login fails, and kept for the next message until it ends.
struct Pool {
    address: SocketAddr,
    queue: Mutex<VecDeque<usize>>,
}

impl Pool {
    /// Sends messages until none is left. The connection stays open, at rest.
    async fn work(self: Arc<Self>) -> Option<Client> {
        let mut connection: Option<Client> = None;
        loop {
            let number = self.queue.lock().await.pop_front();
            let Some(number) = number else { return connection };
            let mut client = match connection.take() {
                Some(client) => client,
                None => {
                    let mut client = Client::connect(self.address, Smtp).await;
                    client.greet().await;
                    let reply = client.log_in(ALICE, ALICES).await;
                    assert!(is_accepted(Smtp, &reply), "message {number} is lost: {reply}");
                    client
                }
            };
            send(&mut client, &format!("number {number}.")).await;
            connection = Some(client);
        }
    }
}

#[tokio::test]
async fn a_pool_of_five_sends_fifty_messages_over_three_places() {
    for listener in [RELAY, SUBMISSION] {
        let world = world(listener, "").await;
        let pool = Arc::new(Pool { address: world.address("smtp"), queue: Mutex::default() });
        pool.queue.lock().await.extend(0..50);
        let workers: Vec<_> = (0..5).map(|_| tokio::spawn(Arc::clone(&pool).work())).collect();
        let mut connections = Vec::new();
        for worker in workers {
            connections.push(worker.await.unwrap());
        }
        let arrived = arrived(&world);
        assert_eq!(arrived.len(), 50);
        for number in 0..50 {
            let text = format!("number {number}.");
            assert_eq!(arrived.iter().filter(|message| message.contains(&text)).count(), 1, "{text}");
        }
        assert!(world.sandbox.counters().submissions_of(Service::Smtp, ALICE).refused == 0);
    }
}
