//! Acceptance, delivery and the acts of people, on a disk that works.

use std::fs;
use std::time::Duration;

use rusqlite::{StatementStatus, ToSql};

use super::world::{SIZE, World, message, seen};
use crate::queue::index;
use crate::queue::key::FileName;
use crate::queue::{Acted, Note, Outcome, QueueError, QueueId, Recipient, Refused, State};
use gatepost_core::clock::UnixTime;

fn note(what: &str) -> Note {
    Note {
        at: UnixTime(1_800_000_000),
        cause: Some("throttled".into()),
        code: Some("432 4.3.2".into()),
        what: what.into(),
        action_by: Some("none".into()),
        to_do: None,
    }
}

#[tokio::test]
async fn a_message_is_accepted_delivered_and_gone() {
    let world = World::new().await;
    let content: Vec<u8> = (0..200_000_u32).map(|at| (at % 253) as u8).collect();
    let id = world.accept(&content).await.unwrap();
    assert_eq!(id, QueueId(1));
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert_eq!(courier.left_behind(), 0);
    let pending = courier.pending(QueueId(0)).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].id, pending[0].bytes, pending[0].device.as_str()), (id, 200_000, "192.0.2.7"));
    let entry = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!(entry.message, Some(message()));
    assert_eq!(world.content(id).await.unwrap(), content);
    assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    assert!(!courier.hand_over(seen(&world.queue, id).await, None).await.unwrap(), "it is handed over once");
    assert_eq!(world.states().await, [(1, State::Sending)]);
    assert!(courier.settle(seen(&world.queue, id).await, Outcome::Sent { keep: false, note: None }).await.unwrap());
    assert!(!courier.settle(seen(&world.queue, id).await, Outcome::Sent { keep: false, note: None }).await.unwrap());
    assert!(world.all().await.is_empty() && world.files().is_empty());
    assert_eq!(world.queue.totals().await.unwrap(), Default::default());
    // Its number is not used again.
    assert_eq!(world.accept(b"next").await.unwrap(), QueueId(2));
}

