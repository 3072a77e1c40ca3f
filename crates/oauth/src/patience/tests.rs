use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::endpoint::{TransportError, TransportFault};
use crate::fake::{FakeEndpoint, Reply, provider_application};
use crate::grant::{GrantRequest, Redemption};
use crate::source::tests::source;
use gatepost_config::{ClientAuthentication, Limits};
use gatepost_core::clock::Clock;
use gatepost_core::secret::{AuthorizationCode, CodeVerifier};

fn ask() -> TokenRequest {
    TokenRequest {
        application: provider_application(ClientAuthentication::Post, &[]),
        tenant: "t".into(),
        scope: "s".into(),
        grant: GrantRequest::ClientCredentials,
    }
}

fn fault(fault: TransportFault) -> FetchError {
    FetchError::Transport(TransportError::new(fault, "x"))
}

/// An authority that was found out of order.
async fn away(limits: &Limits) -> (Arc<FakeEndpoint>, TokenSource, Clock) {
    let endpoint = FakeEndpoint::new(|_| Reply::Unreachable);
    let (source, clock) = source(&endpoint, limits);
    for _ in 0..5 {
        assert!(source.fetch(&ask(), false).await.is_err());
    }
    (endpoint, source, clock)
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_followed_by_another_try_only_where_that_may_help_and_harms_nobody() {
    let (source, _) = source(&FakeEndpoint::new(|_| Reply::Silence), &Limits::default());
    let code = GrantRequest::AuthorizationCode(Arc::new(Redemption {
        code: AuthorizationCode::new("c".into()),
        redirect_uri: "http://localhost".into(),
        verifier: CodeVerifier::new("v".into()),
    }));
    let (plain, once) = (ask(), TokenRequest { grant: code, ..ask() });
    for (ask, waits, error, again) in [
        (&plain, true, fault(TransportFault::Timeout), true),
        (&plain, false, fault(TransportFault::Timeout), false),
        (&plain, true, fault(TransportFault::Certificate), false),
        (&plain, true, FetchError::NoTurn, false),
        (&once, true, fault(TransportFault::Timeout), false),
        (&once, true, fault(TransportFault::Connect), true),
    ] {
        let after = source.patience(ask, waits).after(error.clone());
        assert_eq!(after, if again { Ok(()) } else { Err(error) });
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_that_reached_the_network_is_told_in_the_end() {
    let limits = Limits::default();
    let (source, _) = source(&FakeEndpoint::new(|_| Reply::Silence), &limits);
    let (ask, busy) = (ask(), FetchError::Busy { status: 503, code: None });
    let (timeout, wait) = (fault(TransportFault::Timeout), Duration::from_secs(1));
    // The end of the first and of the second try, whether the deadline is over then, and what is told.
    for (first, second, late, told) in [
        (busy.clone(), FetchError::NoTurn, false, busy.clone()),
        (busy.clone(), FetchError::Paused { wait }, true, busy.clone()),
        (busy.clone(), timeout.clone(), true, busy.clone()),
        (busy.clone(), fault(TransportFault::Certificate), true, fault(TransportFault::Certificate)),
        (busy.clone(), fault(TransportFault::Certificate), false, fault(TransportFault::Certificate)),
        (FetchError::Suspended { wait }, FetchError::NoTurn, false, FetchError::NoTurn),
    ] {
        let mut patience = source.patience(&ask, true);
        assert_eq!(patience.after(first.clone()), Ok(()));
        if late {
            tokio::time::advance(limits.token_total).await;
        }
        assert_eq!(patience.after(second.clone()), Err(told), "{first:?}, {second:?}");
    }
    // Without a wait the first failure counts, because there is time left.
    let mut patience = source.patience(&ask, false);
    patience.failure = Some(busy);
    assert_eq!(patience.after(timeout.clone()), Err(timeout));
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_waited_for_only_a_moment() {
    let limits = Limits::default();
    let (_endpoint, source, clock) = away(&limits).await;
    let ask = ask();
    let patience = |waits| {
        let mut patience = source.patience(&ask, waits);
        patience.until() - Instant::now()
    };
    assert_eq!(patience(false), Duration::ZERO);
    clock.advance(limits.token_total);
    assert_eq!(patience(true), limits.token_total, "it has just begun");
    clock.advance(Duration::from_millis(1));
    assert_eq!(patience(true), LONG_OUTAGE);
    assert_eq!(patience(false), Duration::ZERO);
    let mut late = source.patience(&ask, true);
    tokio::time::advance(limits.token_total - Duration::from_secs(1)).await;
    assert_eq!(late.until() - Instant::now(), Duration::from_secs(1), "never beyond its own deadline");
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_waited_for_only_if_it_ends_in_time() {
    for (pause, total, waits, paused) in
        [("7", 50, true, false), ("7", 5, true, true), ("7", 50, false, true), ("120", 50, true, true)]
    {
        let limits = Limits { token_total: Duration::from_secs(total), ..Limits::default() };
        let asked = AtomicUsize::new(0);
        let endpoint = FakeEndpoint::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::Raw(429, Some(pause), "{}"),
            _ => Reply::Token(3600),
        });
        let (source, clock) = source(&endpoint, &limits);
        assert!(source.fetch(&ask(), false).await.is_err());
        let started = Instant::now();
        let ask = ask();
        let mut patience = source.patience(&ask, waits);
        let turn = patience.turn();
        tokio::pin!(turn);
        let first = tokio::time::timeout(Duration::from_secs(1), &mut turn).await;
        assert_eq!(first.is_ok(), paused, "{pause} {total} {waits}");
        match first {
            Ok(turn) => assert!(matches!(turn, Err(FetchError::Paused { .. })), "{turn:?}"),
            Err(_) => {
                clock.advance(Duration::from_secs(7));
                assert!(!turn.await.unwrap().probe);
                let waited = started.elapsed();
                assert!((7..9).contains(&waited.as_secs()), "the pause, and a spread of a second: {waited:?}");
            }
        }
        assert_eq!(endpoint.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_wait_for_an_outage_than_the_queue_has_places() {
    let limits = Limits { token_queue: 2, ..Limits::default() };
    let (endpoint, source, _) = away(&limits).await;
    let source = Arc::new(source);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.fetch(&ask(), true).await.map(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(waiting.iter().map(|fetch| fetch.is_finished()).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(endpoint.count(), 5, "nobody asks while it is not time for a probe");
    // Who goes away leaves a place for another.
    waiting[0].abort();
    tokio::task::yield_now().await;
    let next = Arc::clone(&source);
    let next = tokio::spawn(async move { next.fetch(&ask(), true).await.map(drop) });
    tokio::task::yield_now().await;
    assert!(!next.is_finished());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_go_on_as_soon_as_one_of_them_has_an_answer() {
    let (endpoint, source, clock) = away(&Limits::default()).await;
    let source = Arc::new(source);
    let waiting = {
        let source = Arc::clone(&source);
        tokio::spawn(async move { source.fetch(&ask(), true).await.map(drop) })
    };
    tokio::task::yield_now().await;
    endpoint.judge_by(|_| Reply::Token(3600));
    clock.advance(Duration::from_millis(1250));
    let started = Instant::now();
    assert!(source.fetch(&ask(), true).await.is_ok(), "the probe");
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn tries_are_apart() {
    let asked = AtomicUsize::new(0);
    let endpoint = FakeEndpoint::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0..4 => Reply::Unreachable,
        _ => Reply::Token(3600),
    });
    let (source, started) = (source(&endpoint, &Limits::default()).0, Instant::now());
    assert!(source.fetch(&ask(), true).await.is_ok());
    // By chance, but never all four of them without any.
    assert!(started.elapsed() > Duration::ZERO);
}
