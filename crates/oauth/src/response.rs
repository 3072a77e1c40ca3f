//! Parses answers of the token endpoint (RFC 6749 §5) by status and `error`. Pure. Whatever is not
//! clearly an OAuth answer counts as an outage, because a proxy, a portal or a gateway may have
//! written it.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::aadsts::{self, Class};
use crate::presented::Presented;
use crate::rfc6749;
use gatepost_core::account::is_guid;
use gatepost_core::secret::{AccessToken, DeviceCode, IdToken, RefreshToken};

/// Most octets of an answer that are read; a real answer has about 2 to 32 KiB.
pub const ANSWER_OCTETS: usize = 256 * 1024;

/// The longest token of any kind that is accepted.
pub const TOKEN_OCTETS: usize = 64 * 1024;

/// The longest lifetime that is assumed of a token: Entra's live up to 28 hours.
pub const LONGEST_LIFE: Duration = Duration::from_secs(28 * 3600);

/// The longest part of Microsoft's own explanation that is shown.
const SENTENCE_OCTETS: usize = 240;

/// The longest error that is read as a form.
const FORM_OCTETS: usize = 4 * 1024;

/// The deepest JSON nesting that is parsed; a real answer has two levels.
const JSON_DEPTH: usize = 16;

/// A token that Entra gave.
#[derive(Debug)]
pub struct Granted {
    /// The token, `b64token` characters of RFC 6750 §2.1 only, 1 to [`TOKEN_OCTETS`].
    pub access_token: AccessToken,
    /// How long the token is valid, counted from the moment of the request; between 60 seconds and
    /// 28 hours.
    pub lifetime: Duration,
    /// The refresh token, where the grant gives one and `offline_access` was asked for.
    pub refresh_token: Option<RefreshToken>,
    /// Who signed in, where `openid` was asked for.
    pub id_token: Option<IdToken>,
    /// The scope of the token (RFC 6749 §5.1); `None` if the server does not say.
    pub scope: Option<String>,
}

/// A sign-in by device code that has begun (RFC 8628 §3.2).
#[derive(Debug)]
pub struct DeviceAuthorization {
    /// The code that the polls send.
    pub device_code: DeviceCode,
    /// What the person types in: letters, digits and hyphens, 1 to 64.
    pub user_code: String,
    /// Where the person types it in.
    pub verification_uri: Url,
    /// How long the codes are valid; between 60 seconds and an hour.
    pub lifetime: Duration,
    /// The least time between two polls; between 1 and 60 seconds.
    pub interval: Duration,
}

/// How an authorization server words its answers.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The class of an `error` with its `suberror` and `error_codes`.
    pub(crate) classify: fn(&str, Option<&str>, &[u32]) -> Class,
    /// Whether errors may also come with status 200, or as a form, which RFC 6749 does not allow but
    /// some servers do.
    pub(crate) is_lenient: bool,
}

impl Dialect {
    /// Entra, and the platform's endpoints for managed identities.
    pub const ENTRA: Self = Self { classify: aadsts::classify, is_lenient: false };
    /// Another provider.
    pub const RFC_6749: Self = Self { classify: rfc6749::classify, is_lenient: true };
}

/// Why an answer brings no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGranted {
    /// An OAuth error (RFC 6749 §5.2).
    Refused(OauthError),
    /// The endpoint is throttling or out of order: 408, 429 or 5xx.
    Busy {
        /// The HTTP status.
        status: u16,
        /// Entra's own code, if it gave one.
        code: Option<u32>,
    },
    /// Not an answer of a token endpoint.
    Unclear {
        /// The HTTP status.
        status: u16,
        /// What was wrong with it, as a clause.
        why: &'static str,
    },
}

/// An OAuth error, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthError {
    /// The kind.
    pub class: Class,
    /// The `error`, as far as its characters are those of RFC 6749 §5.2 and not more than 64.
    pub error: String,
    /// Entra's own code, for people.
    pub code: Option<u32>,
    /// What Microsoft says about it, without ids: one line of printable ASCII.
    pub sentence: Option<String>,
    /// The trace id, which Microsoft's support asks for.
    pub trace_id: Option<String>,
    /// What the application showed, where the refusal may be about that.
    pub presented: Option<Box<Presented>>,
}

