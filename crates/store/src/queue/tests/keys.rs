//! The queue follows the state key.

use std::fs;

use super::world::World;
use crate::queue::QueueId;
use crate::{Rotation, rotate_key};
use gatepost_config::State;

/// The sealed keys of the index.
fn sealed(world: &World) -> Vec<Vec<u8>> {
    let connection = rusqlite::Connection::open(world.queue_directory().join("index.sqlite")).unwrap();
    let mut rows = connection.prepare("SELECT sealed FROM keys").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_rotated_state_key_opens_the_queue_and_the_old_one_no_longer_does() {
    let world = World::new().await;
    let id = world.accept(b"content").await.unwrap();
    let state = State::Sqlite { directory: world.directory.path().join("state"), key: world.key() };
    crate::open(&state).await.unwrap();
    let (old_key, old_seal) = (fs::read(world.directory.path().join("state.key")).unwrap(), sealed(&world).remove(0));
    let rotated = rotate_key(&state, Some(&world.queue_directory())).await.unwrap();
    assert_eq!(rotated, Rotation::Done { records: 0, old_is_left: false });
    assert_eq!(sealed(&world).len(), 1);
    for path in fs::read_dir(world.queue_directory()).unwrap().map(|entry| entry.unwrap().path()) {
        let raw = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!raw.windows(old_seal.len()).any(|window| window == old_seal), "{path:?}");
    }
    // The running service and the next one read the message.
    assert_eq!(world.content(id).await.unwrap(), b"content");
    let other = world.other().await.unwrap();
    assert_eq!(other.read(id).await.unwrap().unwrap().length(), 7);
    fs::write(world.directory.path().join("state.key"), old_key).unwrap();
    assert!(world.other().await.is_err());
}

#[tokio::test]
async fn a_running_queue_follows_a_key_that_was_put_in_front_by_hand() {
    let world = World::new().await;
    world.accept(b"content").await.unwrap();
    let path = world.directory.path().join("state.key");
    let old = fs::read_to_string(&path).unwrap();
    let new = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    fs::write(&path, format!("{new}{old}")).unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert_eq!(sealed(&world).len(), 2);
    fs::write(&path, new).unwrap();
    assert!(world.other().await.is_ok());
    courier.sweep().await.unwrap();
    assert_eq!(sealed(&world).len(), 1);
    // A wrong key alone takes nothing away.
    fs::write(&path, &old).unwrap();
    courier.sweep().await.unwrap();
    assert_eq!(sealed(&world).len(), 2);
    fs::write(&path, new).unwrap();
    assert!(world.other().await.unwrap().show(QueueId(1)).await.unwrap().is_some());
}