#[tokio::test]
async fn nothing_of_a_message_is_in_the_clear() {
    let world = World::new().await;
    let id = world.accept(b"Subject: a secret offer\r\n").await.unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    let again = Outcome::Again { due: UnixTime(0), note: Some(note("alice has no mailbox")) };
    assert!(courier.settle(seen(&world.queue, id).await, again).await.unwrap());
    let mut seen = 0;
    for directory in [world.queue_directory(), world.queue_directory().join("messages")] {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let raw = fs::read(&path).unwrap();
            for word in ["secret", "alice", "contoso", "192.0.2.7", "scanner"] {
                assert!(!raw.windows(word.len()).any(|window| window == word.as_bytes()), "{word} in {path:?}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} files");
}

#[tokio::test]
async fn an_outcome_that_comes_too_late_changes_nothing() {
    let world = World::new().await;
    let id = world.accept(b"one").await.unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert_eq!(world.queue.discard(id).await.unwrap(), Acted::Done);
    assert!(!courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    assert!(!courier.settle(seen(&world.queue, id).await, Outcome::Failed { note: note("refused") }).await.unwrap());
    assert!(world.files().is_empty());
    // A message that nobody handed over cannot be unknown.
    let id = world.accept(b"two").await.unwrap();
    assert!(!courier.settle(seen(&world.queue, id).await, Outcome::Unknown { note: note("silence") }).await.unwrap());
    assert_eq!(world.queue.discard(QueueId(1)).await.unwrap(), Acted::Missing);
    assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    assert_eq!(world.queue.discard(id).await.unwrap(), Acted::Refused(State::Sending));
    assert_eq!(world.queue.retry(id).await.unwrap(), Acted::Refused(State::Sending));
    assert_eq!(world.states().await, [(2, State::Sending)]);
}

#[tokio::test]
async fn an_outcome_that_is_kept_twice_or_after_an_act_of_a_person_overwrites_nothing() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    let id = world.accept(b"content").await.unwrap();
    let first = seen(&world.queue, id).await;
    let again = Outcome::Again { due: UnixTime(7), note: Some(note("away")) };
    assert!(courier.settle(first, again.clone()).await.unwrap());
    assert!(!courier.settle(first, again).await.unwrap(), "it counts once");
    assert_eq!(world.queue.show(id).await.unwrap().unwrap().attempts, 1);
    assert!(!courier.hand_over(first, None).await.unwrap(), "it was tried since");

    // The first try fails, a person wants another one, and the word of the first comes once more.
    let id = world.accept(b"content").await.unwrap();
    let first = seen(&world.queue, id).await;
    let failed = Outcome::Failed { note: note("refused") };
    assert!(courier.settle(first, failed.clone()).await.unwrap());
    assert_eq!(world.queue.retry(id).await.unwrap(), Acted::Done);
    assert!(!courier.settle(first, failed).await.unwrap());
    assert_eq!(world.queue.show(id).await.unwrap().unwrap().state, State::Waiting);

    // The same for a message that was looked for and found.
    let seen_now = seen(&world.queue, id).await;
    assert!(courier.hand_over(seen_now, None).await.unwrap());
    assert!(courier.settle(seen_now, Outcome::Look { due: UnixTime(7), note: None }).await.unwrap());
    let looked = seen(&world.queue, id).await;
    assert_eq!(world.queue.retry(id).await.unwrap(), Acted::Done);
    assert!(!courier.settle(looked, Outcome::Sent { keep: false, note: None }).await.unwrap());
    assert_eq!(world.states().await, [(1, State::Waiting), (2, State::Waiting)]);
}

#[tokio::test]
async fn an_attempt_that_broke_off_is_looked_for_if_it_may_have_been_handed_over() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    let (waits, handed) = (world.accept(b"1").await.unwrap(), world.accept(b"2").await.unwrap());
    assert!(courier.hand_over(seen(&world.queue, handed).await, None).await.unwrap());
    assert_eq!(courier.break_off(waits, UnixTime(7)).await.unwrap(), Some(State::Waiting));
    assert_eq!(courier.break_off(handed, UnixTime(7)).await.unwrap(), Some(State::Looking));
    let entry = world.queue.show(waits).await.unwrap().unwrap();
    assert_eq!((entry.attempts, entry.due_at), (1, UnixTime(7)));
    world.queue.discard(waits).await.unwrap();
    assert_eq!(courier.break_off(waits, UnixTime(7)).await.unwrap(), None);
}

#[tokio::test]
async fn a_person_lets_failed_and_unknown_messages_be_tried_from_the_beginning() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    for _ in 0..4 {
        world.accept(b"content").await.unwrap();
    }
    let accepted_at = world.clock.unix_time();
    let before = world.queue.revision().await.unwrap();
    assert_eq!(before.accepted, 4);
    for id in [1, 2] {
        courier.settle(seen(&world.queue, QueueId(id)).await, Outcome::Failed { note: note("refused") }).await.unwrap();
    }
    courier.hand_over(seen(&world.queue, QueueId(3)).await, None).await.unwrap();
    courier.settle(seen(&world.queue, QueueId(3)).await, Outcome::Unknown { note: note("silence") }).await.unwrap();
    assert_eq!(world.queue.revision().await.unwrap(), before, "what the courier does is no news to it");
    assert!(courier.pending(QueueId(0)).await.unwrap().iter().map(|pending| pending.id.0).eq([4]));
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(world.queue.retry_failed().await.unwrap(), [QueueId(1), QueueId(2)]);
    assert_eq!(world.queue.retry(QueueId(3)).await.unwrap(), Acted::Done);
    assert_ne!(world.queue.revision().await.unwrap(), before);
    let changed = courier.changed((before.acts, QueueId(u64::MAX))).await.unwrap();
    assert!(changed.iter().map(|pending| (pending.changed, pending.id.0)).eq([(1, 1), (1, 2), (2, 3)]));
    assert!(courier.changed((1, QueueId(1))).await.unwrap().iter().map(|pending| pending.id.0).eq([2, 3]));
    assert_eq!(courier.pending_one(QueueId(3)).await.unwrap().as_ref(), changed.last());
    let pending = courier.pending(QueueId(0)).await.unwrap();
    assert!(pending.iter().map(|pending| pending.id.0).eq([1, 2, 3, 4]));
    let again = &pending[2];
    assert_eq!((again.attempts, again.accepted_at, again.state), (0, accepted_at, State::Waiting));
    assert_eq!(again.retry_from.since(accepted_at), Duration::from_secs(3_600));
    // The note of the last failure stays until there is another one.
    assert_eq!(world.queue.show(QueueId(3)).await.unwrap().unwrap().note, Some(note("silence")));
}