#[derive(Default, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error_description: Option<Cow<'a, str>>,
    error_codes: Option<Value>,
    #[serde(borrow)]
    suberror: Option<Cow<'a, str>>,
    #[serde(borrow)]
    trace_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_type: Option<Cow<'a, str>>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    expires_in: Option<Value>,
    /// A text, or with some servers a list.
    scope: Option<Value>,
    device_code: Option<String>,
    #[serde(borrow)]
    user_code: Option<Cow<'a, str>>,
    // The v1.0 endpoint uses the older name of this field.
    #[serde(borrow, alias = "verification_url")]
    verification_uri: Option<Cow<'a, str>>,
    interval: Option<Value>,
}

/// Judges an answer to a token request.
///
/// # Errors
/// [`NotGranted`] when it brings no usable token.
pub fn parse(status: u16, body: &[u8], dialect: Dialect) -> Result<Granted, NotGranted> {
    judge(status, body, dialect, Body::granted)
}

/// Judges an answer to a device authorization request (RFC 8628 §3.2).
///
/// # Errors
/// [`NotGranted`] when it brings no codes.
pub fn parse_device(status: u16, body: &[u8], dialect: Dialect) -> Result<DeviceAuthorization, NotGranted> {
    judge(status, body, dialect, Body::device_authorization)
}

/// Judges an answer to a revocation request (RFC 7009 §2.2). A token that the server does not know
/// counts as revoked.
///
/// # Errors
/// [`NotGranted`] when the token may still be valid.
pub fn parse_revocation(status: u16, body: &[u8]) -> Result<(), NotGranted> {
    match judge(status, body, Dialect::RFC_6749, |_| Ok(())) {
        // Google says so of a token that is revoked already.
        Err(NotGranted::Refused(error)) if error.error == "invalid_token" => Ok(()),
        // The status alone counts, so the body may be anything, except the page of a portal.
        Err(NotGranted::Unclear { status: 200, .. }) if body.trim_ascii_start().first() != Some(&b'<') => Ok(()),
        judged => judged,
    }
}

fn judge<'a, T>(
    status: u16,
    body: &'a [u8],
    dialect: Dialect,
    take: impl FnOnce(Body<'a>) -> Result<T, &'static str>,
) -> Result<T, NotGranted> {
    let unclear = |why| NotGranted::Unclear { status, why };
    let busy = matches!(status, 408 | 429 | 500..=599);
    if dialect.is_lenient
        && !busy
        && let Some(error) = Form::read(body).and_then(|form| form.as_body().refused(dialect))
    {
        return Err(NotGranted::Refused(error));
    }
    match read(body) {
        Ok(answer) if busy => Err(NotGranted::Busy { status, code: answer.code() }),
        Err(_) if busy => Err(NotGranted::Busy { status, code: None }),
        Err(why) => Err(unclear(why)),
        Ok(answer) => match status {
            200 if answer.error.is_some() && !dialect.is_lenient => Err(unclear("success and error at once")),
            200 if answer.error.is_none() => take(answer).map_err(unclear),
            200 | 400..=499 => answer
                .refused(dialect)
                .map_or_else(|| Err(unclear("no `error` in it")), |e| Err(NotGranted::Refused(e))),
            300..=399 => Err(unclear("a redirect")),
            _ => Err(unclear("an unexpected status")),
        },
    }
}

/// An error that a server has written as a form.
struct Form {
    error: String,
    description: Option<String>,
}

impl Form {
    /// Reads a form that has an `error`. An address within JSON or HTML may look like one.
    fn read(body: &[u8]) -> Option<Self> {
        let of_no_form = |octet: &u8| !octet.is_ascii() || b"{}<>\"".contains(octet);
        if body.len() > FORM_OCTETS || body.iter().any(of_no_form) {
            return None;
        }
        let value =
            |key: &str| form_urlencoded::parse(body).find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
        Some(Self { error: value("error")?, description: value("error_description") })
    }

    fn as_body(&self) -> Body<'_> {
        Body {
            error: Some(Cow::Borrowed(&self.error)),
            error_description: self.description.as_deref().map(Cow::Borrowed),
            ..Body::default()
        }
    }
}

