use tokio::time::Instant;
use url::Url;

use super::*;
use crate::aadsts::Class;
use crate::endpoint::Exchange;
use crate::fake::{FakeEndpoint, Logged, PATH, Reply, provider_application};
use crate::grant::{GrantRequest, Redemption};
use gatepost_config::{Application, ClientAuthentication, Cloud, NotedSecret, Renewable};
use gatepost_core::account::MailAddress;
use gatepost_core::secret::{AuthorizationCode, ClientSecret, CodeVerifier, DeviceCode, RefreshToken};

fn ask(client_id: &str) -> TokenRequest {
    ask_with(client_id, Credential::None)
}

fn ask_with(client_id: &str, credential: Credential) -> TokenRequest {
    TokenRequest {
        application: Arc::new(Application {
            issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                authority: Url::parse("https://login.example/").unwrap(),
                tenant: "t".into(),
                cloud: Cloud::Worldwide,
            }),
            client_id: client_id.into(),
            credential: Arc::new(credential),
        }),
        tenant: "t".into(),
        scope: "s".into(),
        grant: GrantRequest::ClientCredentials,
    }
}

pub(crate) fn source(endpoint: &Arc<FakeEndpoint>, limits: &Limits) -> (TokenSource, Clock) {
    let clock = Clock::manual();
    (TokenSource::new(Arc::clone(endpoint) as Arc<dyn TokenEndpoint>, clock.clone(), limits), clock)
}

