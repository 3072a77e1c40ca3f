//! What is left in memory a while after a thousand logins: passwords are wiped once they have been
//! proved, also those that were sent to Entra. (Wiping cannot reach the kernel's buffers, nor pages
//! that were swapped out meanwhile.)
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::secrecy::canaries::{PASSWORD, WRONG};
use crate::secrecy::mail::{logins, say_all};
use crate::secrecy::service::{ALICE, Installation};

/// How often each text stands in the writable memory of a process.
fn count(process: u32, texts: &[&str]) -> Vec<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut counts = vec![0; texts.len()];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut region = vec![0; usize::try_from(to - from).unwrap()];
        // Some regions are not to be read; they are the kernel's.
        if memory.read_exact_at(&mut region, from).is_ok() {
            for (count, text) in counts.iter_mut().zip(texts) {
                *count += memmem::find_iter(&region, text.as_bytes()).count();
            }
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_left_behind() {
    let mut installation = Installation::new().await;
    installation.configure("text", "");
    let serving = installation.serve(&[]);
    if let Err(error) = File::open(format!("/proc/{}/mem", serving.id())) {
        // The service hides its memory from its own user; root can look all the same, and runs this
        // test.
        assert!(!rustix::process::geteuid().is_root(), "{error}");
        eprintln!("not tested: only root can read the memory of a service ({error})");
        drop(serving.end(Signal::TERM));
        return;
    }
    let listeners = serving.addresses();
    for _ in 0..50 {
        let all = logins(ALICE, PASSWORD).into_iter().chain(logins(ALICE, WRONG)).collect();
        say_all(&listeners, all).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let form = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let message = STANDARD.encode(format!("\0{ALICE}\0{PASSWORD}"));
    let secrets = [PASSWORD, WRONG, &form(PASSWORD), &form(WRONG), &message];
    assert_eq!(count(serving.id(), &secrets), [0; 5]);
    assert!(count(serving.id(), &["contoso.example"])[0] > 0, "memory is really searched");
    serving.end(Signal::TERM);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_of_the_same_user_cannot_look_into_memory() {
    let mut installation = Installation::new().await;
    installation.configure("text", "");
    let serving = installation.serve(&[]);
    let file = format!("/proc/{}/environ", serving.id());
    // Rights are those of a thread (capabilities(7)). This one has what the service may have, so
    // that only the service's own will is in the way.
    let read = std::thread::spawn(move || {
        let have = capabilities(None).unwrap();
        let kept = have.permitted & (CapabilitySet::NET_BIND_SERVICE | CapabilitySet::DAC_READ_SEARCH);
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).unwrap();
        std::fs::read(file).map(drop)
    });
    assert_eq!(read.join().unwrap().unwrap_err().kind(), ErrorKind::PermissionDenied);
    serving.end(Signal::TERM);
}
