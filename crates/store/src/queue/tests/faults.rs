//! A disk that fails at each step: what is not acknowledged does not stay, and what is stays.

use std::io;

use super::world::{World, message, seen};
use crate::queue::{Acted, Outcome, Point, QueueError, QueueId, State};

const ACCEPTANCE: [Point; 6] =
    [Point::Create, Point::Write, Point::SyncFile, Point::SyncDirectory, Point::Insert, Point::Inserted];

impl World {
    /// Lets these points fail from now on.
    fn fail_at(&self, points: &'static [Point]) {
        let failing =
            |kind: io::ErrorKind| move |point| if points.contains(&point) { Err(kind.into()) } else { Ok(()) };
        self.queue.faults().set(failing(io::ErrorKind::StorageFull));
    }
}

#[tokio::test]
async fn a_disk_that_fails_at_any_step_of_acceptance_leaves_nothing_and_loses_nothing() {
    for point in &ACCEPTANCE {
        let world = World::new().await;
        let kept = world.accept(b"kept").await.unwrap();
        world.fail_at(std::slice::from_ref(point));
        let error = world.accept(&[7; 100_000]).await.unwrap_err();
        let full = matches!(&error, QueueError::Full(why) if why.contains("the disk is full. Make room on it"));
        let failed = matches!(&error, QueueError::Store(why) if why.to_string().contains("the disk failed"));
        assert!(if matches!(point, Point::Insert | Point::Inserted) { failed } else { full }, "{point:?}: {error}");
        assert_eq!(world.states().await, [(kept.0, State::Waiting)], "{point:?}");
        world.has_files(1).await;
        assert_eq!(world.content(kept).await.unwrap(), b"kept");
        // The same as the next process sees it, and its disk is well.
        let other = world.other().await.unwrap();
        assert_eq!(other.totals().await.unwrap().all().messages, 1, "{point:?}");
        world.queue.faults().clear();
        world.accept(b"next").await.unwrap();
        assert_eq!(world.queue.totals().await.unwrap().all().bytes, 8, "{point:?}");
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_taken_back_is_listed_as_failed_and_never_sent() {
    let world = World::new().await;
    world.fail_at(&[Point::Inserted, Point::Withdraw]);
    world.accept(b"content").await.unwrap_err();
    assert!(world.files().is_empty());
    world.queue.faults().clear();
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert!(courier.pending(QueueId(0)).await.unwrap().is_empty());
    let entry = world.all().await.remove(0);
    let note = entry.note.unwrap();
    assert_eq!((entry.state, note.what.as_str()), (State::Failed, "its file is gone"));
    assert_eq!(note.action_by.as_deref(), Some("gatepost-admin"));
}

#[tokio::test]
async fn a_message_that_is_longer_than_the_disk_is_refused_before_it_comes() {
    let world = World::new().await;
    assert_eq!(world.queue.size(), super::world::SIZE);
    let refused = world.queue.reserve(Some(u64::MAX / 2)).await.map(drop).unwrap_err();
    assert!(matches!(&refused, QueueError::Full(why) if !why.contains("disk")), "{refused}");
    world.queue.set_size(u64::MAX);
    assert_eq!(world.queue.size(), u64::MAX);
    let refused = world.queue.reserve(Some(u64::MAX / 2)).await.map(drop).unwrap_err();
    assert!(
        matches!(&refused, QueueError::Full(why) if why.contains("the disk is full. Make room on it")),
        "{refused}"
    );
    // A refused one holds no room.
    world.queue.set_size(super::world::SIZE);
    assert!(world.queue.reserve(Some(super::world::SIZE)).await.is_ok());
}

/// The free space of a directory that is gone cannot be read, so each look fails.
#[cfg(unix)]
#[tokio::test]
async fn a_message_of_unknown_length_looks_at_the_free_space_once_in_a_mebibyte() {
    const MEBIBYTE: usize = 1_024 * 1_024;
    // Parts of a message, of which only the last one looks.
    for parts in [&[MEBIBYTE][..], &[1_000, MEBIBYTE - 1_000], &[MEBIBYTE - 1, 1], &[1_000, 3 * MEBIBYTE]] {
        let world = World::new().await;
        world.queue.set_size(10_000_000);
        let reservation = world.queue.reserve(None).await.unwrap();
        let mut writer = world.queue.writer(reservation).await.unwrap();
        let messages = world.queue_directory().join("messages");
        std::fs::rename(&messages, world.queue_directory().join("moved")).unwrap();
        let (last, others) = parts.split_last().unwrap();
        for part in others {
            writer.write(&vec![7; *part]).await.unwrap();
        }
        let error = writer.write(&vec![7; *last]).await.unwrap_err();
        assert!(matches!(error, QueueError::Damaged(_)), "{parts:?}: {error}");
    }
    let world = World::new().await;
    world.queue.set_size(10_000_000);
    let mut writer = world.writer(&vec![7; MEBIBYTE + 1]).await.unwrap();
    let messages = world.queue_directory().join("messages");
    std::fs::rename(&messages, world.queue_directory().join("moved")).unwrap();
    writer.write(&vec![7; MEBIBYTE - 2]).await.unwrap();
    writer.write(&[7]).await.unwrap_err();
}

#[test]
fn each_fault_of_a_file_says_whether_the_queue_is_full_or_the_message_damaged() {
    let path = std::path::Path::new("messages");
    for (kind, words) in [
        (io::ErrorKind::StorageFull, "the disk is full"),
        (io::ErrorKind::QuotaExceeded, "the disk is full"),
        (io::ErrorKind::FileTooLarge, "takes no file of this length"),
    ] {
        let error = QueueError::of_file(&kind.into(), path);
        assert!(matches!(&error, QueueError::Full(why) if why.contains(words)), "{error}");
    }
    for (kind, words) in [
        (io::ErrorKind::NotFound, "is gone"),
        (io::ErrorKind::InvalidData, "is damaged"),
        (io::ErrorKind::UnexpectedEof, "is damaged"),
    ] {
        let error = QueueError::of_file(&kind.into(), path);
        assert!(matches!(&error, QueueError::Damaged(why) if why.contains(words)), "{error}");
    }
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
        let error = QueueError::of_file(&kind.into(), path).to_string();
        assert!(error.contains("cannot write `messages`") && !error.contains("the disk failed"), "{error}");
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let world = World::new().await;
    let writer = world.writer(&[7; 200_000]).await.unwrap();
    assert_eq!(world.files().len(), 1);
    drop(writer);
    world.has_files(0).await;
    // The room is free again.
    assert!(world.queue.reserve(Some(super::world::SIZE)).await.is_ok());
}

#[tokio::test]
async fn a_commit_that_is_dropped_at_any_moment_is_whole_or_nothing() {
    for polls in 0..12 {
        let world = World::new().await;
        let writer = world.writer(b"content").await.unwrap();
        let message = message();
        let mut commit = Box::pin(writer.commit(&message));
        let mut done = None;
        for _ in 0..polls {
            if let std::task::Poll::Ready(id) = futures_poll(&mut commit).await {
                done = Some(id.unwrap());
                break;
            }
        }
        drop(commit);
        let courier = world.queue.courier().await.unwrap().unwrap();
        let pending = courier.pending(QueueId(0)).await.unwrap();
        assert!(done.is_none() || pending.len() == 1, "{polls}");
        for message in pending {
            assert_eq!(world.content(message.id).await.unwrap(), b"content", "{polls}");
        }
        assert!(world.all().await.iter().all(|entry| entry.state == State::Waiting), "{polls}");
    }
}

/// Polls once, after what runs beside it has had time to end.
async fn futures_poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> std::task::Poll<T> {
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context)));
    let polled = polled.await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    polled
}

