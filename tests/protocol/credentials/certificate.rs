//! Certificates: every form of file, every way in which one can be useless, clocks that differ,
//! replacement.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatepost_config::Credential;
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_core::secret::Password;
use gatepost_oauth::expiry;
use gatepost_oauth::grant::GrantRequest;
use gatepost_sandbox::{Attempts, SandboxAccount};

use crate::credentials::support::{Setup, good, openssl, pair};

fn certificate(lines: &str) -> Setup {
    Setup::credential(&format!("client_certificate: {{{lines}}}"))
}

#[tokio::test]
async fn every_form_of_file_and_signature_is_taken() {
    let pair = good();
    let both = format!("{}{}", pair.key, pair.certificate);
    let sealed = openssl(&["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:hunter2"], &pair.key);
    let pkcs12 = openssl(&["pkcs12", "-export", "-passout", "pass:hunter2"], &both);
    for lines in [
        "certificate: app.pem, private_key: app.key",
        "certificate: app.pem, private_key: app.key, algorithm: PS256",
        "certificate: app.pem, private_key: app.key, algorithm: RS256",
        "certificate: both.pem",
        "certificate: app.pem, private_key: sealed.key, password: hunter2",
        "certificate: app.pfx, password: {file: password}",
    ] {
        let setup = certificate(lines);
        setup.directory.write("app.pem", &pair.certificate);
        setup.directory.write("app.key", &pair.key);
        setup.directory.write("both.pem", &both);
        setup.directory.write("sealed.key", &sealed);
        setup.directory.write("app.pfx", &pkcs12);
        setup.directory.write("password", "hunter2\n");
        let world = setup.start().await;
        world.sandbox.add_certificate(&pair.certificate).unwrap();
        // A fresh assertion each time: the sandbox takes none twice.
        world.granted().await;
        world.granted().await;
        assert_eq!(world.asked(), Attempts { succeeded: 2, refused: 0 }, "{lines}");
    }
}

/// An application that proves itself may ask with a user's password, too; and in China it is asked
/// for at another address.
#[tokio::test]
async fn an_assertion_goes_with_every_grant_and_endpoint() {
    let pair = good();
    let mut setup = Setup::certificate(&pair);
    setup.sandbox.accounts.push(SandboxAccount::new("alice@contoso.example", "hunter2"));
    let mut world = setup.start().await;
    world.sandbox.add_certificate(&pair.certificate).unwrap();
    world.ask.grant = GrantRequest::Password {
        username: MailAddress::parse("alice@contoso.example").unwrap(),
        password: Arc::new(Password::new("hunter2".to_owned())),
    };
    world.granted().await;

    let mut setup = Setup::certificate(&pair);
    setup.microsoft.push_str("  cloud: china\n");
    let mut world = setup.start().await;
    world.sandbox.add_certificate(&pair.certificate).unwrap();
    world.ask.scope = "https://partner.outlook.cn".into();
    assert!(world.ask.token_url().path().ends_with("/oauth2/token"));
    world.granted().await;
}

#[tokio::test]
async fn a_certificate_that_entra_does_not_know_is_refused_by_entra() {
    let world = Setup::certificate(&good()).start().await;
    world.refused(700_027).await;
    world.sandbox.add_certificate(&good().certificate).unwrap();
    world.refused(700_027).await;
}

#[tokio::test]
async fn a_certificate_out_of_date_is_noted_at_start_and_never_sent() {
    for (years, words) in [((2019, 2020), "expired on 2020-01-01"), ((2060, 2070), "is not valid before 2060-01-01")] {
        let pair = pair(years);
        let world = Setup::certificate(&pair).start().await;
        world.sandbox.add_certificate(&pair.certificate).unwrap();
        assert!(world.has_note(words), "{:?}", world.config.notes);
        world.not_proved(words).await;
        // It is replaced without a restart.
        let new = good();
        world.register_only(&new);
        world.directory.replace("app.key", &new.key);
        world.directory.replace("app.pem", &new.certificate);
        world.granted().await;
    }
}

