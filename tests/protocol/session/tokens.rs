//! How long a token is used: renewed before it ends, kept through an outage, replaced when the
//! upstream refuses it.

use std::time::Duration;

use gatepost_core::clock::Clock;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{Attempts, EntraMode, SandboxAccount, SandboxConfig, Service};

use crate::session::support::{ALICE, ALICES, BOB, BOBS, PROTOCOLS, Setup, World, service};

use MailProtocol::{Imap, Pop3, Smtp};

/// Tokens that are a second older than the margin after a second.
const LIFETIME: Duration = Duration::from_secs(50 * 60 + 1);
const MARGIN: &str = "  token_expiry_margin: 50m";

fn sandbox(clock: Clock, token_lifetime: Duration) -> SandboxConfig {
    let accounts = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)];
    SandboxConfig { accounts, clock, token_lifetime, ..SandboxConfig::default() }
}

fn tokens(world: &World) -> u64 {
    world.sandbox.counters().token_requests_of("password", ALICE).succeeded
}

/// Logs in until `so`, which takes as long as it takes.
async fn log_in_until(world: &World, so: impl Fn() -> bool) {
    for _ in 0..4_000 {
        world.session(Smtp, ALICE, ALICES).await;
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that");
}

#[tokio::test]
async fn a_token_within_its_margin_is_renewed() {
    let setup = Setup { sandbox: sandbox(Clock::system(), LIFETIME), microsoft: MARGIN, ..Setup::default() };
    let (strict, lax) = (setup.start().await, async {
        Setup { sandbox: sandbox(Clock::system(), LIFETIME), ..Setup::default() }.start().await
    });
    for protocol in PROTOCOLS {
        strict.session(protocol, ALICE, ALICES).await;
    }
    let first = tokens(&strict);
    log_in_until(&strict, || tokens(&strict) > first).await;
    drop(strict);
    // With the usual margin the same token lasts.
    let lax = lax.await;
    lax.session(Imap, ALICE, ALICES).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    lax.session(Smtp, ALICE, ALICES).await;
    assert_eq!(tokens(&lax), 1);
}

#[tokio::test]
async fn an_outage_leaves_tokens_and_sessions_alone() {
    for mode in [EntraMode::Down, EntraMode::ServerError, EntraMode::Html] {
        let limits = "  token_request: 1s\n  token_total: 1s";
        let setup =
            Setup { sandbox: sandbox(Clock::system(), LIFETIME), microsoft: MARGIN, limits, ..Setup::default() };
        let world = setup.start().await;
        let mut before = world.session(Imap, ALICE, ALICES).await;
        world.sandbox.set_entra_mode(mode);
        // Past the margin too, when a newer one is asked for in vain.
        log_in_until(&world, || world.log.has("so the cached one is used")).await;
        for protocol in PROTOCOLS {
            world.session(protocol, ALICE, ALICES).await.works().await;
        }
        before.works().await;
        // A password that nobody has proved opens nothing meanwhile, and nobody calls it wrong.
        for protocol in PROTOCOLS {
            let reply = world.reply(protocol, ALICE, "unproved").await;
            assert!(reply.contains("Temporarily unavailable"), "{reply}");
        }
        world.session(Imap, ALICE, ALICES).await.works().await;
    }
}

#[tokio::test]
async fn a_token_that_has_ended_is_not_used_during_an_outage() {
    // Below a minute of life a token is not used any more.
    let lifetime = Duration::from_secs(61);
    let limits = "  token_request: 1s\n  token_total: 1s";
    let world = Setup { sandbox: sandbox(Clock::system(), lifetime), limits, ..Setup::default() }.start().await;
    world.session(Imap, ALICE, ALICES).await;
    world.sandbox.set_entra_mode(EntraMode::Down);
    for _ in 0..4_000 {
        let reply = world.reply(Smtp, ALICE, ALICES).await;
        if !reply.starts_with("235 ") {
            assert!(reply.starts_with("454 4.7.0 Temporarily unavailable"), "{reply}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is used for ever");
}

/// The sandbox's clock is moved, Gatepost's is not: what Gatepost takes for a good token is
/// refused.
#[tokio::test]
async fn a_token_that_the_upstream_refuses_is_replaced_once() {
    for protocol in PROTOCOLS {
        let hour = Duration::from_secs(3_600);
        let world = Setup { sandbox: sandbox(Clock::manual(), hour), ..Setup::default() }.start().await;
        world.session(protocol, ALICE, ALICES).await;
        world.sandbox.advance(2 * hour);
        world.session(protocol, ALICE, ALICES).await.works().await;
        assert_eq!(tokens(&world), 2);
        let counters = world.sandbox.counters();
        assert_eq!(counters.logins_of(service(protocol), ALICE), Attempts { succeeded: 2, refused: 1 });
        // When that does not help either, the token is not what is wrong: Entra is not asked again
        // and again.
        world.sandbox.advance(2 * hour);
        for _ in 0..3 {
            world.refuses(protocol, ALICE, ALICES, Refusal::ContactAdmin, "token-refused").await;
        }
        assert_eq!(tokens(&world), 2);
    }
}

#[tokio::test]
async fn a_password_that_was_changed_ends_with_its_token() {
    let hour = Duration::from_secs(3_600);
    let world = Setup { sandbox: sandbox(Clock::manual(), hour), ..Setup::default() }.start().await;
    world.session(Imap, ALICE, ALICES).await;
    world.sandbox.set_password(ALICE, "a-new-password");
    // The new one counts at its first use, and the old one from then on no more.
    world.session(Pop3, ALICE, "a-new-password").await.works().await;
    world.refuses(Imap, ALICE, ALICES, Refusal::InvalidCredentials, "wrong-password").await;
    world.session(Pop3, ALICE, "a-new-password").await.works().await;
    // The upstream refuses the token of a password that meanwhile is wrong.
    world.session(Smtp, BOB, BOBS).await;
    world.sandbox.set_password(BOB, "a-new-password");
    world.sandbox.advance(2 * hour);
    for protocol in PROTOCOLS {
        world.refuses(protocol, BOB, BOBS, Refusal::InvalidCredentials, "wrong-password").await;
    }
    assert_eq!(world.sandbox.counters().token_requests_of("password", BOB), Attempts { succeeded: 1, refused: 1 });
}

#[tokio::test]
async fn a_session_ends_when_the_upstream_ends_it() {
    let hour = Duration::from_secs(3_600);
    let world = Setup { sandbox: sandbox(Clock::manual(), hour), ..Setup::default() }.start().await;
    let mut imap = world.session(Imap, ALICE, ALICES).await;
    let mut smtp = world.session(Smtp, ALICE, ALICES).await;
    world.sandbox.advance(hour);
    assert_eq!(imap.rest().await, "* BYE Session invalidated - AccessTokenExpired\r\n");
    smtp.works().await;
    world
        .until("its place upstream is free", || {
            world.sandbox.counters().open_connections.get(&Service::Imap).is_none_or(|open| *open == 0)
        })
        .await;
}
