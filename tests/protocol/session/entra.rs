//! What Entra does wrong, and what it says about users: each in the reply that is due, and asked no
//! more than needed.

use std::time::Duration;

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{CertificateFault, EntraMode, SandboxAccount, SandboxConfig, Service, UpstreamMode};

use crate::session::support::{ALICE, ALICES, BOB, BOBS, PROTOCOLS, Setup, World, told};

/// How long a login waits for an Entra that is away, where a test waits for its end.
const IMPATIENT: &str = "  token_request: 2s\n  token_total: 2s";

/// Every protocol refuses as unavailable, for this cause, while Bob's session goes on.
async fn unavailable(limits: &'static str, mode: EntraMode, causes: &[&str]) -> World {
    let world = Setup::limits(limits).start().await;
    let mut neighbour = world.session(MailProtocol::Imap, BOB, BOBS).await;
    world.sandbox.set_entra_mode(mode);
    for protocol in PROTOCOLS {
        let reply = world.reply(protocol, ALICE, ALICES).await;
        let (_, session) = told(&reply);
        let of_session = world.log.lines(|line| line.contains(&format!("session={session} "))).concat();
        let cause = causes.iter().find(|cause| of_session.contains(&format!("outcome=refused cause={cause} ")));
        let cause = cause.unwrap_or_else(|| panic!("none of {causes:?}: {reply}"));
        world.was_refused(protocol, &reply, Refusal::Unavailable, cause);
    }
    neighbour.works().await;
    // Whoever was let in before is let in still.
    world.session(MailProtocol::Imap, BOB, BOBS).await.works().await;
    world
}

fn requests(world: &World) -> u64 {
    world.sandbox.counters().http_requests
}

#[tokio::test]
async fn down() {
    unavailable(IMPATIENT, EntraMode::Down, &["entra-unreachable", "entra-answer-unclear", "entra-unavailable"]).await;
}

#[tokio::test]
async fn slow() {
    unavailable(IMPATIENT, EntraMode::Slow(Duration::from_secs(600)), &["entra-slow"]).await;
}

#[tokio::test]
async fn slow_but_in_time() {
    let world = World::new().await;
    world.sandbox.set_entra_mode(EntraMode::Slow(Duration::from_millis(50)));
    for protocol in PROTOCOLS {
        world.session(protocol, ALICE, ALICES).await.works().await;
    }
}

#[tokio::test]
async fn throttled_and_not_asked_again_before_it_said() {
    let retry_after = Duration::from_secs(600);
    let world = unavailable("", EntraMode::Throttled { retry_after }, &["entra-throttles"]).await;
    assert_eq!(requests(&world), 2, "Bob's, and one that was throttled");
    world.sandbox.set_entra_mode(EntraMode::Normal);
    world.refuses(MailProtocol::Smtp, ALICE, ALICES, Refusal::Unavailable, "entra-throttles").await;
    assert_eq!(requests(&world), 2);
}

#[tokio::test]
async fn out_of_order() {
    unavailable(IMPATIENT, EntraMode::ServerError, &["entra-unavailable"]).await;
}

#[tokio::test]
async fn a_short_outage_is_not_noticed() {
    let world = World::new().await;
    world.sandbox.set_entra_mode(EntraMode::ServerError);
    let (_, replies) = tokio::join!(
        async {
            world.until("Entra was asked and did not answer", || requests(&world) >= 3).await;
            world.sandbox.set_entra_mode(EntraMode::Normal);
        },
        async {
            let mut replies = Vec::new();
            for protocol in PROTOCOLS {
                replies.push(world.reply(protocol, ALICE, ALICES).await);
            }
            replies
        }
    );
    for (protocol, reply) in PROTOCOLS.into_iter().zip(replies) {
        let good = ["a OK", "+OK", "235 "].iter().any(|good| reply.starts_with(good));
        assert!(good, "{protocol:?}: {reply}");
    }
}

