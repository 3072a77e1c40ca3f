//! The queue in processes that end at any instant, and on disks that take no more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use gatepost_config::StateKey;
use gatepost_core::clock::Clock;
use gatepost_store::queue::{NewMessage, Outcome, Point, Queue, QueueError, QueueId, Recipient, State};

use crate::store::child::{spawn, spawn_within};
use crate::store::crashes::{kill_after, moment};
use crate::store::support::Directory;

/// The steps at which a process is ended, by the number that it is told.
const POINTS: [Point; 9] = [
    Point::Create,
    Point::Write,
    Point::SyncFile,
    Point::SyncDirectory,
    Point::Insert,
    Point::Inserted,
    Point::HandOver,
    Point::Settle,
    Point::Remove,
];

async fn open(directory: &Path) -> Queue {
    let key = StateKey::File(directory.join("state.key"));
    Queue::open(&directory.join("queue"), 1 << 30, &key, Clock::system()).await.unwrap()
}

fn message(name: &str) -> NewMessage {
    NewMessage {
        listener: "scanners".into(),
        login: "scanner@contoso.example".into(),
        mailbox: "scanner@contoso.example".into(),
        device: "192.0.2.7".into(),
        sender: None,
        body: None,
        smtputf8: false,
        dsn: Vec::new(),
        recipients: vec![Recipient { address: "alice@contoso.example".into(), dsn: Vec::new() }],
        message_id: Some(name.into()),
    }
}

async fn accept(queue: &Queue, name: &str, length: usize) -> Result<QueueId, QueueError> {
    let mut writer = queue.writer(queue.reserve(None).await?).await?;
    for part in name.as_bytes().iter().cycle().take(length).copied().collect::<Vec<u8>>().chunks(8_192) {
        writer.write(part).await?;
    }
    writer.commit(&message(name)).await
}

/// Role: accepts messages for ever, delivers every second one, and says what is done.
pub(crate) async fn work(directory: &Path, number: u32) {
    let queue = open(directory).await;
    let courier = queue.courier().await.unwrap().unwrap();
    println!("\nat work");
    for turn in 0.. {
        let name = format!("{number}-{turn}");
        let id = accept(&queue, &name, 70_000).await.unwrap();
        println!("\naccepted {name}");
        if turn % 2 == 0 {
            assert!(courier.hand_over(queue.show(id).await.unwrap().unwrap().seen(), None).await.unwrap());
            println!("\nhanded {name}");
            assert!(
                courier
                    .settle(queue.show(id).await.unwrap().unwrap().seen(), Outcome::Sent { keep: false, note: None })
                    .await
                    .unwrap()
            );
            println!("\nsent {name}");
        }
    }
}

/// Role: ends without a word at one of [`POINTS`], while it accepts and delivers a second message.
pub(crate) async fn crash(directory: &Path, number: u32) {
    let queue = open(directory).await;
    accept(&queue, "first", 100).await.unwrap();
    let courier = queue.courier().await.unwrap().unwrap();
    let at = POINTS[number as usize];
    queue.faults().set(move |point| if point == at { std::process::abort() } else { Ok::<(), io::Error>(()) });
    let id = accept(&queue, "second", 100).await.unwrap();
    println!("\naccepted");
    courier.hand_over(queue.show(id).await.unwrap().unwrap().seen(), None).await.unwrap();
    println!("\nhanded");
    courier
        .settle(queue.show(id).await.unwrap().unwrap().seen(), Outcome::Sent { keep: false, note: None })
        .await
        .unwrap();
    println!("\nsent");
}

/// Role: accepts messages, each longer than the one before, until that failed three times.
pub(crate) async fn fill(directory: &Path) {
    let queue = open(directory).await;
    let mut failures = 0;
    for turn in 1.. {
        match accept(&queue, &turn.to_string(), turn * 20_000).await {
            Ok(id) => println!("\nkept {id} {turn}"),
            Err(error) => {
                println!("\n{error}");
                failures += 1;
            }
        }
        if failures == 3 {
            return println!("\nended");
        }
    }
}

/// Role: accepts messages of 10 MB, and says how many KiB of memory that took.
#[cfg(target_os = "linux")]
pub(crate) async fn weigh(directory: &Path) {
    let queue = open(directory).await;
    let resident = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let part = [7; 8_192];
    let mut before = 0;
    for turn in 0..9 {
        let mut writer = queue.writer(queue.reserve(None).await.unwrap()).await.unwrap();
        for _ in 0..1_280 {
            writer.write(&part).await.unwrap();
        }
        writer.commit(&message("heavy")).await.unwrap();
        if turn == 0 {
            before = resident();
        }
    }
    let courier = queue.courier().await.unwrap().unwrap();
    assert_eq!(courier.pending(QueueId(0)).await.unwrap().len(), 9);
    println!("\ngrew {}", resident().saturating_sub(before));
}

/// The names of the messages, by their state.
async fn names(queue: &Queue) -> HashMap<String, State> {
    let entries = queue.list(&State::ALL, QueueId(0), usize::MAX).await.unwrap();
    entries.into_iter().map(|entry| (entry.message.unwrap().message_id.unwrap(), entry.state)).collect()
}