#[tokio::test]
async fn a_page_of_a_long_list_and_the_changes_in_it_cost_no_more_than_those_of_a_short_one() {
    let world = World::new().await;
    world.accept(b"content").await.unwrap();
    let (mut costs, all) = (Vec::new(), [State::Waiting, State::Failed, State::Looking]);
    for (from, to) in [(2, 300), (301, 6_000)] {
        world.sql(&format!(
            "WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
             INSERT INTO messages (id, file, state, since, accepted_at, retry_from, due_at, bytes, attempts, record)
             SELECT i, randomblob(16), iif(i % 2, 'waiting', 'failed'), 0, 0, 0, 0, 0, 0, x'00' FROM n"
        ));
        world.queue.retry(QueueId(1)).await.unwrap();
        let held = world.queue.0.database.connection();
        let connection = held.as_ref().unwrap();
        let steps = |sql: &str, parameters: &[&dyn ToSql]| {
            let mut statement = connection.prepare(sql).unwrap();
            let found = statement.query_map(parameters, |_| Ok(())).unwrap().count();
            (found, statement.get_status(StatementStatus::VmStep))
        };
        let page = steps(&index::list_sql(&all), &[&100, &20]);
        let last = index::acts(connection).unwrap() - 1;
        let changed = steps(index::CHANGED, &[&last.cast_signed(), &i64::MAX, &1_000]);
        assert_eq!((page.0, changed.0), (20, 1));
        costs.push((page.1, changed.1));
    }
    let [short, long] = costs[..] else { panic!("{costs:?}") };
    assert!(long.0 < 2 * short.0 && long.1 < 2 * short.1, "{costs:?}");
}

#[tokio::test]
async fn who_was_refused_is_known_after_a_crash_and_until_the_next_attempt() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    let id = world.accept(b"content").await.unwrap();
    let refused = Refused { recipients: message().recipients, note: note("no such mailbox") };
    assert!(courier.hand_over(seen(&world.queue, id).await, Some(refused.clone())).await.unwrap());
    drop(courier);
    let courier = world.queue.courier().await.unwrap().unwrap();
    let left = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!((left.state, left.refused), (State::Looking, Some(refused)));
    world.queue.retry(id).await.unwrap();
    assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    assert_eq!(world.queue.show(id).await.unwrap().unwrap().refused, None);
}

#[tokio::test]
async fn what_waits_for_a_person_is_known_until_it_is_in_a_report() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    for number in 1..=4 {
        let id = world.accept(b"content").await.unwrap();
        if number < 4 {
            courier.settle(seen(&world.queue, id).await, Outcome::Failed { note: note("refused") }).await.unwrap();
        }
    }
    drop(courier);
    let courier = world.queue.courier().await.unwrap().unwrap();
    let unreported = async |after: u64| -> Vec<u64> {
        courier.unreported(QueueId(after)).await.unwrap().iter().map(|entry| entry.id.0).collect()
    };
    assert_eq!((unreported(0).await, unreported(2).await), (vec![1, 2, 3], vec![3]));
    courier.reported(vec![QueueId(1)]).await.unwrap();
    // A person knows of it already.
    world.queue.retry(QueueId(2)).await.unwrap();
    assert_eq!(unreported(0).await, [3]);
}

