//! What Exchange Online says about a mailbox: that it does not answer, that it wants a pause, that
//! it has too many sessions, or that a token is too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::UpstreamMode;

use crate::session::support::{ALICE, ALICES, BOB, BOBS, Setup, World, is_accepted, service, xoauth2};
use crate::session::upstream::{Upstream, scripted};

use MailProtocol::{Imap, Pop3};

/// An outage looks like a missing right. Who got in within the last day has none missing.
#[tokio::test]
async fn a_mailbox_that_answered_lately_is_away_and_another_lacks_something() {
    for protocol in [Imap, Pop3] {
        let world = World::new().await;
        world.session(protocol, ALICE, ALICES).await.works().await;
        world.sandbox.set_upstream_mode(service(protocol), UpstreamMode::NotConnected);
        world.refuses(protocol, ALICE, ALICES, Refusal::Unavailable, "mailbox-not-connected").await;
        world.refuses(protocol, BOB, BOBS, Refusal::ContactAdmin, "mailbox-not-connected").await;
        let accepted =
            |whose: &str| world.log.lines(|line| line.contains("login accepted") && line.contains(whose)).len();
        assert_eq!((accepted(ALICE), accepted(BOB)), (1, 0), "a login without a mailbox is no success");
        world.sandbox.set_upstream_mode(service(protocol), UpstreamMode::Normal);
        world.session(protocol, BOB, BOBS).await.works().await;
    }
}

/// What a client's own token opens is the client's affair, unless it opened it before.
#[tokio::test]
async fn an_outage_is_told_to_clients_with_tokens_of_their_own() {
    for protocol in [Imap, Pop3] {
        let world = World::new().await;
        let token = world.sandbox.issue_token(ALICE).unwrap();
        let log_in = async || {
            let mut client = world.client(protocol).await;
            let message = xoauth2(ALICE, token.expose());
            if protocol == Imap {
                return client.ask(&format!("a AUTHENTICATE XOAUTH2 {message}"), "a ").await;
            }
            client.ask("AUTH XOAUTH2", "+ ").await;
            client.ask(&message, "").await
        };
        world.sandbox.set_upstream_mode(service(protocol), UpstreamMode::NotConnected);
        world.was_refused(protocol, &log_in().await, Refusal::NotAuthorized, "mailbox-not-connected");
        world.sandbox.set_upstream_mode(service(protocol), UpstreamMode::Normal);
        assert!(is_accepted(protocol, &log_in().await));
        world.sandbox.set_upstream_mode(service(protocol), UpstreamMode::NotConnected);
        world.was_refused(protocol, &log_in().await, Refusal::Unavailable, "mailbox-not-connected");
    }
}

/// An IMAP server. `login` says for each login, with the mailbox, what the reply to AUTHENTICATE
/// and the one to NAMESPACE are, with `TAG` for the tag.
async fn imap(
    mut upstream: Upstream,
    login: impl Fn(&str) -> (&'static str, &'static str) + Send + Sync,
) -> Option<()> {
    upstream.say("* OK ready\r\n").await?;
    let mut probed = "TAG OK done\r\n";
    loop {
        let (tag, command) = upstream.command().await?;
        let answer = match command.strip_prefix("AUTHENTICATE XOAUTH2 ") {
            Some(message) => {
                let message = String::from_utf8(STANDARD.decode(message).ok()?).ok()?;
                let (authenticated, namespace) = login(message.strip_prefix("user=")?.split('\x01').next()?);
                probed = namespace;
                authenticated
            }
            None if command == "CAPABILITY" => {
                "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR NAMESPACE\r\nTAG OK done\r\n"
            }
            None if command == "NAMESPACE" => probed,
            None => "TAG OK done\r\n",
        };
        upstream.say(&answer.replace("TAG", &tag)).await?;
    }
}

const LET_IN: (&str, &str) = ("TAG OK AUTHENTICATE completed.\r\n", "TAG OK done\r\n");

/// Alice's first login is throttled in these words, wherever they come.
async fn throttling(answers: (&'static str, &'static str), logins: &Arc<AtomicUsize>) -> World {
    let logins = Arc::clone(logins);
    scripted(Setup::default(), move |upstream| {
        let logins = Arc::clone(&logins);
        imap(upstream, move |mailbox| {
            let is_first = mailbox == ALICE && logins.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first { answers } else { LET_IN }
        })
    })
    .await
}

#[tokio::test]
async fn a_mailbox_is_left_alone_for_the_time_that_exchange_names() {
    const THROTTLED: &str = "TAG BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n";
    const NO: &str = "TAG NO Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n";
    const GONE: &str = "* BYE Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n";
    for answers in [(LET_IN.0, THROTTLED), (NO, NO), (LET_IN.0, GONE)] {
        let logins = Arc::default();
        let world = throttling(answers, &logins).await;
        for _ in 0..3 {
            world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "upstream-throttles").await;
            assert_eq!(logins.load(Ordering::SeqCst), 1, "it is not asked again");
        }
        assert!(world.log.has("wants no login of this mailbox for another 8"));
        // Another mailbox and another protocol are not concerned.
        world.session(Imap, BOB, BOBS).await.works().await;
        world.session(Pop3, ALICE, ALICES).await.works().await;
    }
}