/// Nothing of this is Entra's word, so nothing of it counts as a refusal; and it is over when it is
/// over.
#[tokio::test]
async fn something_else_answers() {
    for mode in
        [EntraMode::Html, EntraMode::TruncatedJson, EntraMode::OkWithError, EntraMode::Oversize, EntraMode::Redirect]
    {
        let world = unavailable(IMPATIENT, mode.clone(), &["entra-answer-unclear", "entra-unavailable"]).await;
        world.sandbox.set_entra_mode(EntraMode::Normal);
        let reply = world.reply(MailProtocol::Imap, ALICE, ALICES).await;
        assert!(reply.starts_with("a OK"), "after {mode:?}: {reply}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_asked_about_once() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        world.refuses(protocol, ALICE, "guess", Refusal::InvalidCredentials, "wrong-password").await;
        world.refuses(protocol, ALICE, "guess", Refusal::InvalidCredentials, "wrong-password").await;
    }
    assert_eq!(world.sandbox.counters().token_requests_of("password", ALICE).refused, 1);
    world.refuses(MailProtocol::Pop3, ALICE, "another", Refusal::InvalidCredentials, "wrong-password").await;
    assert_eq!(world.sandbox.counters().token_requests_of("password", ALICE).refused, 2);
    // The right one is not affected, nor by a wrong one that comes later.
    world.session(MailProtocol::Imap, ALICE, ALICES).await;
    world.refuses(MailProtocol::Imap, ALICE, "guess", Refusal::InvalidCredentials, "wrong-password").await;
    world.session(MailProtocol::Smtp, ALICE, ALICES).await;
    assert_eq!(world.sandbox.counters().token_requests_of("password", ALICE).succeeded, 1);
}

/// Names that nobody has, names that Entra does not know and wrong passwords are told apart by
/// nothing but the session.
#[tokio::test]
async fn unknown_names_sound_like_wrong_passwords() {
    let accounts = "\n  - login: '*@contoso.example'".to_owned();
    let world = Setup { accounts, ..Setup::default() }.start().await;
    let before = world.upstream_connections();
    for protocol in PROTOCOLS {
        for (name, cause) in [
            ("nobody@contoso.example", "wrong-password"),
            ("alice@elsewhere.example", "unknown-account"),
            ("alice", "unknown-account"),
            ("no\u{200b}name", "bad-name"),
        ] {
            world.refuses(protocol, name, ALICES, Refusal::InvalidCredentials, cause).await;
        }
    }
    assert_eq!(requests(&world), 1, "for the one that may exist");
    assert_eq!(world.upstream_connections(), before);
}

#[tokio::test]
async fn a_locked_account_still_opens_for_its_password_and_a_token_at_hand() {
    let accounts = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)];
    let sandbox = SandboxConfig { accounts, lockout_threshold: 3, ..SandboxConfig::default() };
    let world = Setup { sandbox, ..Setup::default() }.start().await;
    world.session(MailProtocol::Imap, ALICE, ALICES).await;
    for (user, known) in [(ALICE, true), (BOB, false)] {
        for guess in ["one", "two", "three"] {
            world.refuses(MailProtocol::Imap, user, guess, Refusal::InvalidCredentials, "wrong-password").await;
        }
        world.refuses(MailProtocol::Imap, user, "four", Refusal::Unavailable, "account-locked").await;
        let asked = requests(&world);
        for protocol in PROTOCOLS {
            // A lock is over after a while: permanent words would be wrong for the wrong and for
            // the right password.
            world.refuses(protocol, user, "five", Refusal::Unavailable, "account-locked").await;
            if known {
                world.session(protocol, user, ALICES).await.works().await;
            } else {
                world.refuses(protocol, user, BOBS, Refusal::Unavailable, "account-locked").await;
            }
        }
        assert_eq!(requests(&world), asked, "whom Entra has locked it is not asked about");
    }
}

#[tokio::test]
async fn guesses_are_held_back_before_entra_would_lock() {
    let world = World::new().await;
    world.session(MailProtocol::Imap, ALICE, ALICES).await;
    let guess = async |user: &str, n: usize| world.reply(MailProtocol::Imap, user, &format!("guess{n}")).await;
    for (user, budget) in [(ALICE, 8), (BOB, 5)] {
        for n in 0..budget {
            world.was_refused(MailProtocol::Imap, &guess(user, n).await, Refusal::InvalidCredentials, "wrong-password");
        }
        for n in budget..20 {
            world.was_refused(MailProtocol::Imap, &guess(user, n).await, Refusal::Unavailable, "guess-budget-spent");
        }
        assert_eq!(world.sandbox.counters().token_requests_of("password", user).refused, budget as u64);
    }
    for protocol in PROTOCOLS {
        world.session(protocol, ALICE, ALICES).await;
        world.refuses(protocol, BOB, BOBS, Refusal::Unavailable, "guess-budget-spent").await;
    }
}

#[tokio::test]
async fn what_entra_says_about_a_user() {
    for (code, refusal, cause) in [
        (50057, Refusal::NotAuthorized, "account-not-allowed"),
        (50105, Refusal::NotAuthorized, "account-not-allowed"),
        (50055, Refusal::ContactAdmin, "entra-password-expired"),
        (50076, Refusal::ContactAdmin, "entra-configuration"),
        (53003, Refusal::ContactAdmin, "entra-configuration"),
        (65001, Refusal::ContactAdmin, "entra-configuration"),
        (50053, Refusal::Unavailable, "account-locked"),
        (50034, Refusal::InvalidCredentials, "wrong-password"),
    ] {
        let world = World::new().await;
        world.sandbox.set_sign_in_error(ALICE, Some(code));
        let before = world.upstream_connections();
        for protocol in PROTOCOLS {
            world.refuses(protocol, ALICE, ALICES, refusal, cause).await;
        }
        assert!(world.log.has(&format!("AADSTS{code}")), "the log names Entra's code");
        assert_eq!(requests(&world), 1, "AADSTS{code}: asking again would change nothing");
        assert_eq!(world.upstream_connections(), before);
        world.session(MailProtocol::Imap, BOB, BOBS).await.works().await;
    }
}

#[tokio::test]
async fn a_fault_of_the_registration_is_not_the_users() {
    for (microsoft, code) in [
        ("  client_id: '{confidential}'", 7_000_218),
        ("  client_id: '{confidential}'\n  client_secret: not-the-secret", 7_000_215),
        ("  client_id: 00000000-0000-0000-0000-000000000000", 700_016),
        ("  tenant: fabrikam.example", 90_002),
    ] {
        let world = Setup { microsoft, ..Setup::default() }.start().await;
        for protocol in PROTOCOLS {
            world.refuses(protocol, ALICE, ALICES, Refusal::ContactAdmin, "entra-configuration").await;
        }
        assert!(world.log.has(&format!("AADSTS{code}")), "{code}");
    }
}

#[tokio::test]
async fn a_token_endpoint_with_a_bad_certificate_hears_no_password() {
    // A mail service stands in for it: what counts happens before the first octet of HTTP.
    let setup = Setup { microsoft: "  authority: https://localhost:{imap}/", ..Setup::default() };
    let world = setup.start().await;
    for fault in [CertificateFault::UntrustedAuthority, CertificateFault::WrongName, CertificateFault::Expired] {
        world.sandbox.set_upstream_mode(Service::Imap, UpstreamMode::BadCertificate(fault));
        world.refuses(MailProtocol::Smtp, ALICE, ALICES, Refusal::Unavailable, "entra-certificate-refused").await;
    }
}
