//! `gatepost state rotate-key`, beside the service and without one.

use std::fs;

use super::device_passwords::{SCANNER, World};
use super::{Directory, RIGHT, code, stderr, stdout};
use crate::service::shown;

#[tokio::test(flavor = "multi_thread")]
async fn the_state_key_is_rotated_while_the_service_runs() {
    let world = World::new().await;
    let before = shown(&world.told(&["password", "add", SCANNER, "--name", "one"]));
    let key = || fs::read_to_string(world.directory.file("state/state.key")).unwrap();
    let first = key();
    let _service = world.serve();
    world.log_in(SCANNER, &before).unwrap();

    let told = world.told(&["state", "rotate-key"]);
    // The second is what the service keeps of the login, as soon as it gets to it.
    let counts = ["It encrypts 1 record. Back it up.", "It encrypts 2 records. Back it up."];
    assert!(counts.iter().any(|count| told.contains(count)), "{told}");
    let second = key();
    assert_ne!(first, second);
    assert_eq!((second.len(), second.lines().count()), (45, 1));
    assert!(!told.contains(second.trim()), "{told}");

    // The service reads what is made now, and what was made before.
    let after = shown(&world.told(&["password", "add", SCANNER, "--name", "two"]));
    for password in [&before, &after] {
        world.log_in(SCANNER, password).unwrap();
    }
    fs::write(world.directory.file("state/state.key"), first).unwrap();
    let output = world.directory.gatepost(&["password", "list"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("is encrypted with another key than the one in"), "{}", stderr(&output));
}

#[test]
fn a_key_from_elsewhere_is_rotated_by_whoever_provides_it() {
    let directory = Directory::new();
    directory.write("proxy.yaml", &format!("{RIGHT}state: {{directory: state, key: {{env: STATE_KEY}}}}\n"));
    let (old, new) = ("ISEhISEhISEhISEhISEhISEhISEhISEhISEhISEhISE=", "QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA=");
    let both = format!("{new}\n{old}");
    let rotate = |key: &str| directory.gatepost_with(&["state", "rotate-key"], "", &[("STATE_KEY", key)]);
    let output = rotate(old);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("Put a new line in front of the present one there"), "{}", stderr(&output));
    let output = rotate(&both);
    let told = "The new state key encrypts 0 records. Now remove the second line of the environment.\n";
    assert_eq!((code(&output), stdout(&output), stderr(&output)), (0, told, ""));
    let output = rotate(old);
    assert!(stderr(&output).contains("is encrypted with another key"), "{}", stderr(&output));
}
