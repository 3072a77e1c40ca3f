//! Processes that end at any instant, and processes that write at the same time.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_config::State;
use gatepost_store::{Rotation, rotate_key};

use crate::store::child::spawn;
use crate::store::support::{Directory, counter_of, key, password, sign_in, token_of};

/// Another moment in each round, spread over `within`.
pub(crate) fn moment(round: u32, within: Duration) -> Duration {
    // Multiples of the golden ratio fall evenly and never twice on the same place.
    within.mul_f64((f64::from(round) * 0.618_033_988_749_895).fract())
}

/// Kills the process (SIGKILL) a while after its start, or after it has begun to work, and gives
/// what it had acknowledged by then.
pub(crate) fn kill_after(mut child: Child, at_work: bool, wait: Duration) -> String {
    let (mut said, mut output) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
    while at_work && !said.ends_with("at work\n") {
        assert_ne!(output.read_line(&mut said).unwrap(), 0, "it ended by itself");
    }
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
    output.read_to_string(&mut said).unwrap();
    // The last line may have been cut.
    said.truncate(said.rfind('\n').map_or(0, |end| end + 1));
    said
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes most of a minute; tests/run does it"]
async fn a_thousand_kills_during_renewal_lose_nothing() {
    let mut directory = Directory::new();
    let (mut acknowledged, mut renewals) = (HashMap::<String, u64>::new(), 0);
    for round in 0..1_000 {
        // The first start is interrupted, too.
        let first = round % 10 == 0;
        if first {
            directory = Directory::new();
            acknowledged.clear();
        }
        let wait = Duration::from_millis(if first { 60 } else { 10 });
        let said = kill_after(spawn("renew", directory.path(), 0), !first, moment(round, wait));
        for line in said.lines() {
            if let Some((user, count)) = line.split_once(' ').filter(|(user, _)| user.starts_with("user")) {
                acknowledged.insert(user.to_owned(), count.parse().unwrap());
                renewals += 1;
            }
        }
        let store = directory.open().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        for (user, count) in &acknowledged {
            let (kept, _) = store.sign_in(&key(user)).await.unwrap().expect("a sign-in was lost");
            // One more may have been written without the word of it getting out.
            assert!((*count..=count + 1).contains(&counter_of(&kept)), "round {round}, {user}: {count}");
        }
        for (found, kept) in store.sign_ins().await.unwrap() {
            let user = found.login.as_str().split('@').next().unwrap().to_owned();
            acknowledged.insert(user, counter_of(&kept));
        }
    }
    assert!(renewals > 1_000, "only {renewals} renewals: the processes were killed before they did anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_write_ten_thousand_times_and_nothing_is_lost() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    for user in ["user0", "user1", "user2"] {
        store.put_sign_in(&key(user), &sign_in("0"), None).await.unwrap();
    }
    let children = [spawn("count", directory.path(), 5_000), spawn("count", directory.path(), 5_000)];
    for mut child in children {
        assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
    }
    let counted: u64 = store.sign_ins().await.unwrap().iter().map(|(_, kept)| counter_of(kept)).sum();
    assert_eq!(counted, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_the_key_survives_kills_and_the_service_goes_on() {
    let directory = Directory::new();
    let service = directory.open().await.unwrap();
    for n in 0..300 {
        service.put_sign_in(&key(&format!("user{n}")), &sign_in("0"), None).await.unwrap();
    }
    service.add_device_password(&password("aaaaaaaa")).await.unwrap();
    let first = fs::read_to_string(directory.file("state.key")).unwrap();
    let (mut finished, mut counter) = (0, 0);
    // How long one takes here, now.
    let begin = Instant::now();
    rotate_key(&directory.state(), None).await.unwrap();
    let mut within = begin.elapsed();
    for round in 0..50 {
        let child = spawn("rotate", directory.path(), 0);
        let wait = moment(round, within);
        let killed = tokio::task::spawn_blocking(move || kill_after(child, true, wait));
        // Meanwhile the service renews.
        while !killed.is_finished() {
            let (_, version) = service.sign_in(&key("user7")).await.unwrap().unwrap();
            counter += 1;
            service.put_sign_in(&key("user7"), &sign_in(&counter.to_string()), Some(version)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let is_finished = killed.await.unwrap().contains("\nrotated\n");
        finished += u32::from(is_finished);
        // Half of them are to be interrupted, however busy the machine becomes.
        within = within.mul_f64(if is_finished { 0.8 } else { 1.25 });
        // Whatever was interrupted: a new process reads everything.
        let fresh = directory.open().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(fresh.sign_ins().await.unwrap().len(), 300, "round {round}");
        assert_eq!(token_of(&*fresh, "user7").await, Some(counter.to_string()));
    }
    assert!((1..50).contains(&finished), "{finished} of 50 rotations finished: none was interrupted, or all");

    // Once more to the end: it goes on with what was interrupted, and one key is left, which is not
    // the first one.
    rotate_key(&directory.state(), None).await.unwrap();
    let rotation = rotate_key(&directory.state(), None).await.unwrap();
    assert_eq!(rotation, Rotation::Done { records: 301, old_is_left: false });
    let last = fs::read_to_string(directory.file("state.key")).unwrap();
    assert_eq!(last.lines().count(), 1);
    assert_ne!(last, first);
    assert_eq!(token_of(&*service, "user7").await, Some(counter.to_string()));
    assert_eq!(service.device_passwords().await.unwrap(), [password("aaaaaaaa")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_at_once_leave_a_store_that_opens() {
    let directory = Directory::new();
    rotate_two_by_two(directory.state()).await;
    let left = fs::read_dir(directory.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        name.starts_with("state.key")
    });
    assert_eq!(left.count(), 2, "the key and the lock");
}

/// Two rotations at the same time, 200 times, beside a service that runs and a command that opens
/// the store meanwhile.
pub(crate) async fn rotate_two_by_two(state: State) {
    let state = Arc::new(state);
    let service = gatepost_store::open(&state).await.unwrap();
    for n in 0..3 {
        service.put_sign_in(&key(&format!("user{n}")), &sign_in("0"), None).await.unwrap();
    }
    service.add_device_password(&password("aaaaaaaa")).await.unwrap();
    let (mut finished, mut kept_out) = (0, 0);
    for round in 0..200 {
        let rotations = [0; 2].map(|_| {
            let state = Arc::clone(&state);
            tokio::spawn(async move { rotate_key(&state, None).await })
        });
        let command = Arc::clone(&state);
        let command = tokio::spawn(async move { gatepost_store::open(&command).await.map(drop) });
        for rotation in rotations {
            match rotation.await.unwrap() {
                Ok(_) => finished += 1,
                Err(error) => {
                    assert!(error.to_string().contains("another rotation"), "round {round}: {error}");
                    kept_out += 1;
                }
            }
        }
        command.await.unwrap().unwrap_or_else(|error| panic!("round {round}, meanwhile: {error}"));
        let fresh = gatepost_store::open(&state).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        for store in [&fresh, &service] {
            assert_eq!(store.sign_ins().await.unwrap().len(), 3, "round {round}");
            assert_eq!(store.device_passwords().await.unwrap(), [password("aaaaaaaa")], "round {round}");
        }
    }
    assert!(finished >= 200, "each round has at least one: {finished}, and {kept_out} were kept out");
}