fn read(body: &[u8]) -> Result<Body<'_>, &'static str> {
    if body.len() > ANSWER_OCTETS {
        return Err("longer than 256 KiB");
    }
    let text = std::str::from_utf8(body).map_err(|_| "not UTF-8")?;
    if !text.trim_start().starts_with('{') {
        return Err("not JSON");
    }
    if depth(body) > JSON_DEPTH {
        return Err("nested too deeply");
    }
    serde_json::from_str(text).map_err(|_| "JSON that is broken or of another shape")
}

/// The deepest nesting of brackets outside strings.
fn depth(json: &[u8]) -> usize {
    let (mut deepest, mut open, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for &octet in json {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Body<'_> {
    fn granted(self) -> Result<Granted, &'static str> {
        if !self.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
            return Err("a `token_type` that is not Bearer");
        }
        let token = self.access_token.ok_or("no `access_token` in it")?;
        if !is_b64token(&token) {
            return Err("an `access_token` with other characters than RFC 6750 allows, or of an impossible length");
        }
        let seconds = whole_seconds(self.expires_in.as_ref(), 3600).ok_or("an impossible `expires_in`")?;
        if self.refresh_token.as_deref().is_some_and(|token| !is_opaque(token)) {
            return Err("a `refresh_token` with other characters than RFC 6749 allows, or of an impossible length");
        }
        if self.id_token.as_deref().is_some_and(|token| !is_b64token(token)) {
            return Err("an `id_token` that is none");
        }
        Ok(Granted {
            access_token: AccessToken::new(token),
            lifetime: Duration::from_secs(seconds.max(60)).min(LONGEST_LIFE),
            refresh_token: self.refresh_token.map(RefreshToken::new),
            id_token: self.id_token.map(IdToken::new),
            scope: self.scope.as_ref().and_then(scope),
        })
    }

    fn device_authorization(self) -> Result<DeviceAuthorization, &'static str> {
        let device_code = self.device_code.filter(|code| is_opaque(code)).ok_or("no usable `device_code` in it")?;
        let typed = |code: &Cow<'_, str>| {
            (1..=64).contains(&code.len()) && code.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        let user_code = self.user_code.filter(typed).ok_or("no usable `user_code` in it")?;
        let verification_uri = self.verification_uri.as_deref().and_then(|uri| Url::parse(uri).ok());
        let verification_uri =
            verification_uri.filter(|uri| uri.scheme() == "https").ok_or("no usable `verification_uri` in it")?;
        let lifetime = whole_seconds(self.expires_in.as_ref(), 900).ok_or("an impossible `expires_in`")?;
        let interval = whole_seconds(self.interval.as_ref(), 5).ok_or("an impossible `interval`")?;
        Ok(DeviceAuthorization {
            device_code: DeviceCode::new(device_code),
            user_code: user_code.into_owned(),
            verification_uri,
            lifetime: Duration::from_secs(lifetime.clamp(60, 3600)),
            interval: Duration::from_secs(interval.clamp(1, 60)),
        })
    }

    fn refused(&self, dialect: Dialect) -> Option<OauthError> {
        let error = self.error.as_deref()?;
        Some(OauthError {
            class: (dialect.classify)(error, self.suberror.as_deref(), &self.codes()),
            error: error_word(error),
            code: self.code(),
            sentence: self.error_description.as_deref().and_then(sentence),
            trace_id: self
                .trace_id
                .as_deref()
                .map(|id| printable(id, |c| c.is_ascii_alphanumeric() || c == '-'))
                .filter(|id| !id.is_empty()),
            presented: None,
        })
    }

    fn codes(&self) -> Vec<u32> {
        let one = |value: &Value| match value {
            Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match &self.error_codes {
            Some(Value::Array(values)) => values.iter().take(8).filter_map(one).collect(),
            _ => Vec::new(),
        }
    }

    /// The code to show: the first of `error_codes`, else the digits at the very start of the
    /// description.
    fn code(&self) -> Option<u32> {
        self.codes().first().copied().or_else(|| code_in(self.error_description.as_deref()?))
    }
}

