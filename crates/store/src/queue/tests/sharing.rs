//! Two processes at the same queue, here as two handles with connections and locks of their own.

use std::time::Duration;

use super::world::{World, message, seen};
use crate::queue::{Acted, Outcome, Queue, QueueId, State, follow_key};

async fn accept(queue: &Queue, content: &[u8]) -> QueueId {
    let mut writer = queue.writer(queue.reserve(None).await.unwrap()).await.unwrap();
    writer.write(content).await.unwrap();
    writer.commit(&message()).await.unwrap()
}

#[tokio::test]
async fn one_delivers_at_a_time_and_the_next_looks_after_what_it_left() {
    let world = World::new().await;
    let other = world.other().await.unwrap();
    let id = world.accept(b"content").await.unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert!(other.courier().await.unwrap().is_none());
    assert!(world.queue.courier().await.unwrap().is_none());
    courier.hand_over(seen(&world.queue, id).await, None).await.unwrap();
    // The other one accepts meanwhile, and a person acts there.
    let before = world.queue.revision().await.unwrap();
    let second = accept(&other, b"second").await;
    let after = world.queue.revision().await.unwrap();
    assert_ne!(before, after, "the deliverer learns of it");
    assert_eq!(other.discard(id).await.unwrap(), Acted::Refused(State::Sending));
    assert!(courier.pending(QueueId(0)).await.unwrap().iter().any(|pending| pending.id == second));
    drop(courier);
    let next = other.courier().await.unwrap().unwrap();
    assert_eq!(next.left_behind(), 1);
    assert_eq!(world.states().await, [(1, State::Looking), (2, State::Waiting)]);
    assert!(next.settle(seen(&world.queue, id).await, Outcome::Sent { keep: false, note: None }).await.unwrap());
}

#[tokio::test]
async fn the_next_one_knows_what_left_each_mailbox_in_the_last_minute() {
    let world = World::new().await;
    let begin = world.clock.unix_time();
    let courier = world.queue.courier().await.unwrap().unwrap();
    let hand_over = async |content: &[u8], outcome: Option<Outcome>| {
        let id = world.accept(content).await.unwrap();
        let now = seen(&world.queue, id).await;
        assert!(courier.hand_over(now, None).await.unwrap());
        if let Some(outcome) = outcome {
            assert!(courier.settle(now, outcome).await.unwrap());
        }
    };
    let sent = Some(Outcome::Sent { keep: false, note: None });
    hand_over(b"early", sent.clone()).await;
    world.clock.advance(Duration::from_secs(10));
    hand_over(b"later", sent).await;
    hand_over(b"open", None).await;
    world.clock.advance(Duration::from_secs(55));
    drop(courier);
    let other = world.other().await.unwrap();
    let next = other.courier().await.unwrap().unwrap();
    let of = message().mailbox;
    let second = |seconds| begin.after(Duration::from_secs(seconds));
    let mut left = next.last_minute().to_vec();
    left.sort_by_key(|(_, at)| *at);
    assert_eq!(left, [(of.clone(), second(10)), (of, second(65))], "one that was on its way may have left just now");
}

#[tokio::test]
async fn a_message_that_another_process_receives_is_no_leftover() {
    let world = World::new().await;
    let other = world.other().await.unwrap();
    let mut writer = other.writer(other.reserve(None).await.unwrap()).await.unwrap();
    writer.write(&[7; 100_000]).await.unwrap();
    let orphan = world.queue_directory().join("messages").join("0123456789abcdef0123456789abcdef");
    std::fs::write(&orphan, "left by a crash").unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert!(!orphan.exists());
    courier.sweep().await.unwrap();
    let id = writer.commit(&message()).await.unwrap();
    courier.sweep().await.unwrap();
    assert_eq!(world.content(id).await.unwrap(), [7; 100_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_devices_at_once_lose_nothing_and_share_no_number() {
    let world = World::new().await;
    let other = world.other().await.unwrap();
    let tasks: Vec<_> = (0..50_usize)
        .map(|device| {
            let queue = if device % 2 == 0 { world.queue.clone() } else { other.clone() };
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for turn in 0..4 {
                    ids.push(accept(&queue, format!("{device} {turn}").as_bytes()).await);
                }
                (device, ids)
            })
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    for task in tasks {
        let (device, ids) = task.await.unwrap();
        assert!(ids.is_sorted(), "the order of one device");
        for (turn, id) in ids.into_iter().enumerate() {
            assert!(seen.insert(id));
            assert_eq!(world.content(id).await.unwrap(), format!("{device} {turn}").into_bytes());
        }
    }
    assert_eq!(world.queue.totals().await.unwrap().of(State::Waiting).messages, 200);
}

#[tokio::test]
async fn whoever_delivers_is_woken_by_a_message_and_by_what_a_person_does() {
    let world = World::new().await;
    // Looks once, and does not wait.
    let is_stirred = async || tokio::time::timeout(Duration::ZERO, world.queue.stirred()).await.is_ok();
    assert!(!is_stirred().await);
    let id = world.accept(b"content").await.unwrap();
    assert!(is_stirred().await);
    assert!(!is_stirred().await, "nothing has happened since");
    world.queue.retry(id).await.unwrap();
    assert!(is_stirred().await);
    world.queue.retry_failed().await.unwrap();
    assert!(is_stirred().await);
    world.queue.discard(id).await.unwrap();
    assert!(is_stirred().await);
}

#[tokio::test]
async fn a_directory_without_a_queue_gets_none_from_a_rotation() {
    let world = World::new().await;
    assert!(Queue::exists(&world.queue_directory()));
    let absent = world.directory.path().join("absent");
    assert!(!Queue::exists(&absent));
    follow_key(&absent, &world.key()).unwrap();
    assert!(!absent.exists());
}
