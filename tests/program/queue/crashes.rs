//! A service that is killed at random, in front of a Graph that fails at random: each message is
//! delivered exactly once, or is named as unknown.

use std::time::{Duration, Instant};

use gatepost_sandbox::{Chaos, EntraMode, HttpFault, Service};

use super::devices::{self, Attempt, Connection, Told};
use super::oracle::judge;
use super::world::{Queued, Way};
use crate::common::wait::until;

/// How much of everything.
#[derive(Clone, Copy)]
struct Storm {
    seed: u64,
    devices: u8,
    messages: usize,
    kills: usize,
    way: Way,
}

/// Random numbers for the times of the kills (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// Sends everything while the service is killed over and over, and waits until nothing of it is to
/// be sent.
async fn weather(storm: Storm) {
    let Storm { seed, devices, messages, kills, way } = storm;
    let queued = Queued::new(devices, way, "  messages_per_minute: 10000").await;
    let sandbox = &queued.world.sandbox;
    let service = if way == Way::Graph { Service::Graph } else { Service::Smtp };
    let begin = Instant::now();
    sandbox.set_chaos(service, Some(Chaos { seed, percent: 15, slow: Duration::from_millis(500) }));
    let mut random = Random(seed.max(1));
    let each = messages.div_ceil(usize::from(devices));
    let mut program = queued.start();
    let mut senders = tokio::task::JoinSet::new();
    for device in 1..=devices {
        senders.spawn(devices::send_all(device, queued.listener, each));
    }
    for _ in 0..kills {
        let life = Duration::from_millis(random.below(1_500));
        sandbox.set_entra_mode(if random.below(5) == 0 { EntraMode::ServerError } else { EntraMode::Normal });
        tokio::time::sleep(life).await;
        program.kill();
        program = queued.start();
    }
    sandbox.set_entra_mode(EntraMode::Normal);
    let killed = begin.elapsed();
    let mut attempts: Vec<Attempt> = Vec::new();
    while let Some(sent) = senders.join_next().await {
        attempts.extend(sent.unwrap());
    }
    let accepted = begin.elapsed();
    let deadline = Instant::now() + Duration::from_secs(2 * 3_600);
    // What was sent with an unclear end is found or given up within an hour and a half.
    let awaited: &[&str] =
        if amount("LOOKS", 0) > 0 { &["waiting", "sending", "looking"] } else { &["waiting", "sending"] };
    loop {
        let moving = queued.list_of(awaited).len();
        if moving == 0 {
            break;
        }
        // The last ones would wait for long after each failure, and prove nothing more.
        if moving * 10 < messages {
            sandbox.set_chaos(service, None);
        }
        assert!(Instant::now() < deadline, "{moving} messages still wait");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    program.kill();
    let fates = judge(&attempts, &queued.list(), &sandbox.deliveries());
    let fates =
        fates.unwrap_or_else(|wrong| panic!("{} of {} attempts:\n{}", wrong.len(), attempts.len(), wrong.join("\n")));
    println!(
        "figure: seed {seed}, {way:?}: {} messages, {} attempts, {kills} kills within {killed:?}; all accepted after {accepted:?}, \
         none waits after {:?}\n{fates:?}\n{:?}",
        each * usize::from(devices),
        attempts.len(),
        begin.elapsed(),
        sandbox.counters().calls.iter().fold(std::collections::BTreeMap::new(), |mut sum, ((_, _, call), count)| {
            *sum.entry(call.clone()).or_insert(0) += count;
            sum
        }),
    );
    let accepted = each * usize::from(devices);
    assert_eq!(fates.delivered + fates.undecided(), accepted, "{fates:?}");
    // Only what had an unclear end may be left to a person.
    assert!(fates.delivered * 10 > accepted * 7, "{fates:?}");
}

/// What a crash leaves behind does not fit into one piece of memory of SQLite's, which then wants a
/// temporary file, and confinement lets the service write nowhere but below its own directories.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_from_many_mailboxes_is_looked_for() {
    const DEVICES: u8 = 50;
    let queued = Queued::new(DEVICES, Way::Graph, "  messages_per_minute: 10000").await;
    let sandbox = &queued.world.sandbox;
    sandbox.fail_http(Service::Graph, "/sendMail", HttpFault::HangWhenDone, usize::MAX);
    let mut program = queued.start();
    let recipients: Vec<String> = (0..100).map(|n| format!("recipient{n}@fabrikam.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    for device in 1..=DEVICES {
        let mut connection = Connection::open(device, queued.listener).await.unwrap();
        connection.begin_to(&recipients, device, &format!("<{device}@devices.example>"), 100).await.unwrap();
        assert_eq!(connection.end().await, Told::Accepted);
    }
    until("all are on their way", async || queued.list_of(&["sending"]).len() == usize::from(DEVICES)).await;
    program.kill();
    sandbox.clear_http_faults(Service::Graph);
    let program = queued.start();
    until("all were found", async || queued.list().is_empty()).await;
    drop(program);
}

/// An amount, which `tests/endurance/queue` sets.
fn amount(name: &str, default: usize) -> usize {
    std::env::var(format!("GATEPOST_QUEUE_{name}")).map_or(default, |text| text.parse().unwrap())
}

fn storm(way: Way) -> Storm {
    let seed = amount("SEED", 1).try_into().unwrap();
    Storm { seed, devices: 50, messages: amount("MESSAGES", 300), kills: amount("KILLS", 5), way }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_reaches_graph_once_whatever_is_killed_and_whatever_fails() {
    weather(storm(Way::Graph)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_reaches_exchange_once_whatever_is_killed_and_whatever_fails() {
    weather(storm(Way::Smtp)).await;
}