#[tokio::test]
async fn a_process_that_ends_at_any_step_loses_and_repeats_nothing() {
    for (number, point) in POINTS.into_iter().enumerate() {
        let directory = Directory::new();
        let child = spawn("queue-crash", directory.path(), number as u32);
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!output.status.success(), "{point:?}: {said}");
        let queue = open(directory.path()).await;
        let courier = queue.courier().await.unwrap().unwrap();
        let found = names(&queue).await;
        assert_eq!(found.get("first"), Some(&State::Waiting), "{point:?}");
        let second = found.get("second").copied();
        let expected = match point {
            Point::Inserted | Point::HandOver => Some(State::Waiting),
            Point::Settle => Some(State::Looking),
            _ => None,
        };
        assert_eq!(second, expected, "{point:?}");
        let accepted = said.contains("\naccepted\n");
        assert!(!accepted || second.is_some() || point == Point::Remove, "{point:?}: {said}");
        assert_eq!(courier.left_behind(), usize::from(second == Some(State::Looking)), "{point:?}");
        let files = fs::read_dir(directory.file("queue/messages")).unwrap().count();
        assert_eq!(files, found.len(), "{point:?}: a leftover stays, or a file is gone");
        for pending in courier.pending(QueueId(0)).await.unwrap() {
            assert_eq!(queue.read(pending.id).await.unwrap().unwrap().length(), 100);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes most of a minute; tests/run does it"]
async fn three_hundred_kills_lose_no_message_and_repeat_none() {
    let directory = Directory::new();
    let (mut waiting, mut done, mut handed_over) = (HashSet::new(), HashSet::new(), 0);
    // A busy machine may need more time for each, and more of them.
    for round in 0..3_000_u32 {
        if round >= 300 && done.len() > 100 && handed_over > 5 {
            return;
        }
        let wait = moment(round, Duration::from_millis(120 + u64::from(round) / 4));
        let said = kill_after(spawn("queue-work", directory.path(), round), true, wait);
        let mut handed = HashSet::new();
        for (act, name) in said.lines().filter_map(|line| line.split_once(' ')) {
            match act {
                "accepted" => drop(waiting.insert(name.to_owned())),
                "handed" => drop(handed.insert(name.to_owned())),
                "sent" => {
                    waiting.remove(name);
                    done.insert(name.to_owned());
                }
                _ => {}
            }
        }
        let queue = open(directory.path()).await;
        let courier = queue.courier().await.unwrap().unwrap();
        let found = names(&queue).await;
        for name in &done {
            assert!(!found.contains_key(name), "round {round}: {name} would be sent again");
        }
        for name in &waiting {
            match found.get(name) {
                Some(State::Waiting) => assert!(!handed.contains(name), "round {round}: {name} would be sent again"),
                Some(State::Looking) => handed_over += 1,
                // It was sent, and the word of it did not get out.
                None => assert!(handed.contains(name), "round {round}: {name} is lost"),
                Some(other) => panic!("round {round}: {name} is {other:?}"),
            }
        }
        for pending in courier.pending(QueueId(0)).await.unwrap() {
            assert_eq!(queue.read(pending.id).await.unwrap().unwrap().length(), 70_000, "round {round}");
            assert!(
                courier
                    .settle(
                        queue.show(pending.id).await.unwrap().unwrap().seen(),
                        Outcome::Sent { keep: false, note: None }
                    )
                    .await
                    .unwrap()
            );
        }
        let files = fs::read_dir(directory.file("queue/messages")).unwrap().count();
        assert_eq!(files, 0, "round {round}: leftovers stay");
        waiting.clear();
    }
    panic!("only {} sent, {handed_over} caught on their way", done.len());
}

#[cfg(unix)]
#[tokio::test]
async fn a_disk_that_takes_no_more_keeps_whole_messages_only() {
    let directory = Directory::new();
    open(directory.path()).await;
    let child = spawn_within(600, "queue-fill", directory.path());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("\nended\n"), "{said}");
    let queue = open(directory.path()).await;
    let courier = queue.courier().await.unwrap().unwrap();
    let pending = courier.pending(QueueId(0)).await.unwrap();
    let kept: Vec<(u64, u64)> = said
        .lines()
        .filter_map(|line| line.strip_prefix("kept ")?.split_once(' '))
        .map(|(id, turn)| (id.parse().unwrap(), turn.parse::<u64>().unwrap() * 20_000))
        .collect();
    assert!(kept.len() > 3, "{said}");
    assert!(pending.iter().map(|pending| (pending.id.0, pending.bytes)).eq(kept.iter().copied()), "{said}");
    for (id, length) in &kept {
        assert_eq!(queue.read(QueueId(*id)).await.unwrap().unwrap().length(), *length);
    }
    assert_eq!(fs::read_dir(directory.file("queue/messages")).unwrap().count(), kept.len());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_waiting_message_of_ten_megabytes_holds_no_memory() {
    let directory = Directory::new();
    let child = spawn("queue-weigh", directory.path(), 0);
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let grew: u64 = said.lines().find_map(|line| line.strip_prefix("grew ")).expect(&said).parse().unwrap();
    // Eight more messages of 10 MB wait then.
    assert!(grew < 10_000, "{grew} KiB: as much as a message");
}
