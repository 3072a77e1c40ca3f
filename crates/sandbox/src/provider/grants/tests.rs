//! The rules of codes, device codes and refresh tokens, whichever provider applies them.

use super::*;
use gatepost_core::clock::Clock;

const RULES: RefreshRules =
    RefreshRules { rotates: false, unused: Duration::from_secs(1_000_000), lifetime: None, most: 2 };
const USER: &str = "gus@gmail.example";
const REDIRECT: &str = "http://127.0.0.1:1/";

fn asked() -> Asked {
    Asked { client_id: "app".into(), scopes: vec!["mail".into(), "email".into()], nonce: None, offline: true }
}

fn person() -> Person {
    Person(USER.to_owned())
}

/// Grants with a code whose verifier is `verifier`.
fn with_code(clock: &Clock) -> (Grants, String) {
    let grants = Grants::new("1//");
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, b"verifier"));
    let binding = Binding { redirect_uri: REDIRECT.to_owned(), challenge: Some(Challenge::S256(challenge)) };
    let code = grants.code("4/", asked(), binding, person(), clock.now()).unwrap();
    (grants, code)
}

#[test]
fn a_code_is_redeemed_once_by_its_client_with_its_verifier_in_time() {
    let clock = Clock::manual();
    let (grants, code) = with_code(&clock);
    let redeem = |code: &str, client, redirect, verifier| {
        grants.redeem(code, client, redirect, verifier, (RULES, clock.now())).map(|granted| granted.refresh_token)
    };
    let (redirect, verifier) = (Some(REDIRECT), Some("verifier"));
    assert_eq!(redeem("4/x", "app", redirect, verifier), Err(GrantProblem::Unknown));
    assert_eq!(redeem(&code, "other", redirect, verifier), Err(GrantProblem::OtherClient));
    assert_eq!(redeem(&code, "app", Some("http://127.0.0.1:2/"), verifier), Err(GrantProblem::OtherRedirect));
    assert_eq!(redeem(&code, "app", None, verifier), Err(GrantProblem::OtherRedirect));
    assert_eq!(redeem(&code, "app", redirect, None), Err(GrantProblem::MissingVerifier));
    assert_eq!(redeem(&code, "app", redirect, Some("another")), Err(GrantProblem::WrongVerifier));
    let token = redeem(&code, "app", redirect, verifier).unwrap().unwrap();
    assert!(token.starts_with("1//"));
    let refresh = |token: &str| grants.refresh(token, "app", None, (RULES, clock.now())).map(|granted| granted.user);
    assert_eq!(refresh(&token).as_deref(), Ok(USER));
    assert_eq!(redeem(&code, "app", redirect, verifier), Err(GrantProblem::Used));
    assert_eq!(refresh(&token), Err(GrantProblem::Ended), "the second use of a code ends what the first gave");

    let (grants, code) = with_code(&clock);
    clock.advance(CODE_LIFETIME);
    let late = grants.redeem(&code, "app", redirect, verifier, (RULES, clock.now()));
    assert_eq!(late.unwrap_err(), GrantProblem::Unknown);
}

#[test]
fn a_refresh_token_stays_or_rotates_as_the_rules_say() {
    let clock = Clock::manual();
    let grants = Grants::new("r");
    let begin = |rules| grants.begin(asked(), person(), (rules, clock.now())).unwrap().refresh_token.unwrap();
    let refresh = |token: &str, rules| {
        grants.refresh(token, "app", None, (rules, clock.now())).map(|granted| granted.refresh_token)
    };
    let steady = begin(RULES);
    assert_eq!(refresh(&steady, RULES), Ok(None));
    assert_eq!(refresh(&steady, RULES), Ok(None), "it is good again and again, and is not repeated");

    let rules = RefreshRules { rotates: true, ..RULES };
    let first = begin(rules);
    let second = refresh(&first, rules).unwrap().unwrap();
    assert_ne!(first, second);
    assert_eq!(refresh(&first, rules), Err(GrantProblem::Ended), "a token that was replaced");
    assert_eq!(refresh(&second, rules), Err(GrantProblem::Ended), "its second use ends the sign-in");
    assert_eq!(refresh("unknown", rules), Err(GrantProblem::Unknown));
}