#[tokio::test]
async fn a_mark_that_is_not_durable_hands_nothing_over() {
    let world = World::new().await;
    let id = world.accept(b"content").await.unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    world.fail_at(&[Point::HandOver]);
    courier.hand_over(seen(&world.queue, id).await, None).await.unwrap_err();
    assert_eq!(world.states().await, [(1, State::Waiting)]);
    world.queue.faults().clear();
    assert!(courier.hand_over(seen(&world.queue, id).await, None).await.unwrap());
    // An outcome that is not kept leaves the message where nobody sends it again.
    world.fail_at(&[Point::Settle]);
    courier.settle(seen(&world.queue, id).await, Outcome::Sent { keep: false, note: None }).await.unwrap_err();
    assert_eq!(world.states().await, [(1, State::Sending)]);
    assert!(courier.pending(QueueId(0)).await.unwrap().is_empty());
    world.queue.faults().clear();
    drop(courier);
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert_eq!(courier.left_behind(), 1);
    assert_eq!(world.states().await, [(1, State::Looking)]);
    assert_eq!(courier.pending(QueueId(0)).await.unwrap()[0].attempts, 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_is_removed_later() {
    let world = World::new().await;
    let (sent, discarded) = (world.accept(b"sent").await.unwrap(), world.accept(b"discarded").await.unwrap());
    let courier = world.queue.courier().await.unwrap().unwrap();
    world.fail_at(&[Point::Remove]);
    courier.hand_over(seen(&world.queue, sent).await, None).await.unwrap();
    assert!(courier.settle(seen(&world.queue, sent).await, Outcome::Sent { keep: false, note: None }).await.unwrap());
    assert_eq!(world.queue.discard(discarded).await.unwrap(), Acted::Done);
    assert!(world.all().await.is_empty());
    assert_eq!(world.files().len(), 2);
    world.queue.faults().clear();
    courier.sweep().await.unwrap();
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn a_full_database_takes_no_message_and_keeps_the_others() {
    let world = World::new().await;
    let kept = world.accept(b"kept").await.unwrap();
    {
        let held = world.queue.0.database.connection();
        held.as_ref().unwrap().execute_batch("PRAGMA max_page_count = 1").unwrap();
    }
    let mut big = message();
    big.recipients = vec![big.recipients.remove(0); 2_000];
    let writer = world.writer(b"content").await.unwrap();
    let error = writer.commit(&big).await.unwrap_err();
    assert!(error.to_string().contains("the disk is full. Make room on it"), "{error}");
    assert_eq!(world.states().await, [(kept.0, State::Waiting)]);
    assert_eq!(world.files().len(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_looked_for_is_not_taken_for_gone() {
    let world = World::new().await;
    let id = world.accept(b"content").await.unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    std::fs::remove_file(&world.files()[0]).unwrap();
    world.fail_at(&[Point::Find]);
    courier.sweep().await.unwrap();
    assert_eq!(world.states().await, [(id.0, State::Waiting)]);
    world.queue.faults().clear();
    courier.sweep().await.unwrap();
    assert_eq!(world.states().await, [(id.0, State::Failed)]);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_is_told_after_a_minute() {
    let (answer, asked) = std::sync::mpsc::channel::<()>();
    let wait = tokio::spawn(crate::files::in_time(move || asked.recv().map_err(io::Error::other)));
    tokio::task::yield_now().await;
    tokio::time::advance(crate::files::DISK).await;
    let error = wait.await.unwrap().unwrap_err();
    drop(answer);
    let error = QueueError::of_file(&error, std::path::Path::new("messages"));
    assert_eq!(
        error.to_string(),
        "the store does not answer: `messages`: the disk did not answer in 60 s. Look at the disk"
    );
}