impl OauthError {
    /// The error of a redirect (RFC 6749 §4.1.2.1). Anybody may have written it, so the description
    /// gives only a code to show.
    pub(crate) fn of_redirect(error: &str, description: Option<&str>, dialect: Dialect) -> Self {
        Self {
            class: (dialect.classify)(error, None, &[]),
            error: error_word(error),
            code: description.and_then(code_in),
            sentence: None,
            trace_id: None,
            presented: None,
        }
    }
}

/// The digits at the very start of a description.
fn code_in(description: &str) -> Option<u32> {
    let rest = description.strip_prefix("AADSTS")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What an `error_description` says, without its code, its ids and what follows on other lines.
fn sentence(description: &str) -> Option<String> {
    let text = description
        .split_once(": ")
        .filter(|(code, _)| code.starts_with("AADSTS"))
        .map_or(description, |(_, text)| text);
    let text = text.lines().next()?;
    let text = text.split_once("Trace ID:").map_or(text, |(text, _)| text);
    let mut shown = String::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|&c| c.is_ascii_graphic() && c != '`').collect();
        let word: String = word.split_inclusive(is_between).map(without_guid).collect();
        if shown.len() + 1 + word.len() > SENTENCE_OCTETS {
            break;
        }
        if !shown.is_empty() && !word.is_empty() {
            shown.push(' ');
        }
        shown.push_str(&word);
    }
    let shown = shown.trim_end_matches('.');
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// Replaces a GUID that may have other characters behind it.
fn without_guid(text: &str) -> Cow<'_, str> {
    let core = text.trim_end_matches(is_between);
    if is_guid(core) { text.replace(core, "(id)").into() } else { text.into() }
}

fn is_between(c: char) -> bool {
    !c.is_ascii_alphanumeric() && c != '-'
}

/// The scopes with spaces between them. An empty one says nothing.
fn scope(value: &Value) -> Option<String> {
    let scope = match value {
        Value::String(scope) => scope.clone(),
        Value::Array(scopes) => scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => return None,
    };
    (!scope.trim().is_empty()).then_some(scope)
}

/// RFC 6750 §2.1: letters, digits and `-._~+/`, then any number of `=`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    (1..=TOKEN_OCTETS).contains(&token.len())
        && !body.is_empty()
        && body.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/".contains(&octet))
}

/// RFC 6749 appendix A.17: visible characters and spaces.
fn is_opaque(token: &str) -> bool {
    (1..=TOKEN_OCTETS).contains(&token.len()) && token.bytes().all(|octet| (0x20..=0x7E).contains(&octet))
}

/// A number of seconds, given as a number or as text. Returns `absent` when there is no value, and
/// `None` when it is not a number.
fn whole_seconds(value: Option<&Value>, absent: u64) -> Option<u64> {
    match value {
        None => Some(absent),
        Some(Value::Number(number)) => {
            let fraction = || Some(Duration::try_from_secs_f64(number.as_f64()?).ok()?.as_secs());
            number.as_u64().or_else(fraction)
        }
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    }
}

/// The characters that RFC 6749 §5.2 allows in an `error`.
fn error_word(error: &str) -> String {
    printable(error, |c| c.is_ascii_graphic() && c != '"' && c != '\\')
}

/// The characters of a text that may be shown, 64 at most.
pub(super) fn printable(text: &str, allowed: impl Fn(char) -> bool) -> String {
    text.chars().filter(|&c| allowed(c)).take(64).collect()
}

#[cfg(test)]
mod tests {
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
            let json =
                r#"{"error":"invalid_grant","error_description":"see https://x.example/?a=b&error=access_denied"}"#;
            assert_eq!(refused(status, json).as_deref(), Some("invalid_grant"));
            let html = "<a href=\"https://portal.example/?a=b&error=access_denied\">x</a>";
            assert_eq!(refused(status, html), None);
        }
        assert_eq!(refused(503, form), None);
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
        for (error, shown) in [
            ("invalid_grant", "invalid_grant"),
            ("in valid\"gr\\ant", "invalidgrant"),
            ("a\r\nb\u{1b}[2J\u{e4}", "ab[2J"),
        ] {
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
}
