//! What goes in comes out, for one process and for several, whatever keeps it.

use std::fs;
use std::time::Duration;

use gatepost_config::State;
use gatepost_core::clock::UnixTime;
use gatepost_store::{
    self, Counts, DevicePasswordId, Familiar, Guess, LastUse, Person, SignInRefused, StoreError, Verifier, rotate_key,
};

use crate::store::support::{Directory, key, password, sign_in, token_of};

#[tokio::test]
async fn in_sqlite() {
    for keeps in 0..4 {
        let directory = Directory::new();
        check(keeps, &directory.state()).await;
    }
}

/// What every database has to keep; `keeps` counts to 3.
pub(crate) async fn check(keeps: u8, state: &State) {
    match keeps {
        0 => sign_ins_outlive_the_process_and_are_replaced_only_as_they_were_read(state).await,
        1 => device_passwords_come_back_whole(state).await,
        2 => counts_outlive_the_process_and_a_rotation_and_are_replaced_only_as_they_were_read(state).await,
        _ => one_at_a_time_renews_a_sign_in(state).await,
    }
}

async fn sign_ins_outlive_the_process_and_are_replaced_only_as_they_were_read(state: &State) {
    let store = gatepost_store::open(state).await.unwrap();
    assert!(store.sign_in(&key("alice")).await.unwrap().is_none());
    let first = store.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    drop(store);

    let (store, other) = (gatepost_store::open(state).await.unwrap(), gatepost_store::open(state).await.unwrap());
    let mut newer = sign_in("two");
    newer.refused = Some(SignInRefused { at: UnixTime(5), code: Some(70043) });
    let second = other.put_sign_in(&key("alice"), &newer, Some(first)).await.unwrap();
    assert_eq!(store.put_sign_in(&key("alice"), &sign_in("lost"), Some(first)).await, Err(StoreError::Changed));
    let (kept, version) = store.sign_in(&key("alice")).await.unwrap().unwrap();
    assert_eq!((kept.refresh_token.expose(), version, kept.refused), ("two", second, newer.refused));
    assert_eq!((kept.scope, kept.rotated_at), (newer.scope, newer.rotated_at));
    assert!(store.sign_in(&key("bob")).await.unwrap().is_none());

    // A new sign-in replaces whatever is there.
    other.put_sign_in(&key("alice"), &sign_in("three"), None).await.unwrap();
    assert_eq!(token_of(&*store, "alice").await.as_deref(), Some("three"));
    let all = store.sign_ins().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0].0, all[0].1.refresh_token.expose()), (&key("alice"), "three"));

    assert!(store.remove_sign_in(&key("alice")).await.unwrap());
    assert!(!store.remove_sign_in(&key("alice")).await.unwrap());
    assert_eq!(store.put_sign_in(&key("alice"), &sign_in("lost"), Some(second)).await, Err(StoreError::Changed));
}

async fn device_passwords_come_back_whole(state: &State) {
    let (store, other) = (gatepost_store::open(state).await.unwrap(), gatepost_store::open(state).await.unwrap());
    let (scanner, mut chosen) = (password("aaaaaaaa"), password("bbbbbbbb"));
    chosen.verifier = Verifier::Chosen("$argon2id$…".into());
    (chosen.expires_at, chosen.protocols) = (None, Vec::new());
    store.add_device_password(&scanner).await.unwrap();
    store.add_device_password(&chosen).await.unwrap();
    assert_eq!(other.device_passwords().await.unwrap(), [scanner.clone(), chosen.clone()]);

    let used = LastUse { at: UnixTime(9), from: "192.168.7.9".parse().unwrap() };
    let before = other.revision().await.unwrap();
    store.note_use(&scanner.id, used).await.unwrap();
    store.note_use(&DevicePasswordId("absent".into()), used).await.unwrap();
    assert_eq!(other.revision().await.unwrap(), before, "a use is no change");
    assert_eq!(other.device_passwords().await.unwrap()[0].last_use, Some(used));

    assert!(other.revoke_device_password(&scanner.id).await.unwrap());
    assert!(!other.revoke_device_password(&scanner.id).await.unwrap());
    assert_ne!(store.revision().await.unwrap(), before);
    assert_eq!(store.device_passwords().await.unwrap(), [chosen]);
}

async fn counts_outlive_the_process_and_a_rotation_and_are_replaced_only_as_they_were_read(state: &State) {
    let (store, other) = (gatepost_store::open(state).await.unwrap(), gatepost_store::open(state).await.unwrap());
    assert_eq!(store.counts(7).await.unwrap(), (Counts::default(), None));
    let guess = |id| Guess { user: [1; 16], id, at: UnixTime(1_767_225_600), familiar: id == 2 };
    let one = Counts { guesses: vec![guess(1)], ..Counts::default() };
    let familiar = Familiar { user: [1; 16], source: u64::MAX, seen: UnixTime(1_767_225_600) };
    let person = Person { name: [1; 16], person: [2; 16] };
    let two =
        Counts { guesses: vec![guess(1), guess(2)], familiar: vec![familiar], persons: vec![person], key: [7; 16] };
    let before = other.revision().await.unwrap();
    let first = store.put_counts(7, &one, None).await.unwrap();
    assert_eq!(other.put_counts(7, &Counts::default(), None).await, Err(StoreError::Changed));
    let second = other.put_counts(7, &two, Some(first)).await.unwrap();
    assert_eq!(store.put_counts(7, &Counts::default(), Some(first)).await, Err(StoreError::Changed));
    assert_eq!(other.revision().await.unwrap(), before, "nobody has to look at device passwords for that");
    assert_eq!(store.counts(8).await.unwrap(), (Counts::default(), None), "another bucket");
    drop((store, other));

    if let State::Sqlite { .. } = state {
        rotate_key(state, None).await.unwrap();
    }
    let store = gatepost_store::open(state).await.unwrap();
    assert_eq!(store.counts(7).await.unwrap(), (two, Some(second)));
}

#[tokio::test]
async fn the_files_tell_nothing() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    store.put_sign_in(&key("alice"), &sign_in("0.AXoA-canary"), None).await.unwrap();
    store.add_device_password(&password("aaaaaaaa")).await.unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        for word in ["canary", "alice", "contoso", "scanner", "Scanner", "aaaaaaaa", "outlook"] {
            let found = content.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(!found, "{word} in {}", path.display());
        }
    }
}

async fn one_at_a_time_renews_a_sign_in(state: &State) {
    let (service, command) = (gatepost_store::open(state).await.unwrap(), gatepost_store::open(state).await.unwrap());
    let minute = Duration::from_secs(60);
    let lease = service.lease_sign_in(&key("alice"), minute).await.unwrap().unwrap();
    assert!(command.lease_sign_in(&key("alice"), minute).await.unwrap().is_none());
    assert!(command.lease_sign_in(&key("bob"), minute).await.unwrap().is_some());
    service.release(&lease).await.unwrap();
    let lease = command.lease_sign_in(&key("alice"), Duration::from_millis(30)).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    let next = service.lease_sign_in(&key("alice"), minute).await.unwrap().unwrap();
    // It has ended, and another has it.
    command.release(&lease).await.unwrap();
    assert!(command.lease_sign_in(&key("alice"), minute).await.unwrap().is_none());
    service.release(&next).await.unwrap();
}
