//! A disk without room.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use gatepost_sandbox::{Service, UpstreamMode};

use super::devices::{Attempt, Connection, Told, send};
use super::oracle::judge;
use super::world::{Queued, Way};
use crate::common::wait::until;

/// A file system in memory, until it is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={size},mode=0700");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status().unwrap();
        assert!(status.success(), "mount {}", path.display());
        Self(path)
    }

    /// Takes all room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        for block in [64 << 10, 1] {
            let block = vec![b'x'; block];
            let full = std::iter::repeat_with(|| file.write_all(&block)).find_map(Result::err).unwrap();
            assert_eq!(full.kind(), ErrorKind::StorageFull);
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn is_refused(told: &Told) -> bool {
    matches!(told, Told::NotTaken(reply) if reply.starts_with("452 4.3.1 "))
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: run tests/run"]
async fn a_full_file_system_refuses_and_loses_nothing() {
    let queued = Queued::new(1, Way::Graph, "  directory: small/queue\n  messages_per_minute: 10000").await;
    let small = Small::mount(queued.world.path("small"), "32m");
    let room = queued.world.path("small/room");
    fs::write(&room, vec![0; 4 << 20]).unwrap();
    let sandbox = &queued.world.sandbox;
    sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Refuse);
    let mut program = queued.start();
    let mut attempts: Vec<Attempt> = Vec::new();

    // Some room stays free for the index.
    while attempts.last().is_none_or(|attempt| attempt.told == Told::Accepted) {
        let message_id = format!("<{}@devices.example>", attempts.len());
        let told = send(1, queued.listener, &message_id, 500_000).await;
        assert!(told == Told::Accepted || is_refused(&told), "{told:?}");
        attempts.push(Attempt { message_id, told });
    }
    // With a full queue, a device hears that before it sends the message.
    let mut connection = Connection::open(1, queued.listener).await.unwrap();
    let refused = connection.begin(1, "<early@devices.example>", 500_000).await.unwrap_err().to_string();
    assert!(refused.starts_with("452 4.3.1 "), "{refused}");
    drop(connection);
    // Somebody else takes all room while a message is on its way: in the middle of it, and when only
    // its end is missing.
    fs::remove_file(room).unwrap();
    for (before, behind) in [(100_000, 2_000_000), (100_000, 0)] {
        let message_id = format!("<{}@devices.example>", attempts.len());
        let mut connection = Connection::open(1, queued.listener).await.unwrap();
        connection.begin(1, &message_id, before).await.unwrap();
        let filler = small.fill();
        connection.go_on(behind).await.unwrap();
        let told = connection.end().await;
        fs::remove_file(filler).unwrap();
        assert!(is_refused(&told), "{before} and {behind}: {told:?}");
        attempts.push(Attempt { message_id, told });
    }

    let accepted = attempts.iter().filter(|attempt| attempt.told == Told::Accepted).count();
    assert!(accepted >= 5, "{accepted}");
    let fates = judge(&attempts, &queued.list(), &sandbox.deliveries()).unwrap();
    assert_eq!(fates.waiting, accepted, "{fates:?}");
    // Nothing is left of those that were refused.
    assert_eq!(files(&queued.world.path("small/queue/messages")), accepted);

    // A disk that is still full delays, and loses nothing either.
    let filler = small.fill();
    program.kill();
    let program = queued.start();
    sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Normal);
    fs::remove_file(filler).unwrap();
    until("the queue is empty", async || queued.list().is_empty()).await;
    let fates = judge(&attempts, &queued.list(), &sandbox.deliveries()).unwrap();
    assert_eq!(fates.delivered, accepted, "{fates:?}");
    drop(program);
}
