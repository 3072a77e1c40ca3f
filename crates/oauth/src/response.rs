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
        && matches!(status, 200 | 400..=499)
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
mod tests;
