//! Which header fields are forwarded, in either direction.

use http::HeaderMap;
use http::header::{CONNECTION, COOKIE, HeaderName, HeaderValue, SET_COOKIE};

/// Fields for one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"];

/// Request fields that are meant for Gatepost alone, or that state the sender's identity or
/// address, which a client must not set.
const FROM_CLIENT: [&str; 22] = [
    "authorization",
    "host",
    "expect",
    "content-length",
    "origin",
    "via",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "true-client-ip",
    "cf-connecting-ip",
    "x-original-url",
    "x-original-host",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-user-identity",
    "x-anchormailbox",
    "x-wsdl-url",
];

/// Prefixes of further such fields.
const FROM_CLIENT_PREFIXES: [&str; 3] = ["proxy-", "x-forwarded-", "x-ms-"];

/// Response fields with challenges and promises that Microsoft makes for its own host name.
const FROM_ORIGIN: [&str; 13] = [
    "www-authenticate",
    "authentication-info",
    "content-length",
    "alt-svc",
    "strict-transport-security",
    "public-key-pins",
    "expect-ct",
    "report-to",
    "reporting-endpoints",
    "nel",
    "refresh",
    "x-ms-diagnostics",
    "clear-site-data",
];

const FROM_ORIGIN_PREFIXES: [&str; 2] = ["proxy-", "access-control-"];

/// Cookies that keep the requests of a subscription at one server (Microsoft, "Maintain affinity
/// between a group of subscriptions and the Mailbox server"). The client stores them; Gatepost
/// stores no cookies.
const AFFINITY: [&str; 2] = ["X-BackEndOverrideCookie", "exchangecookie"];

/// Whether a field of a request is not forwarded, or is handled by Gatepost.
pub fn is_ours(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
        || FROM_CLIENT.contains(&name)
        || FROM_CLIENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Removes the fields of a request that are not for the origin.
pub fn to_origin(headers: &mut HeaderMap) {
    remove_listed(headers);
    retain(headers, |name| !is_ours(name) && !name.contains('_'));
    let cookies = affinity_cookies(headers);
    headers.remove(COOKIE);
    if let Ok(cookies) = HeaderValue::from_str(&cookies)
        && !cookies.is_empty()
    {
        headers.insert(COOKIE, cookies);
    }
}

/// Removes the fields of a response that are not for the client.
pub fn to_client(headers: &mut HeaderMap) {
    remove_listed(headers);
    retain(headers, |name| {
        !HOP_BY_HOP.contains(&name)
            && !FROM_ORIGIN.contains(&name)
            && !FROM_ORIGIN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter_map(set_affinity).collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
}

/// Removes the fields listed in `Connection`, which are for one connection as well.
fn remove_listed(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
}

fn retain(headers: &mut HeaderMap, keep: impl Fn(&str) -> bool) {
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| !keep(name.as_str())).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

fn affinity_cookies(headers: &HeaderMap) -> String {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let of_affinity = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| is_affinity(name));
    pairs.flat_map(|value| value.split(';')).map(str::trim).filter(of_affinity).collect::<Vec<_>>().join("; ")
}

/// The same cookie for the client, which knows this server by another name and may reach it without
/// TLS.
fn set_affinity(value: &HeaderValue) -> Option<HeaderValue> {
    let pair = value.to_str().ok()?.split(';').next()?.trim();
    let (name, _) = pair.split_once('=')?;
    is_affinity(name).then(|| HeaderValue::from_str(&format!("{pair}; Path=/; HttpOnly")).ok())?
}

fn is_affinity(name: &str) -> bool {
    AFFINITY.iter().any(|known| known.eq_ignore_ascii_case(name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_is_not_for_the_origin_does_not_get_there() {
        for name in [
            "authorization",
            "proxy-authorization",
            "proxy-connection",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
            "host",
            "expect",
            "origin",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-ms-client-principal",
            "x-ms-client-principal-name",
            "x-ms-token-aad-access-token",
            "x-http-method-override",
            "x-original-url",
            "x-rewrite-url",
            "x-anchormailbox",
            "x-user-identity",
            "via",
            "x-real-ip",
            "content-length",
            "client_id",
        ] {
            let mut headers = map(&[(name, "1"), ("accept", "*/*")]);
            to_origin(&mut headers);
            assert_eq!(names(&headers), ["accept"], "{name}");
        }
    }

    #[test]
    fn whatever_connection_lists_stays_here() {
        let mut headers = map(&[("connection", "close, X-Secret , te"), ("x-secret", "1"), ("prefer", "x")]);
        to_origin(&mut headers);
        assert_eq!(names(&headers), ["prefer"]);
        let mut headers = map(&[("connection", "x-internal"), ("x-internal", "1"), ("content-type", "x")]);
        to_client(&mut headers);
        assert_eq!(names(&headers), ["content-type"]);
    }

    #[test]
    fn of_the_cookies_only_those_of_affinity_pass() {
        let mut headers = map(&[
            ("cookie", "session=1; X-BackEndOverrideCookie=server~1; other=2"),
            ("cookie", "exchangecookie=abc"),
        ]);
        to_origin(&mut headers);
        assert_eq!(headers.get(COOKIE).unwrap(), "X-BackEndOverrideCookie=server~1; exchangecookie=abc");
        let mut headers = map(&[("cookie", "session=1")]);
        to_origin(&mut headers);
        assert!(headers.is_empty());

        let mut headers = map(&[
            ("set-cookie", "X-BackEndOverrideCookie=s~1; expires=Tue; domain=outlook.office365.com; path=/; secure"),
            ("set-cookie", "ClientId=1; path=/"),
            ("set-cookie", "X-BackEndCookie=u=1; path=/EWS"),
        ]);
        to_client(&mut headers);
        let kept: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(kept, ["X-BackEndOverrideCookie=s~1; Path=/; HttpOnly"]);
    }

    #[test]
    fn no_challenge_of_the_origin_reaches_a_client() {
        for name in [
            "www-authenticate",
            "proxy-authenticate",
            "strict-transport-security",
            "alt-svc",
            "access-control-allow-origin",
        ] {
            let mut headers = map(&[(name, "1"), ("content-type", "text/xml")]);
            to_client(&mut headers);
            assert_eq!(names(&headers), ["content-type"], "{name}");
        }
    }
}
