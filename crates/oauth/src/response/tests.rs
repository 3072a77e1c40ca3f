use proptest::prelude::*;

use super::*;

fn answered(status: u16, body: &[u8]) -> Result<Granted, NotGranted> {
    parse(status, body, Dialect::ENTRA)
}

fn begun_with(status: u16, body: &[u8]) -> Result<DeviceAuthorization, NotGranted> {
    parse_device(status, body, Dialect::ENTRA)
}

fn lifetime(expires_in: &str) -> Result<u64, NotGranted> {
    let body = format!(r#"{{"token_type":"Bearer","access_token":"eyJ0.e-30_~+/="{expires_in}}}"#);
    answered(200, body.as_bytes()).map(|granted| granted.lifetime.as_secs())
}

fn why(status: u16, body: impl AsRef<[u8]>) -> &'static str {
    match answered(status, body.as_ref()) {
        Err(NotGranted::Unclear { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_is_taken() {
    let body = br#"{"token_type":"Bearer","scope":"x","expires_in":4217,"ext_expires_in":4217,"access_token":"eyJ0.a-b_c","new":{"a":[1]}}"#;
    let granted = answered(200, body).unwrap();
    assert_eq!(granted.access_token.expose(), "eyJ0.a-b_c");
    assert_eq!(granted.lifetime, Duration::from_secs(4217));
}

#[test]
fn expires_in_comes_as_number_or_text_and_is_kept_within_reason() {
    for (given, seconds) in [
        ("", 3600),
        (r#","expires_in":"3599""#, 3599),
        (r#","expires_in":0"#, 60),
        (r#","expires_in":3599.5"#, 3599),
        (r#","expires_in":18446744073709551615"#, 28 * 3600),
        (r#","expires_in":null"#, 3600),
    ] {
        assert_eq!(lifetime(given), Ok(seconds), "{given}");
    }
    for given in [r#","expires_in":"soon""#, r#","expires_in":[]"#, r#","expires_in":"-1""#] {
        assert!(lifetime(given).is_err(), "{given}");
    }
}

#[test]
fn what_is_no_token_is_not_used() {
    let answer = |kind: &str, token: &str| format!(r#"{{"token_type":"{kind}","access_token":"{token}"}}"#);
    for (body, reason) in [
        (answer("mac", "abc"), "a `token_type` that is not Bearer"),
        (r#"{"access_token":"abc"}"#.into(), "a `token_type` that is not Bearer"),
        (r#"{"token_type":"Bearer"}"#.into(), "no `access_token` in it"),
        (r#"{"error":"invalid_grant","error_codes":[50126]}"#.into(), "success and error at once"),
        ("<html>Please log in to the guest network</html>".into(), "not JSON"),
        (String::new(), "not JSON"),
        (r#"{"token_type":"Bearer","access_tok"#.into(), "JSON that is broken or of another shape"),
        (format!("{{\"a\":{}{}}}", "[".repeat(16), "]".repeat(16)), "nested too deeply"),
    ] {
        assert_eq!(why(200, &body), reason, "{body}");
    }
    for token in ["", "a b", "a\\u0001b", "a\\r\\nb", "===", "a=b", &"x".repeat(TOKEN_OCTETS + 1)] {
        assert!(why(200, answer("Bearer", token)).starts_with("an `access_token` with other"), "{token}");
    }
    assert_eq!(why(200, " ".repeat(ANSWER_OCTETS + 1)), "longer than 256 KiB");
    assert_eq!(why(302, "{}"), "a redirect");
    assert_eq!(why(403, "<html>blocked by policy</html>"), "not JSON");
    assert_eq!(why(400, "{}"), "no `error` in it");
    // Brackets inside strings do not nest.
    assert!(
        answered(
            200,
            format!(r#"{{"token_type":"bearer","access_token":"a","x":"{}\"["}}"#, "[".repeat(99)).as_bytes()
        )
        .is_ok()
    );
}

#[test]
fn a_sign_in_brings_a_refresh_token_and_says_who() {
    let with = |fields: &str| format!(r#"{{"token_type":"Bearer","access_token":"a",{fields}}}"#);
    let granted = answered(200, with(r#""refresh_token":"0.AX x~","id_token":"e30.e30.x""#).as_bytes()).unwrap();
    assert_eq!(granted.refresh_token.unwrap().expose(), "0.AX x~");
    assert_eq!(granted.id_token.unwrap().expose(), "e30.e30.x");
    for (member, scope) in [
        (r#""scope":"mail openid""#, Some("mail openid")),
        (r#""scope":["mail","openid"]"#, Some("mail openid")),
        (r#""scope":"""#, None),
        (r#""scope":null"#, None),
        (r#""scope":{}"#, None),
    ] {
        assert_eq!(answered(200, with(member).as_bytes()).unwrap().scope.as_deref(), scope, "{member}");
    }
    for (fields, reason) in [
        (r#""refresh_token":"""#, "a `refresh_token` with other characters"),
        (r#""refresh_token":"a\u0000b""#, "a `refresh_token` with other characters"),
        (r#""id_token":"a b""#, "an `id_token` that is none"),
        (r#""refresh_token":7"#, "JSON that is broken or of another shape"),
    ] {
        assert!(why(200, with(fields)).starts_with(reason), "{fields}");
    }
}

#[test]
fn a_device_authorization_is_kept_within_reason() {
    let body = |expires: &str, interval: &str| {
        format!(
            r#"{{"device_code":"GAQ x","user_code":"F2WX-K7Z9","verification_uri":"https://microsoft.com/devicelogin",
            "expires_in":{expires},"interval":{interval},"message":"To sign in, …"}}"#
        )
    };
    let begun = |expires, interval| begun_with(200, body(expires, interval).as_bytes());
    let usual = begun("900", "\"5\"").unwrap();
    assert_eq!((usual.user_code.as_str(), usual.device_code.expose()), ("F2WX-K7Z9", "GAQ x"));
    assert_eq!((usual.lifetime.as_secs(), usual.interval.as_secs()), (900, 5));
    let odd = begun("1", "0").unwrap();
    assert_eq!((odd.lifetime.as_secs(), odd.interval.as_secs()), (60, 1));
    assert!(begun("900", "[]").is_err());
    for (from, to) in [("GAQ x", ""), ("F2WX", "\\u001b[2J"), ("https:", "http:"), ("F2WX-K7Z9", "")] {
        let refused = begun_with(200, body("900", "5").replace(from, to).as_bytes());
        assert!(matches!(refused, Err(NotGranted::Unclear { .. })), "{from}");
    }
    let refused = begun_with(400, br#"{"error":"unauthorized_client","error_codes":[700016]}"#);
    assert!(matches!(refused, Err(NotGranted::Refused(OauthError { code: Some(700_016), .. }))));
}

#[test]
fn an_oauth_error_is_classified() {
    let body =
        br#"{"error":"invalid_grant","error_description":"AADSTS50126: Error validating credentials. Trace ID: x",
        "error_codes":[50126],"timestamp":"2026-11-22 08:00:00Z","trace_id":"ab-12\r\nx","correlation_id":"c"}"#;
    assert_eq!(
        answered(400, body).unwrap_err(),
        NotGranted::Refused(OauthError {
            class: Class::WrongPassword,
            error: "invalid_grant".into(),
            code: Some(50126),
            sentence: Some("Error validating credentials".into()),
            trace_id: Some("ab-12x".into()),
            presented: None,
        })
    );
}

#[test]
fn the_description_gives_a_code_to_show_but_no_verdict() {
    let body = br#"{"error":"invalid_grant","error_description":"AADSTS50126: wrong"}"#;
    let Err(NotGranted::Refused(error)) = answered(400, body) else { panic!() };
    assert_eq!((error.code, error.class), (Some(50126), Class::SignInNeeded));
}

#[test]
fn what_microsoft_says_is_shown_without_ids() {
    for (description, shown) in [
        (
            "AADSTS999999: The app '0a1b2c3d-0000-4111-8222-333344445555'(mail) needs a thing. Ask for it. Trace ID: \
             f0 Correlation ID: c0 Timestamp: 2026-11-22 08:00:00Z",
            Some("The app '(id)'(mail) needs a thing. Ask for it"),
        ),
        ("AADSTS1: One line.\r\nTrace ID: f0\r\nCorrelation ID: c0", Some("One line")),
        ("No code: nothing `else`\u{1b}[2J", Some("No code: nothing else[2J")),
        ("AADSTS1: Trace ID: f0", None),
        ("", None),
    ] {
        assert_eq!(sentence(description).as_deref(), shown, "{description}");
    }
    assert!(sentence(&"long ".repeat(1000)).unwrap().len() <= SENTENCE_OCTETS);
    assert_eq!(sentence(&"x".repeat(1000)), None);
}

#[test]
fn an_error_of_another_provider_counts_as_a_form_too_but_not_within_something_else() {
    let refused = |status, body: &str| match parse(status, body.as_bytes(), Dialect::RFC_6749) {
        Err(NotGranted::Refused(error)) => Some(error.error),
        _ => None,
    };
    let form = "error=invalid_grant&error_description=It+has+ended.";
    for status in [200, 400] {
        assert_eq!(refused(status, form).as_deref(), Some("invalid_grant"));
        let json = r#"{"error":"invalid_grant","error_description":"see https://x.example/?a=b&error=access_denied"}"#;
        assert_eq!(refused(status, json).as_deref(), Some("invalid_grant"));
        let html = "<a href=\"https://portal.example/?a=b&error=access_denied\">x</a>";
        assert_eq!(refused(status, html), None);
    }
    for status in [100, 204, 302, 429, 503] {
        assert_eq!(refused(status, form), None, "{status}");
    }
    assert!(matches!(answered(400, form.as_bytes()), Err(NotGranted::Unclear { .. })), "Entra writes no forms");
}

#[test]
fn the_nesting_counts_brackets_outside_of_strings_only() {
    for (json, deepest) in [
        (r#"{}"#, 1),
        (r#"{"a":[1,{"b":2}],"c":{}}"#, 3),
        (r#"[[],[],[]]"#, 2),
        (r#"{"a":"[[[[{{{{"}"#, 1),
        (r#"{"a":"]]]]","b":[[1]]}"#, 3),
        (r#"{"a":"\"[[[["}"#, 1),
        (r#"{"a":"\\","b":[1]}"#, 2),
        (r#"{"a":"\\\"[[","b":[1]}"#, 2),
    ] {
        assert_eq!(depth(json.as_bytes()), deepest, "{json}");
    }
    let nested = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert_eq!(why(200, nested(JSON_DEPTH - 1)), "a `token_type` that is not Bearer");
    assert_eq!(why(200, nested(JSON_DEPTH)), "nested too deeply");
}

#[test]
fn an_answer_may_have_the_full_length_and_no_octet_more() {
    let error = r#"{"error":"invalid_grant"}"#;
    let body = |length: usize| format!("{error}{}", " ".repeat(length - error.len()));
    assert!(matches!(answered(400, body(ANSWER_OCTETS).as_bytes()), Err(NotGranted::Refused(_))));
    assert_eq!(why(400, body(ANSWER_OCTETS + 1)), "longer than 256 KiB");
    let form = |length: usize| format!("error=access_denied&x={}", "y".repeat(length - 22));
    let read = |length| Form::read(form(length).as_bytes()).map(|form| form.error);
    assert_eq!(read(FORM_OCTETS).as_deref(), Some("access_denied"));
    assert_eq!(read(FORM_OCTETS + 1), None);
    // A word that would make the sentence too long ends it.
    let text = |last: usize| format!("{} {}", "x".repeat(119), "y".repeat(last));
    assert_eq!(sentence(&text(120)).unwrap().len(), SENTENCE_OCTETS);
    assert_eq!(sentence(&text(121)).unwrap().len(), 119);
}

#[test]
fn what_a_server_writes_reaches_the_log_without_what_could_forge_it() {
    for (error, shown) in
        [("invalid_grant", "invalid_grant"), ("in valid\"gr\\ant", "invalidgrant"), ("a\r\nb\u{1b}[2J\u{e4}", "ab[2J")]
    {
        assert_eq!(error_word(error), shown, "{error:?}");
    }
    assert_eq!(error_word(&"x".repeat(65)).len(), 64);
    let form = b"error=invalid_grant&error_description=It+has+ended.";
    let Err(NotGranted::Refused(error)) = parse(400, form, Dialect::RFC_6749) else { panic!() };
    assert_eq!(error.sentence.as_deref(), Some("It has ended"));
}

#[test]
fn codes_count_as_numbers_and_as_texts() {
    for (codes, code) in [
        ("[50126]", Some(50126)),
        (r#"["50126"]"#, Some(50126)),
        (r#"["x",7]"#, Some(7)),
        ("[-1,99999999999]", None),
        ("50126", None),
    ] {
        let body = format!(r#"{{"error":"invalid_grant","error_codes":{codes}}}"#);
        let Err(NotGranted::Refused(error)) = answered(400, body.as_bytes()) else { panic!("{codes}") };
        assert_eq!(error.code, code, "{codes}");
    }
}

#[test]
fn throttling_and_outages_are_never_refusals() {
    let body = br#"{"error":"invalid_grant","error_codes":[50126]}"#;
    for status in [408, 429, 500, 502, 503, 504] {
        assert_eq!(answered(status, body).unwrap_err(), NotGranted::Busy { status, code: Some(50126) });
        assert_eq!(answered(status, b"<html>").unwrap_err(), NotGranted::Busy { status, code: None });
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = answered(status, &body);
    }

    #[test]
    fn a_cut_answer_is_never_a_verdict(cut in 0_usize..96) {
        let whole = br#"{"error":"invalid_grant","error_description":"AADSTS50126: wrong","error_codes":[50126],"x":"y"}"#;
        let is_unclear = matches!(answered(400, &whole[..cut.min(whole.len() - 1)]), Err(NotGranted::Unclear { .. }));
        prop_assert!(is_unclear);
    }
}