#[tokio::test]
async fn a_sent_message_is_kept_as_long_as_wanted() {
    let world = World::new().await;
    let id = world.accept(b"content").await.unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    courier.hand_over(seen(&world.queue, id).await, None).await.unwrap();
    courier.settle(seen(&world.queue, id).await, Outcome::Sent { keep: true, note: None }).await.unwrap();
    let sent_at = world.clock.unix_time();
    assert_eq!(courier.forget_sent(UnixTime(sent_at.0 - 1)).await.unwrap(), 0);
    assert_eq!(world.content(id).await.unwrap(), b"content");
    assert_eq!(world.queue.retry(id).await.unwrap(), Acted::Refused(State::Sent));
    assert_eq!(courier.forget_sent(sent_at).await.unwrap(), 1);
    assert!(world.all().await.is_empty() && world.files().is_empty());
}

#[tokio::test]
async fn totals_count_every_state_and_find_the_oldest() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    let first = world.clock.unix_time();
    world.accept(b"1").await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    world.accept(b"22").await.unwrap();
    world.accept(b"333").await.unwrap();
    let totals = world.queue.totals().await.unwrap();
    assert_eq!((totals.of(State::Waiting).messages, totals.all().bytes, totals.oldest), (3, 6, Some(first)));
    courier.settle(seen(&world.queue, QueueId(1)).await, Outcome::Failed { note: note("refused") }).await.unwrap();
    courier.hand_over(seen(&world.queue, QueueId(2)).await, None).await.unwrap();
    let totals = world.queue.totals().await.unwrap();
    let counts = State::ALL.map(|state| totals.of(state).messages);
    assert_eq!(counts, [1, 1, 0, 1, 0, 0]);
    assert_eq!(totals.oldest, Some(first.after(Duration::from_secs(60))));
}

#[tokio::test]
async fn a_full_queue_takes_no_message_and_a_reservation_holds_its_room() {
    let world = World::new().await;
    let reserved = world.queue.reserve(Some(SIZE - 10)).await.unwrap();
    assert!(matches!(world.queue.reserve(Some(11)).await, Err(QueueError::Full(why)) if why.contains("`queue.size`")));
    // A message of unknown length meets the limit while it comes.
    assert!(matches!(world.accept(b"eleven octets").await, Err(QueueError::Full(_))));
    // Its file is removed outside the async threads.
    let removed = async {
        while !world.files().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), removed).await.unwrap();
    drop(reserved);
    world.accept(b"eleven octets").await.unwrap();
    // Two processes do not know each other's reservations: the index has the last word.
    let other = world.other().await.unwrap();
    let mut writer = other.writer(other.reserve(None).await.unwrap()).await.unwrap();
    writer.write(&vec![7; 900_000]).await.unwrap();
    let big = world.writer(&vec![7; 900_000]).await.unwrap();
    writer.commit(&message()).await.unwrap();
    assert!(matches!(big.commit(&message()).await, Err(QueueError::Full(_))));
    assert_eq!(world.files().len(), 2);
    world.sql("UPDATE totals SET messages = 100000 WHERE state = 'failed'");
    assert!(matches!(world.queue.reserve(None).await, Err(QueueError::Full(why)) if why.contains("100000")));
}

#[tokio::test]
async fn a_message_that_is_looked_for_keeps_the_time_when_it_was_handed_over() {
    let world = World::new().await;
    let id = world.accept(b"content").await.unwrap();
    world.clock.advance(Duration::from_secs(3_600));
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    let handed_over = world.queue.show(id).await.unwrap().unwrap().since;
    world.clock.advance(Duration::from_secs(600));
    drop(courier);
    let courier = world.queue.courier().await.unwrap().unwrap();
    let left = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!((left.state, left.since), (State::Looking, handed_over));
    let due = left.due_at.after(Duration::from_secs(60));
    assert!(courier.settle(seen(&world.queue, id).await, Outcome::Look { due, note: None }).await.unwrap());
    assert_eq!(world.queue.show(id).await.unwrap().unwrap().since, handed_over);
    // The same without a crash.
    let id = world.accept(b"content").await.unwrap();
    assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    let handed_over = world.queue.show(id).await.unwrap().unwrap().since;
    world.clock.advance(Duration::from_secs(300));
    assert!(courier.settle(seen(&world.queue, id).await, Outcome::Look { due, note: None }).await.unwrap());
    assert_eq!(world.queue.show(id).await.unwrap().unwrap().since, handed_over);
}