/// Most often Exchange says it in the middle of a session, and ends that.
#[tokio::test]
async fn a_pause_that_ends_a_session_counts_for_the_next_login() {
    let logins = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&logins);
    let world = scripted(Setup::default(), move |mut upstream| {
        let logins = Arc::clone(&counted);
        async move {
            upstream.say("* OK ready\r\n").await?;
            loop {
                let (tag, command) = upstream.command().await?;
                let list = if command == "CAPABILITY" { "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR\r\n" } else { "" };
                let throttled = "BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n* BYE Connection closed. 14";
                if command.starts_with("SELECT") {
                    upstream.say(&format!("{tag} {throttled}\r\n")).await?;
                    return Some(());
                }
                logins.fetch_add(usize::from(command.starts_with("AUTHENTICATE")), Ordering::SeqCst);
                upstream.say(&format!("{list}{tag} OK done\r\n")).await?;
            }
        }
    })
    .await;
    let mut client = world.session(Imap, ALICE, ALICES).await;
    client.ask("s SELECT INBOX", "s BAD Request is throttled.").await;
    client.rest().await;
    world.until("the session has ended", || world.log.has("session ended")).await;
    world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "upstream-throttles").await;
    assert_eq!(logins.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_login_waits_for_the_end_of_a_pause_that_fits() {
    let logins = Arc::default();
    let throttled = "TAG BAD Request is throttled. Suggested Backoff Time: 1500 milliseconds\r\n";
    let world = throttling((LET_IN.0, throttled), &logins).await;
    world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "upstream-throttles").await;
    world.session(Imap, ALICE, ALICES).await.works().await;
    assert_eq!(logins.load(Ordering::SeqCst), 2);
}

/// Programs of a shared mailbox open dozens of sessions, and Microsoft takes them.
#[tokio::test]
async fn forty_sessions_of_one_mailbox_work() {
    let world = Setup::limits("  mailbox_wait: 0s").start().await;
    for protocol in [Imap, Pop3] {
        let mut sessions = Vec::new();
        for _ in 0..40 {
            sessions.push(world.session(protocol, ALICE, ALICES).await);
        }
        for session in &mut sessions {
            session.works().await;
        }
    }
}

#[tokio::test]
async fn once_exchange_has_refused_one_session_further_ones_wait_for_a_place() {
    const BORNE: usize = 3;
    let (open, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, refusals) = (Arc::clone(&open), Arc::clone(&refused));
    let world = scripted(Setup::limits("  mailbox_wait: 300ms"), move |upstream| {
        let (opened, refusals) = (Arc::clone(&opened), Arc::clone(&refusals));
        async move {
            let own = AtomicUsize::new(0);
            let login = |_: &str| {
                own.fetch_add(1, Ordering::SeqCst);
                if opened.fetch_add(1, Ordering::SeqCst) < BORNE {
                    return LET_IN;
                }
                refusals.fetch_add(1, Ordering::SeqCst);
                ("TAG NO [LIMIT] Too many connections\r\n", "")
            };
            let ended = imap(upstream, login).await;
            opened.fetch_sub(own.load(Ordering::SeqCst), Ordering::SeqCst);
            ended
        }
    })
    .await;
    let mut sessions = Vec::new();
    for _ in 0..BORNE {
        sessions.push(world.session(Imap, ALICE, ALICES).await);
    }
    world.refuses(Imap, ALICE, ALICES, Refusal::Limit, "upstream-limit").await;
    for _ in 0..2 {
        world.refuses(Imap, ALICE, ALICES, Refusal::Limit, "mailbox-occupied").await;
    }
    assert_eq!(refused.load(Ordering::SeqCst), 1, "it is not asked for more than it bears");
    assert!(world.log.has("Microsoft refused one more a moment ago"));
    sessions.pop();
    world.until("the session has ended", || open.load(Ordering::SeqCst) < BORNE).await;
    world.session(Imap, ALICE, ALICES).await.works().await;
}

/// The time for the login is the bound, and who does not answer in it is named.
#[tokio::test]
async fn a_server_that_is_slow_to_answer_has_as_long_as_the_login() {
    let limits = "  login: 6s\n  token_total: 5s\n  token_request: 5s\n  mailbox_wait: 1s";
    let world = scripted(Setup::limits(limits), |upstream| imap(upstream, |_| ("", ""))).await;
    world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "upstream-timeout").await;
}

#[tokio::test]
async fn a_token_that_is_too_long_is_told_with_its_length_and_the_remedy() {
    let world =
        scripted(Setup::default(), |upstream| imap(upstream, |_| ("TAG BAD Command Argument Error. 12\r\n", ""))).await;
    world.refuses(Imap, ALICE, ALICES, Refusal::ContactAdmin, "token-not-understood").await;
    let told = world.log.lines(|line| line.contains("cause=token-not-understood"));
    assert!(told[0].contains("characters") && told[0].contains(ALICE) && !told[0].contains("eyJ"), "{told:?}");

    // One of a client's own has as many claims as it brings.
    let token = world.sandbox.issue_token(ALICE).unwrap();
    let long = format!("{}.{}.c2ln", token.expose().split('.').next().unwrap(), "e30x".repeat(1_200));
    let mut client = world.client(Imap).await;
    let reply = client.ask(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &long)), "a ").await;
    world.was_refused(Imap, &reply, Refusal::InvalidCredentials, "token-not-understood");
    let length = format!("an access token of {} characters", long.len());
    assert!(world.log.has(&length) && world.log.has("`groupMembershipClaims`"));
}
