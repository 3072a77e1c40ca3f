//! Two credentials at once: the one that Entra takes serves, and is remembered.

use std::fs;

use gatepost_core::secret::ClientSecret;
use gatepost_oauth::fetch_error::FetchError;
use gatepost_sandbox::{Attempts, SandboxSecret};

use crate::credentials::support::{Setup, World, good};

fn known(world: &World, secrets: &[(&str, bool)]) {
    let secret = |(text, expired): &(&str, bool)| SandboxSecret {
        secret: ClientSecret::new((*text).to_owned()),
        expired: *expired,
    };
    world.sandbox.set_client_secrets(secrets.iter().map(secret).collect());
}

#[tokio::test]
async fn of_two_secrets_the_one_that_entra_takes_serves_and_is_remembered() {
    let world = Setup::credential("client_secret: [old-secret, {file: new, expires: 2030-01-31}]");
    world.directory.write("new", "new-secret\n");
    let world = world.start().await;
    known(&world, &[("old-secret", false)]);
    world.granted().await;
    assert_eq!(world.asked(), Attempts { succeeded: 1, refused: 0 });
    // Both are good: the one in use stays.
    known(&world, &[("new-secret", false), ("old-secret", false)]);
    world.granted().await;
    // The old one runs out: one refusal, no failure, and from then on no refusal either.
    known(&world, &[("new-secret", false), ("old-secret", true)]);
    for _ in 0..3 {
        world.granted().await;
    }
    assert_eq!(world.asked(), Attempts { succeeded: 5, refused: 1 });
    // And back.
    known(&world, &[("old-secret", false)]);
    world.granted().await;
    world.granted().await;
    assert_eq!(world.asked(), Attempts { succeeded: 7, refused: 2 });
    // Neither: the word is Entra's.
    known(&world, &[("another", false)]);
    world.refused(7_000_215).await;
}

#[tokio::test]
async fn a_secret_in_a_file_is_replaced_without_a_restart() {
    let setup = Setup::credential("client_secret: {file: secret}");
    setup.directory.write("secret", "first\n");
    let world = setup.start().await;
    for secret in ["first", "second", "third"] {
        known(&world, &[(secret, false)]);
        world.directory.write("secret", format!("{secret}\r\n"));
        world.granted().await;
    }
    // What is no secret leaves the one before in use.
    for content in ["", "\n", "two\nlines\n", "\u{7}"] {
        world.directory.write("secret", content);
        world.granted().await;
    }
    fs::remove_file(world.directory.file("secret")).unwrap();
    world.granted().await;
    assert_eq!(world.asked(), Attempts { succeeded: 8, refused: 0 });
}

#[tokio::test]
async fn of_two_certificates_the_one_that_can_be_used_and_is_taken_serves() {
    let (old, new) = (good(), good());
    let setup = Setup::credential(
        "client_certificate: [{certificate: old.pem, private_key: old.key}, {certificate: new.pem, private_key: new.key}]",
    );
    for (name, pair) in [("old", &old), ("new", &new)] {
        setup.directory.write(&format!("{name}.pem"), &pair.certificate);
        setup.directory.write(&format!("{name}.key"), &pair.key);
    }
    let world = setup.start().await;
    // Gone before it was ever used: the other one serves, and Entra is not asked in vain.
    fs::remove_file(world.directory.file("old.key")).unwrap();
    world.register_only(&new);
    world.granted().await;
    world.granted().await;
    assert_eq!(world.asked(), Attempts { succeeded: 2, refused: 0 });
    // Entra's word about one is worth more than a file that is missing.
    world.register_only(&good());
    world.refused(700_027).await;
    world.directory.write("old.key", &old.key);
    world.register_only(&old);
    world.granted().await;
    let FetchError::Refused(error) = ({
        world.sandbox.remove_certificates();
        world.error().await
    }) else {
        panic!("it is a refusal")
    };
    assert_eq!(error.code, Some(700_027));
}