#[tokio::test]
async fn a_copy_may_be_of_another_message_only_if_that_left_at_the_same_time_with_the_same_id() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    let accept = async |message_id: &str| {
        let mut message = message();
        message.message_id = Some(message_id.into());
        world.writer(b"content").await.unwrap().commit(&message).await.unwrap()
    };
    let send = async |message_id: &str| {
        let id = accept(message_id).await;
        assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
        assert!(courier.settle(seen(&world.queue, id).await, Outcome::Sent { keep: false, note: None }).await.unwrap());
    };
    send("<same@scanner.example>").await;
    world.clock.advance(Duration::from_secs(3_600));
    send("<other@scanner.example>").await;
    let open = accept("<same@scanner.example>").await;
    assert!(courier.hand_over(seen(&world.queue, open).await, None).await.unwrap());
    assert!(!courier.has_double(open).await.unwrap());
    let due = UnixTime(0);
    assert!(courier.settle(seen(&world.queue, open).await, Outcome::Look { due, note: None }).await.unwrap());
    world.clock.advance(Duration::from_secs(3_600));
    send("<other@scanner.example>").await;
    assert!(!courier.has_double(open).await.unwrap());
    send("<same@scanner.example>").await;
    assert!(courier.has_double(open).await.unwrap());
    // The next one is as near to that one, also after a crash.
    let next = accept("<same@scanner.example>").await;
    assert!(courier.hand_over(seen(&world.queue, next).await, None).await.unwrap());
    drop(world.other().await.unwrap());
    assert!(courier.has_double(next).await.unwrap());
}

#[tokio::test]
async fn copies_of_what_was_sent_make_room_for_what_waits() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    let half = usize::try_from(SIZE / 2).unwrap();
    for _ in 0..2 {
        let id = world.accept(&vec![7; half]).await.unwrap();
        assert!(courier.settle(seen(&world.queue, id).await, Outcome::Sent { keep: true, note: None }).await.unwrap());
    }
    assert!(world.queue.reserve(Some(SIZE)).await.is_ok());
    let third = world.accept(&vec![7; half]).await.unwrap();
    // The oldest copy is gone, with its file.
    assert_eq!(world.states().await, [(2, State::Sent), (third.0, State::Waiting)]);
    assert_eq!(world.files().len(), 2);
    assert!(world.accept(&vec![7; half + 1]).await.is_err());
    assert_eq!(world.states().await, [(2, State::Sent), (third.0, State::Waiting)]);
    world.accept(&vec![7; half]).await.unwrap();
    assert!(matches!(world.accept(b"one more").await, Err(QueueError::Full(_))));
}

#[tokio::test]
async fn the_recipients_that_did_not_get_a_message_stay_and_no_others() {
    let world = World::new().await;
    let courier = world.queue.courier().await.unwrap().unwrap();
    let mut message = message();
    message.recipients.push(Recipient { address: "bob@contoso.example".into(), dsn: Vec::new() });
    let id = world.writer(b"content").await.unwrap().commit(&message).await.unwrap();
    assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    let left = vec![message.recipients.remove(1)];
    let part = Outcome::Part { left: left.clone(), note: note("no such recipient") };
    assert!(courier.settle(seen(&world.queue, id).await, part.clone()).await.unwrap());
    let entry = world.queue.show(id).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.message.unwrap().recipients), (State::Failed, left.clone()));
    assert_eq!(world.content(id).await.unwrap(), b"content");
    assert!(!courier.settle(seen(&world.queue, id).await, part).await.unwrap(), "it is over");
    assert_eq!(world.queue.retry(id).await.unwrap(), Acted::Done);
    assert_eq!(courier.pending(QueueId(0)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_with_a_row_is_no_leftover() {
    let world = World::new().await;
    world.accept(b"content").await.unwrap();
    let name = world.files()[0].file_name().unwrap().to_str().unwrap().to_owned();
    let accepted = FileName::parse(&name).unwrap();
    for (file, has_row) in [(accepted, true), (FileName([7; 16]), false)] {
        let found = world.queue.0.work(move |connection| index::has(connection, file)).await.unwrap();
        assert_eq!(found, has_row, "{file}");
    }
}