/// Gives these answers in order, then repeats the last.
fn in_turn<const N: usize>(replies: [Reply; N]) -> Arc<FakeEndpoint> {
    let turn = AtomicUsize::new(0);
    FakeEndpoint::new(move |_| replies[turn.fetch_add(1, Ordering::Relaxed).min(N - 1)].clone())
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_is_tried_again_and_a_refusal_is_not() {
    let endpoint = in_turn([Reply::Unreachable, Reply::Raw(503, None, "<html>"), Reply::Token(3600)]);
    let (source, _) = source(&endpoint, &Limits::default());
    assert_eq!(source.fetch(&ask("a"), true).await.unwrap().lifetime(), Duration::from_secs(3600));
    assert_eq!(endpoint.count(), 3);

    for (reply, is_refusal) in [
        (Reply::Denied(50126), true),
        (Reply::Raw(403, None, "<html>blocked"), false),
        (Reply::Raw(200, None, "<html>portal"), false),
        (Reply::Raw(200, None, r#"{"error":"invalid_grant"}"#), false),
        (Reply::Raw(400, None, r#"{"error":"inval"#), false),
    ] {
        let endpoint = in_turn([reply]);
        let error = self::source(&endpoint, &Limits::default()).0.fetch(&ask("a"), false).await.unwrap_err();
        assert_eq!(matches!(error, FetchError::Refused(_)), is_refusal, "{error:?}");
        assert_eq!(endpoint.count(), 1, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_sent_again_only_when_it_cannot_have_arrived() {
    let redemption = || TokenRequest {
        grant: GrantRequest::AuthorizationCode(Arc::new(Redemption {
            code: AuthorizationCode::new("c".into()),
            redirect_uri: "http://localhost".into(),
            verifier: CodeVerifier::new("v".into()),
        })),
        ..ask("a")
    };
    let endpoint = in_turn([Reply::Unreachable, Reply::Rotated(3600)]);
    let issued = source(&endpoint, &Limits::default()).0.issue(&redemption(), true).await.unwrap();
    assert_eq!((endpoint.count(), issued.refresh_token.unwrap().expose()), (2, "r2"));
    for reply in [Reply::Silence, Reply::Raw(503, None, "<html>"), Reply::Raw(429, None, "{}")] {
        let endpoint = in_turn([reply, Reply::Rotated(3600)]);
        assert!(source(&endpoint, &Limits::default()).0.issue(&redemption(), true).await.is_err());
        assert_eq!(endpoint.count(), 1, "its answer may have been lost");
    }
}

#[tokio::test(start_paused = true)]
async fn a_public_sign_in_sends_no_secret_unless_entra_wants_one() {
    let with_secret = |grant| {
        let secret = Renewable { value: Arc::new(ClientSecret::new("hush".into())), file: None };
        let credential = Credential::Secrets(vec![NotedSecret { secret, expires: None }]);
        TokenRequest { grant, ..ask_with("a", credential) }
    };
    let code = |redirect_uri: &str| {
        GrantRequest::AuthorizationCode(Arc::new(Redemption {
            code: AuthorizationCode::new("c".into()),
            redirect_uri: redirect_uri.into(),
            verifier: CodeVerifier::new("v".into()),
        }))
    };
    let refresh = || GrantRequest::RefreshToken {
        login: MailAddress::parse("a@contoso.example").unwrap(),
        refresh_token: Arc::new(RefreshToken::new("r".into())),
    };
    let sent = |endpoint: &FakeEndpoint| -> Vec<bool> {
        endpoint.asked().iter().map(|form| form.contains_key("client_secret")).collect()
    };
    for (grant, with) in [
        (code("http://localhost:4711"), false),
        (code("https://gatepost.example/sign-in"), true),
        (GrantRequest::DeviceCode(Arc::new(DeviceCode::new("d".into()))), false),
        (refresh(), false),
        (GrantRequest::ClientCredentials, true),
    ] {
        let endpoint = in_turn([Reply::Rotated(3600)]);
        source(&endpoint, &Limits::default()).0.issue(&with_secret(grant), true).await.unwrap();
        assert_eq!(sent(&endpoint), [with]);
    }
    let wanted = r#"{"error":"invalid_client","error_codes":[7000218]}"#;
    let endpoint = FakeEndpoint::new(move |form| match form.contains_key("client_secret") {
        true => Reply::Rotated(3600),
        false => Reply::Raw(401, None, wanted),
    });
    let (source, _) = source(&endpoint, &Limits::default());
    for _ in 0..2 {
        source.issue(&with_secret(refresh()), true).await.unwrap();
    }
    assert_eq!(sent(&endpoint), [false, true, true], "what Entra took is remembered");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_for_its_application_only() {
    let endpoint = in_turn([Reply::Raw(429, Some("120"), "{}"), Reply::Token(3600)]);
    let (source, clock) = source(&endpoint, &Limits::default());
    assert_eq!(source.fetch(&ask("a"), true).await.unwrap_err(), FetchError::Busy { status: 429, code: None });
    clock.advance(Duration::from_secs(119));
    let error = source.fetch(&ask("a"), false).await.unwrap_err();
    assert_eq!(error, FetchError::Paused { wait: Duration::from_secs(1) });
    assert_eq!(endpoint.count(), 1, "nothing went out in between");
    assert!(source.fetch(&ask("b"), true).await.is_ok());
    clock.advance(Duration::from_secs(1));
    assert!(source.fetch(&ask("a"), true).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_busy_endpoint_is_paused_only_when_it_says_so_and_within_reason() {
    for (reply, pause) in [
        (Reply::Raw(503, None, "<html>"), 0),
        (Reply::Raw(503, Some("7"), "<html>"), 7),
        (Reply::Raw(503, Some("3600"), "<html>"), 10),
        (Reply::Raw(429, None, "{}"), 5),
        (Reply::Raw(429, Some("3600"), "{}"), 3600),
    ] {
        let endpoint = in_turn([reply.clone(), Reply::Token(3600)]);
        let (source, clock) = source(&endpoint, &Limits::default());
        assert!(matches!(source.fetch(&ask("a"), false).await, Err(FetchError::Busy { .. })));
        if pause > 0 {
            clock.advance(Duration::from_secs(pause - 1));
            let held = source.fetch(&ask("a"), false).await.unwrap_err();
            assert_eq!(held, FetchError::Paused { wait: Duration::from_secs(1) }, "{reply:?}");
            clock.advance(Duration::from_secs(1));
        }
        assert!(source.fetch(&ask("a"), false).await.is_ok(), "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_costs_no_more_than_the_deadline() {
    let endpoint = in_turn([Reply::Silence]);
    let (source, _) = source(&endpoint, &Limits::default());
    let start = Instant::now();
    let error = source.fetch(&ask("a"), true).await.unwrap_err();
    assert!(matches!(&error, FetchError::Transport(e) if e.fault == TransportFault::Timeout), "{error:?}");
    assert!(start.elapsed() <= Limits::default().token_total, "{:?}", start.elapsed());
    assert!(endpoint.count() <= 5);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_spares_an_authority_that_is_down_and_finds_it_when_it_is_back() {
    let endpoint = in_turn([Reply::Unreachable]);
    let (source, clock) = source(&endpoint, &Limits::default());
    for _ in 0..5 {
        let error = source.fetch(&ask("a"), false).await.unwrap_err();
        assert!(matches!(error, FetchError::Transport(_)), "the cause, not the breaker: {error:?}");
    }
    assert!(matches!(source.fetch(&ask("b"), false).await, Err(FetchError::Suspended { .. })));
    assert_eq!(endpoint.count(), 5);
    endpoint.judge_by(|_| Reply::Token(3600));
    clock.advance(Duration::from_millis(1250));
    assert!(source.fetch(&ask("a"), false).await.is_ok(), "the probe");
    assert!(source.fetch(&ask("b"), false).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_must_correct_is_not_waited_for() {
    struct Untrusted;
    impl TokenEndpoint for Untrusted {
        fn exchange<'a>(&'a self, _: &'a TokenHttpRequest) -> Exchange<'a> {
            let fault = TransportFault::Certificate;
            Box::pin(async move { Err(TransportError::new(fault, "untrusted")) })
        }
    }
    let source = TokenSource::new(Arc::new(Untrusted), Clock::manual(), &Limits::default());
    let start = Instant::now();
    for _ in 0..10 {
        assert!(source.fetch(&ask("a"), true).await.is_err());
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn refused_users_never_open_the_breaker() {
    let endpoint = in_turn([Reply::Denied(50126)]);
    let (source, _) = source(&endpoint, &Limits::default());
    for _ in 0..50 {
        assert!(
            matches!(source.fetch(&ask("a"), true).await, Err(FetchError::Refused(e)) if e.class == Class::WrongPassword)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_and_in_the_queue_are_bounded() {
    let endpoint = in_turn([Reply::Token(3600)]);
    endpoint.close();
    let limits = Limits { token_requests: 2, token_queue: 3, ..Limits::default() };
    let source = Arc::new(source(&endpoint, &limits).0);
    let fetches: Vec<_> = (0..6)
        .map(|n| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.fetch(&ask(&n.to_string()), true).await.map(drop) })
        })
        .collect();
    // On one thread, all six have gone as far as they can before this goes on.
    tokio::task::yield_now().await;
    assert_eq!(endpoint.count(), 2);
    endpoint.open();
    let mut results = Vec::new();
    for fetch in fetches {
        results.push(fetch.await.unwrap());
    }
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    assert!(results.contains(&Err(FetchError::QueueFull)), "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gets_no_turn_in_time_is_told_so() {
    let endpoint = in_turn([Reply::Silence]);
    let limits = Limits { token_requests: 1, token_request: Duration::from_secs(100), ..Limits::default() };
    let source = Arc::new(source(&endpoint, &limits).0);
    let first = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.fetch(&ask("a"), true).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(source.fetch(&ask("b"), true).await.unwrap_err(), FetchError::NoTurn);
    assert!(first.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_device_code_begins_with_the_second_secret_where_the_first_is_refused() {
    let application = provider_application(ClientAuthentication::Post, &["old", "new"]);
    let endpoint = FakeEndpoint::new(|form| match (form[PATH].as_str(), form["client_secret"].as_str()) {
        ("/device", "new") => Reply::Raw(
            200,
            None,
            r#"{"device_code":"d","user_code":"U","verification_uri":"https://login.example/d","expires_in":900}"#,
        ),
        ("/token", "new") => Reply::Rotated(3600),
        _ => Reply::Raw(401, None, r#"{"error":"invalid_client"}"#),
    });
    let (source, _) = source(&endpoint, &Limits::default());
    let (_, begun) = source.authorize_device(&application, "", "mail").await.unwrap();
    let ask = TokenRequest {
        application,
        tenant: "".into(),
        scope: "mail".into(),
        grant: GrantRequest::DeviceCode(Arc::new(begun.device_code)),
    };
    source.issue(&ask, true).await.unwrap();
    let secrets: Vec<String> = endpoint.asked().iter().map(|form| form["client_secret"].clone()).collect();
    assert_eq!(secrets, ["old", "new", "new"], "what was taken is remembered");
    // With two wrong ones the refusal is told.
    let application = provider_application(ClientAuthentication::Post, &["old", "older"]);
    let refused = source.authorize_device(&application, "", "mail").await;
    assert!(matches!(&refused, Err(FetchError::Refused(error)) if error.error == "invalid_client"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_finds_nothing_yet_is_no_request_that_has_ended() {
    const PENDING: Reply = Reply::Raw(400, None, r#"{"error":"authorization_pending"}"#);
    let endpoint = in_turn([PENDING, PENDING, Reply::Rotated(3600)]);
    let metrics = Arc::new(Metrics::default());
    let source = source(&endpoint, &Limits::default()).0.with_metrics(Arc::clone(&metrics));
    let device_code = GrantRequest::DeviceCode(Arc::new(DeviceCode::new("d".into())));
    let polling = TokenRequest { grant: device_code, ..ask("a") };
    let counted = || {
        let text = metrics.open_metrics();
        text.lines().filter(|line| line.contains("device_code") && !line.ends_with(" 0")).count()
    };
    for _ in 0..2 {
        assert!(source.fetch(&polling, false).await.is_err());
        assert_eq!(counted(), 0);
    }
    assert!(source.fetch(&polling, false).await.is_ok());
    assert_eq!(counted(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_the_other_endpoint_and_the_other_limits_and_keeps_the_pauses() {
    let (before, after) = (in_turn([Reply::Raw(429, Some("7"), "{}")]), in_turn([Reply::Token(3600)]));
    let (source, clock) = source(&before, &Limits::default());
    assert!(source.fetch(&ask("a"), false).await.is_err());
    let limits = Limits { token_total: Duration::from_secs(3), ..Limits::default() };
    source.adjust(Arc::clone(&after) as Arc<dyn TokenEndpoint>, &limits);
    assert_eq!(source.total(), limits.token_total);
    let wait = Duration::from_secs(7);
    assert_eq!(source.fetch(&ask("a"), false).await.unwrap_err(), FetchError::Paused { wait });
    assert!(source.fetch(&ask("b"), false).await.is_ok());
    clock.advance(wait);
    assert!(source.fetch(&ask("a"), false).await.is_ok());
    assert_eq!((before.count(), after.count()), (1, 2));
    assert!(source.pauses.is_empty(), "what is over is forgotten");
}

#[test]
fn pauses_are_bounded_and_those_that_are_over_make_room() {
    let (source, clock) = source(&in_turn([Reply::Silence]), &Limits::default());
    let key = |number: usize| TupleKey::encode([&*number.to_string()]);
    let second = Duration::from_secs(1);
    for number in 0..PAUSES {
        source.pause(&key(number), second);
    }
    source.pause(&key(PAUSES), second);
    assert_eq!((source.pauses.len(), source.pauses.contains_key(&key(PAUSES))), (PAUSES, false));
    clock.advance(second);
    source.pause(&key(PAUSES), second);
    assert_eq!((source.pauses.len(), source.pauses.contains_key(&key(PAUSES))), (1, true));
}

#[tokio::test(start_paused = true)]
async fn the_credential_that_was_not_the_cause_comes_first_from_then_on() {
    const WRONG: Reply = Reply::Raw(401, None, r#"{"error":"invalid_client"}"#);
    const EXPIRED: Reply = Reply::Raw(400, None, r#"{"error":"invalid_grant"}"#);
    // What the second secret brings, which one comes first then, and how often that is told.
    for (second, next, told) in [
        (Reply::Token(3600), "new", 1),
        (EXPIRED, "new", 1),
        (Reply::Unreachable, "old", 0),
        (Reply::Raw(503, None, "<html>"), "old", 0),
    ] {
        let answer = second.clone();
        let endpoint =
            FakeEndpoint::new(move |form| if form["client_secret"] == "new" { answer.clone() } else { WRONG });
        let application = provider_application(ClientAuthentication::Post, &["old", "new"]);
        let (source, _) = source(&endpoint, &Limits::default());
        let log = Logged::begin();
        let ask = TokenRequest { application, ..ask("a") };
        let sent = || endpoint.asked().iter().map(|form| form["client_secret"].clone()).collect::<Vec<_>>();
        let _first = source.fetch(&ask, false).await;
        assert_eq!(sent(), ["old", "new"], "{second:?}");
        let _second = source.fetch(&ask, false).await;
        assert_eq!(sent()[2], next, "{second:?}");
        assert_eq!(log.count("takes another credential"), told, "{second:?}");
    }
    // The first one that is tried is no news.
    let (source, _) = source(&in_turn([Reply::Token(3600)]), &Limits::default());
    let application = provider_application(ClientAuthentication::Post, &["old", "new"]);
    let log = Logged::begin();
    assert!(source.fetch(&TokenRequest { application, ..ask("a") }, false).await.is_ok());
    assert_eq!(log.count("takes another credential"), 0);
}
