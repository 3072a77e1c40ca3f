//! Workload identity: a token of another issuer in a file, which that issuer renews.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use gatepost_core::clock::Clock;
use gatepost_oauth::credential::CredentialError;
use gatepost_oauth::fetch_error::FetchError;
use gatepost_sandbox::{Attempts, FederatedToken, SandboxConfig};

use crate::credentials::support::{Setup, World};

fn write(world: &World, says: &FederatedToken) {
    let token = world.sandbox.federated_token(says).unwrap();
    world.directory.write("token", format!("{token}\n"));
}

#[tokio::test]
async fn the_platforms_variables_are_enough() {
    let mut setup = Setup::bare();
    setup.microsoft = "  authority: {authority}\n".to_owned();
    let token = setup.directory.file("token");
    setup.variables = vec![
        ("AZURE_FEDERATED_TOKEN_FILE", token.display().to_string()),
        ("AZURE_TENANT_ID", "contoso.example".to_owned()),
        ("AZURE_CLIENT_ID", "{confidential}".to_owned()),
    ];
    let world = setup.start().await;
    write(&world, &FederatedToken::default());
    world.granted().await;

    // The authority comes from there, too; what is configured counts first.
    let mut setup = Setup::bare();
    setup.microsoft = "  cloud: worldwide\n  # authority: by variable\n  federated_token_file: token\n".to_owned();
    setup.variables = vec![
        ("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent".to_owned()),
        ("AZURE_TENANT_ID", "contoso.example".to_owned()),
        ("AZURE_CLIENT_ID", "{confidential}".to_owned()),
        ("AZURE_AUTHORITY_HOST", "{authority}".to_owned()),
    ];
    let world = setup.start().await;
    assert!(world.has_note("token` cannot be read"), "{:?}", world.config.notes);
    write(&world, &FederatedToken::default());
    world.granted().await;
}

#[tokio::test]
async fn a_variable_that_makes_no_sense_is_a_mistake() {
    let mut setup = Setup::bare();
    setup.microsoft = "  federated_token_file: token\n".to_owned();
    setup.variables =
        vec![("AZURE_TENANT_ID", "not a tenant".to_owned()), ("AZURE_CLIENT_ID", "{confidential}".to_owned())];
    let Err(problems) = setup.try_start().await else { panic!("accepted") };
    let told = problems.to_string();
    assert!(told.contains("environment variable AZURE_TENANT_ID: `not a tenant` is neither"), "{told}");
}

#[tokio::test]
async fn a_token_of_somebody_else_is_refused_by_entra() {
    let world = Setup::credential("federated_token_file: token").start().await;
    let usual = FederatedToken::default;
    for (says, code) in [
        (FederatedToken { issuer: "https://other.example/".into(), ..usual() }, 700_211),
        (FederatedToken { audience: "api://other".into(), ..usual() }, 700_212),
        (FederatedToken { subject: "system:serviceaccount:mail:other".into(), ..usual() }, 700_213),
    ] {
        write(&world, &says);
        world.refused(code).await;
    }
    let token = world.sandbox.federated_token(&usual()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = if signature.starts_with('A') { "B" } else { "A" };
    world.directory.write("token", format!("{signed}.{forged}{}", &signature[1..]));
    world.refused(50013).await;
}

#[tokio::test]
async fn a_file_without_a_token_is_never_sent_and_a_new_one_counts_at_once() {
    let world = Setup::credential("federated_token_file: token").start().await;
    world.not_proved("token` cannot be read").await;
    for content in ["", "\n", "three words here", "a.b", "a.b.c.d", "a..c", "eyJ0.e30.a+b", "<html>.x.y"] {
        world.directory.write("token", content);
        world.not_proved("token` holds no token").await;
    }
    write(&world, &FederatedToken { lifetime: Duration::ZERO, ..FederatedToken::default() });
    world.not_proved("expired on").await;
    write(&world, &FederatedToken::default());
    world.granted().await;
    fs::remove_file(world.directory.file("token")).unwrap();
    world.not_proved("token` cannot be read").await;
    write(&world, &FederatedToken::default());
    world.granted().await;
    assert_eq!(world.asked(), Attempts { succeeded: 2, refused: 0 });
}

/// As the kubelet does it: the file is a link into a directory that is itself a link, which is
/// swapped.
#[tokio::test]
async fn fifty_rotations_send_no_stale_token() {
    let sandbox = SandboxConfig { clock: Clock::manual(), ..SandboxConfig::default() };
    let world = Setup { sandbox, ..Setup::credential("federated_token_file: token") }.start().await;
    symlink("data/token", world.directory.file("token")).unwrap();
    let short = FederatedToken { lifetime: Duration::from_secs(600), ..FederatedToken::default() };
    for round in 0..50 {
        let token = world.sandbox.federated_token(&short).unwrap();
        let version = format!("version-{round}");
        fs::create_dir(world.directory.file(&version)).unwrap();
        world.directory.write(&format!("{version}/token"), token);
        symlink(&version, world.directory.file("data.new")).unwrap();
        fs::rename(world.directory.file("data.new"), world.directory.file("data")).unwrap();
        world.granted().await;
        // The sandbox would not take this token any more.
        world.sandbox.advance(Duration::from_secs(3_600));
    }
    assert_eq!(world.asked(), Attempts { succeeded: 50, refused: 0 });
    // One that was not renewed: Entra's answer tells the time, by which it is stale.
    let error = world.error().await;
    assert!(matches!(error, FetchError::Credential(CredentialError::StaleToken { .. })), "{error:?}");
    assert_eq!(world.asked(), Attempts { succeeded: 50, refused: 1 });
    world.not_proved("expired on").await;
    write(&world, &short);
    world.granted().await;
}