#[tokio::test]
async fn files_that_do_not_belong_together_or_cannot_be_opened_are_mistakes_of_the_configuration() {
    let (one, other) = (good(), good());
    for (lines, words) in [
        ("certificate: app.pem, private_key: other.key", "the private key does not belong to the certificate"),
        ("certificate: app.pem", "there is no private key in it"),
        ("certificate: app.key", "there is no certificate in it"),
        ("certificate: missing.pem, private_key: app.key", "missing.pem` cannot be read"),
        ("certificate: app.pem, private_key: missing.key", "missing.key` cannot be read"),
        (
            "certificate: app.pem, private_key: sealed.key",
            "the private key is encrypted, and no password is configured",
        ),
        ("certificate: app.pem, private_key: sealed.key, password: x", "the password does not open it"),
        ("certificate: app.pfx, password: x", "the password does not open it"),
    ] {
        let setup = certificate(lines);
        setup.directory.write("app.pem", &one.certificate);
        setup.directory.write("app.key", &one.key);
        setup.directory.write("other.key", &other.key);
        let arguments = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:hunter2"];
        setup.directory.write("sealed.key", openssl(&arguments, &one.key));
        let both = format!("{}{}", one.key, one.certificate);
        setup.directory.write("app.pfx", openssl(&["pkcs12", "-export", "-passout", "pass:hunter2"], &both));
        let Err(problems) = setup.try_start().await else { panic!("{lines} was accepted") };
        let told = problems.to_string();
        assert!(told.contains(words) && told.contains("microsoft.client_certificate"), "{lines}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

/// Both ways, by an hour: the first answer tells the time, and from then on every assertion fits.
#[tokio::test]
async fn assertions_follow_entras_clock() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for off in [Duration::from_secs(3_600), Duration::from_secs(0)] {
        let pair = good();
        let clock = Clock::manual();
        let start = Duration::from_secs(clock.unix_time().0);
        clock.advance(now - Duration::from_secs(1_800) + off - start);
        let world = Setup { clock, ..Setup::certificate(&pair) }.start().await;
        world.sandbox.add_certificate(&pair.certificate).unwrap();
        world.granted().await;
        assert_eq!(world.asked(), Attempts { succeeded: 1, refused: 1 });
        world.granted().await;
        world.clock.advance(Duration::from_secs(60));
        world.granted().await;
        assert_eq!(world.asked(), Attempts { succeeded: 3, refused: 1 });
    }
}

#[tokio::test]
async fn a_broken_replacement_leaves_the_old_one_in_use_until_it_is_whole() {
    let (old, new) = (good(), good());
    let world = Setup::certificate(&old).start().await;
    world.sandbox.add_certificate(&old.certificate).unwrap();
    world.sandbox.add_certificate(&new.certificate).unwrap();
    world.granted().await;
    // Half of the pair, half of a file, nothing, no file.
    world.directory.replace("app.pem", &new.certificate);
    world.granted().await;
    world.directory.write("app.key", &new.key[..new.key.len() / 2]);
    world.granted().await;
    world.directory.write("app.key", "");
    world.granted().await;
    fs::remove_file(world.directory.file("app.key")).unwrap();
    world.granted().await;
    assert_eq!(world.asked(), Attempts { succeeded: 5, refused: 0 });
    // Whole: what was registered for the old one counts no more.
    world.directory.write("app.key", &new.key);
    world.register_only(&new);
    world.granted().await;
}

/// Fifty token requests a second, while the certificate is replaced again and again, file by file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_under_load_fails_nobody() {
    const ROLLS: usize = 4;
    const REQUESTS_PER_ROLL: usize = 25;
    let first = good();
    let world = Arc::new(Setup::certificate(&first).start().await);
    world.register_only(&first);
    let mut last = first;
    for _ in 0..ROLLS {
        let new = good();
        world.sandbox.add_certificate(&new.certificate).unwrap();
        let load: Vec<_> = (0..REQUESTS_PER_ROLL)
            .map(|n| {
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(20) * u32::try_from(n).unwrap()).await;
                    world.granted().await;
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150)).await;
        world.directory.write("app.key", &new.key);
        tokio::time::sleep(Duration::from_millis(150)).await;
        world.directory.write("app.pem", &new.certificate);
        for request in load {
            request.await.unwrap();
        }
        last = new;
    }
    let total = u64::try_from(ROLLS * REQUESTS_PER_ROLL).unwrap();
    assert_eq!(world.asked(), Attempts { succeeded: total, refused: 0 });
    world.register_only(&last);
    world.granted().await;
}

#[tokio::test]
async fn ends_are_listed_from_the_files_as_they_are_now() {
    let setup = Setup::credential(
        "client_certificate: [{certificate: app.pem, private_key: app.key}, {certificate: next.pem, private_key: next.key}]",
    );
    let (one, two) = (pair((2020, 2040)), pair((2020, 2050)));
    for (name, pair) in [("app", &one), ("next", &two)] {
        setup.directory.write(&format!("{name}.pem"), &pair.certificate);
        setup.directory.write(&format!("{name}.key"), &pair.key);
    }
    let world = setup.start().await;
    assert!(matches!(&*world.ask.application.credential, Credential::Certificates(two) if two.len() == 2));
    let ends = async || {
        let list = expiry::list(world.source.credentials(), &[Arc::clone(&world.ask.application)]).await;
        list.into_iter().map(|end| (end.what, end.expires.to_string())).collect::<Vec<_>>()
    };
    let what = |name: &str| format!("the certificate in `{}`", world.directory.file(name).display());
    let shown = |year: u32| format!("{year}-01-01 00:00 UTC");
    assert_eq!(ends().await, [(what("app.pem"), shown(2040)), (what("next.pem"), shown(2050))]);
    let new = pair((2020, 2059));
    world.directory.replace("app.pem", &new.certificate);
    world.directory.replace("app.key", &new.key);
    assert_eq!(ends().await, [(what("next.pem"), shown(2050)), (what("app.pem"), shown(2059))]);
}