#[test]
fn a_refresh_token_ends_by_age_by_number_and_with_the_person() {
    let clock = Clock::manual();
    let grants = Grants::new("r");
    let begin = || grants.begin(asked(), person(), (RULES, clock.now())).unwrap();
    let refresh = |token: &Option<String>, rules| {
        grants.refresh(token.as_deref().unwrap(), "app", None, (rules, clock.now())).map(|granted| granted.number)
    };
    let (first, second) = (begin(), begin());
    let third = begin();
    assert_eq!(refresh(&first.refresh_token, RULES), Err(GrantProblem::Ended), "one too many: the oldest ends");
    assert!(grants.has_ended(first.number));
    assert_eq!(refresh(&second.refresh_token, RULES), Ok(second.number));
    grants.end(second.number);
    assert_eq!(refresh(&second.refresh_token, RULES), Err(GrantProblem::Ended));
    clock.advance(Duration::from_secs(100));
    let short = RefreshRules { lifetime: Some(Duration::from_secs(100)), ..RULES };
    assert_eq!(refresh(&third.refresh_token, short), Err(GrantProblem::Ended));
    let fourth = begin();
    clock.advance(Duration::from_secs(50));
    let unused = RefreshRules { unused: Duration::from_secs(50), ..RULES };
    assert_eq!(refresh(&fourth.refresh_token, unused), Err(GrantProblem::Ended));
    let fifth = begin();
    assert_eq!(grants.sign_in_of(fifth.refresh_token.as_deref().unwrap()), Some((fifth.number, USER.to_owned())));
    grants.end_all_of("GUS@gmail.example");
    assert_eq!(refresh(&fifth.refresh_token, RULES), Err(GrantProblem::Ended));
}

#[test]
fn a_refresh_gives_no_more_than_was_granted_and_to_nobody_else() {
    let clock = Clock::manual();
    let grants = Grants::new("r");
    let token = grants.begin(asked(), person(), (RULES, clock.now())).unwrap().refresh_token.unwrap();
    let refresh = |client, scope: &str| {
        let scopes = Some(vec![scope.to_owned()]);
        grants.refresh(&token, client, scopes, (RULES, clock.now())).map(|granted| granted.asked.scopes)
    };
    assert_eq!(refresh("app", "mail"), Ok(vec!["mail".to_owned()]));
    assert_eq!(refresh("app", "contacts"), Err(GrantProblem::BeyondScope));
    assert_eq!(refresh("other", "mail"), Err(GrantProblem::OtherClient));
}

#[test]
fn a_device_waits_for_its_person_at_its_pace() {
    let clock = Clock::manual();
    let grants = Grants::new("r");
    let device = || grants.device(asked(), (Duration::from_secs(600), Duration::from_secs(5)), clock.now()).unwrap();
    let codes = device();
    let poll = |codes: &DeviceCodes, client| {
        grants.poll(&codes.device_code, client, (RULES, clock.now())).map(|granted| granted.user)
    };
    assert_eq!(poll(&codes, "other"), Err(GrantProblem::Unknown));
    assert_eq!(poll(&codes, "app"), Err(GrantProblem::Pending));
    assert_eq!(poll(&codes, "app"), Err(GrantProblem::SlowDown));
    clock.advance(Duration::from_secs(9));
    assert_eq!(poll(&codes, "app"), Err(GrantProblem::SlowDown), "the pace is ten seconds now");
    clock.advance(Duration::from_secs(15));
    assert_eq!(poll(&codes, "app"), Err(GrantProblem::Pending));
    assert!(grants.is_pending(&codes.user_code.replace('-', "").to_lowercase(), clock.now()));
    grants.decide(&codes.user_code, Some(person()), clock.now());
    clock.advance(Duration::from_secs(15));
    assert_eq!(poll(&codes, "app").as_deref(), Ok(USER));
    assert_eq!(poll(&codes, "app"), Err(GrantProblem::Unknown), "once only");

    let declined = device();
    grants.decide(&declined.user_code, None, clock.now());
    assert_eq!(poll(&declined, "app"), Err(GrantProblem::Declined));
    let late = device();
    clock.advance(Duration::from_secs(600));
    assert_eq!(poll(&late, "app"), Err(GrantProblem::Expired));
}
