//! This test program as a second process: what it does is said in its environment.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use gatepost_store::{StoreError, rotate_key};

use crate::common::again::again;
use crate::store::support::{counter_of, key, sign_in, state};
use crate::store::{queue, replicas};

const ROLE: &str = "GATEPOST_TEST_ROLE";
const ARGUMENT: &str = "GATEPOST_TEST_ARGUMENT";
const NUMBER: &str = "GATEPOST_TEST_NUMBER";

/// The same where no file can grow over so many blocks of 512 octets, as on a disk that is full.
#[cfg(unix)]
pub(crate) fn spawn_within(blocks: u32, role: &str, argument: impl AsRef<OsStr>) -> Child {
    // Without the trap the system would end the process (setrlimit(2), RLIMIT_FSIZE).
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    let child = child_again();
    shell.arg("-c").arg(script).arg(child.get_program()).args(child.get_args());
    configure(&mut shell, role, argument, 0).spawn().unwrap()
}

/// Starts this program again in a role; its acknowledgements come over its standard output.
pub(crate) fn spawn(role: &str, argument: impl AsRef<OsStr>, number: u32) -> Child {
    configure(&mut child_again(), role, argument, number).spawn().unwrap()
}

fn child_again() -> Command {
    again(module_path!(), "child")
}

fn configure<'a>(command: &'a mut Command, role: &str, argument: impl AsRef<OsStr>, number: u32) -> &'a mut Command {
    command
        .env(ROLE, role)
        .env(ARGUMENT, argument)
        .env(NUMBER, number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
}

#[test]
#[ignore = "is started by other tests, and does nothing by itself"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let argument = std::env::var(ARGUMENT).unwrap();
    let directory = PathBuf::from(&argument);
    let number: u32 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "renew" => renew_for_ever(directory).await,
            "count" => count(directory, number).await,
            "fill" => fill(directory).await,
            "rotate" => {
                println!("\nat work");
                rotate_key(&state(&directory), None).await.unwrap();
                println!("\nrotated");
            }
            "queue-work" => queue::work(&directory, number).await,
            "queue-crash" => queue::crash(&directory, number).await,
            "queue-fill" => queue::fill(&directory).await,
            #[cfg(target_os = "linux")]
            "queue-weigh" => queue::weigh(&directory).await,
            "log-in" => replicas::log_in(&argument, number).await,
            other => panic!("no role {other}"),
        }
    });
}

/// Renews one sign-in after the other, and acknowledges each renewal once the store has it.
async fn renew_for_ever(directory: PathBuf) {
    let store = gatepost_store::open(&state(&directory)).await.unwrap();
    for turn in 0.. {
        let user = format!("user{}", turn % 4);
        let (before, version) = match store.sign_in(&key(&user)).await.unwrap() {
            Some((kept, version)) => (counter_of(&kept), Some(version)),
            None => (0, None),
        };
        store.put_sign_in(&key(&user), &sign_in(&(before + 1).to_string()), version).await.unwrap();
        println!("\n{user} {}", before + 1);
        if turn == 0 {
            // The first randomness takes the library a while, the first renewal with it.
            println!("\nat work");
        }
    }
}

/// Counts up `number` times, each time in whichever of a few sign-ins nobody else changes at that
/// moment.
async fn count(directory: PathBuf, number: u32) {
    let store = gatepost_store::open(&state(&directory)).await.unwrap();
    let mut counted = 0;
    while counted < number {
        let user = format!("user{}", counted % 3);
        let (kept, version) = store.sign_in(&key(&user)).await.unwrap().unwrap();
        let next = sign_in(&(counter_of(&kept) + 1).to_string());
        match store.put_sign_in(&key(&user), &next, Some(version)).await {
            Ok(_) => counted += 1,
            Err(StoreError::Changed) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Renews one sign-in, longer each time, until that fails, and twice more; says what came of it.
async fn fill(directory: PathBuf) {
    let store = gatepost_store::open(&state(&directory)).await.unwrap();
    let mut version = store.sign_in(&key("alice")).await.unwrap().unwrap().1;
    let mut failures = 0;
    for turn in 1.. {
        let token = format!("{turn}{}", "t".repeat(1_000 * turn));
        match store.put_sign_in(&key("alice"), &sign_in(&token), Some(version)).await {
            Ok(kept) => {
                println!("\nkept {turn}");
                version = kept;
            }
            Err(error) => {
                println!("\n{error}");
                // What was not kept is in memory all the same.
                let (newest, pending) = store.sign_in(&key("alice")).await.unwrap().unwrap();
                assert_eq!(newest.refresh_token.expose(), token);
                (version, failures) = (pending, failures + 1);
            }
        }
        if failures == 3 {
            println!("\nended");
            return;
        }
    }
}
