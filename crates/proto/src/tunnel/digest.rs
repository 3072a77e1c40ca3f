//! Digest authentication (RFC 7616) with `qop=auth`, using MD5, SHA-256 or SHA-512/256.
//!
//! The first request has no credentials, because there is nothing to answer before the proxy has
//! sent a nonce. A nonce that has become stale is replaced once; that does not count as a refusal.

use std::borrow::Cow;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, SHA512_256, digest};
use aws_lc_rs::rand;
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use super::reply::parts;
use super::scheme::{AuthenticationError, Challenge, Scheme};
use gatepost_core::secret::{ProxyAuthorization, ProxyPassword};

/// The client side, for one handshake.
pub struct Digest<'a> {
    username: &'a str,
    password: &'a ProxyPassword,
    /// `host:port`, the target of the request (RFC 9110 §7.1).
    destination: String,
    /// Whether an answer has been sent.
    answered: bool,
}

impl<'a> Digest<'a> {
    /// Creates the client side for a handshake for `destination`, as
    /// [`Connect::destination`](crate::tunnel::connect::Connect::destination) gives it.
    pub fn new(username: &'a str, password: &'a ProxyPassword, destination: &str) -> Self {
        Self { username, password, destination: destination.to_owned(), answered: false }
    }

    /// The value of `Proxy-Authorization` that answers a challenge; `None` if the request needs
    /// none.
    ///
    /// # Errors
    /// See [`AuthenticationError`].
    pub fn answer(&mut self, challenge: &Challenge) -> Result<Option<ProxyAuthorization>, AuthenticationError> {
        let Challenge::Continue(parameters) = challenge else { return Ok(None) };
        let parameters = Parameters::read(parameters)?;
        if self.answered && !parameters.stale {
            return Err(AuthenticationError::Refused);
        }
        let mut nonce = [0; 16];
        rand::fill(&mut nonce).map_err(|_| AuthenticationError::Unavailable {
            scheme: Scheme::Digest,
            reason: "the system gives no random numbers".to_owned(),
            remedy: "look at the system's log",
            permanent: false,
        })?;
        self.answered = true;
        let Self { username, password, destination, .. } = self;
        let cnonce = hex(&nonce);
        let response = parameters.response(username, password, ("CONNECT", destination), &cnonce);
        let Parameters { realm, nonce, opaque, algorithm, .. } = &parameters;
        let mut text = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, algorithm={}, qop=auth, nc={NONCE_COUNT}, cnonce=\"{cnonce}\", response=\"{response}\"",
            quoted(username),
            quoted(realm),
            quoted(nonce),
            quoted(destination),
            algorithm.name(),
        );
        if let Some(opaque) = opaque {
            let _ = write!(text, ", opaque={}", quoted(opaque));
        }
        Ok(Some(ProxyAuthorization::new(text)))
    }
}

/// The nonce count: each nonce is used once.
const NONCE_COUNT: &str = "00000001";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
    Sha512_256,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512_256];

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(digest(&SHA256, text.as_bytes()).as_ref()),
            Self::Sha512_256 => hex(digest(&SHA512_256, text.as_bytes()).as_ref()),
        }
    }
}

/// The parameters of a challenge that are used.
#[derive(Debug)]
struct Parameters {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// Whether only the nonce is too old, so that the credentials may be right.
    stale: bool,
}

impl Parameters {
    fn read(text: &str) -> Result<Self, AuthenticationError> {
        let mut pairs = Vec::new();
        for part in parts(text.as_bytes()) {
            let part = String::from_utf8_lossy(part);
            if let Some((name, value)) = part.split_once('=') {
                pairs.push((name.trim().to_ascii_lowercase(), unquoted(value.trim())));
            }
        }
        let mut take = |name: &str| {
            let at = pairs.iter().position(|(key, _)| key == name)?;
            Some(pairs.swap_remove(at).1)
        };
        let algorithm = match take("algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::ALL
                .into_iter()
                .find(|algorithm| algorithm.name().eq_ignore_ascii_case(&name))
                .ok_or_else(|| wrong("its algorithm is none of MD5, SHA-256 and SHA-512-256"))?,
        };
        if !take("qop").is_some_and(|list| list.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth"))) {
            return Err(wrong("it does not offer the quality of protection `auth`"));
        }
        Ok(Self {
            realm: take("realm").ok_or_else(|| wrong("it names no realm"))?,
            nonce: take("nonce").ok_or_else(|| wrong("it holds no nonce"))?,
            opaque: take("opaque"),
            algorithm,
            stale: take("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The response value (RFC 7616 §3.4.1).
    fn response(&self, username: &str, password: &ProxyPassword, request: (&str, &str), cnonce: &str) -> String {
        let Self { realm, nonce, algorithm, .. } = self;
        let secret = Zeroizing::new([username, ":", realm, ":", password.expose()].concat());
        let secret = Zeroizing::new(algorithm.hash(&secret));
        let request = algorithm.hash(&format!("{}:{}", request.0, request.1));
        let all = [secret.as_str(), nonce.as_str(), NONCE_COUNT, cnonce, "auth", request.as_str()].join(":");
        algorithm.hash(&Zeroizing::new(all))
    }
}

fn wrong(reason: &'static str) -> AuthenticationError {
    AuthenticationError::Challenge { scheme: Scheme::Digest, reason: Cow::Borrowed(reason) }
}

/// The content of a quoted string, or a token unchanged (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let mut letters = inner.strip_suffix('"').unwrap_or(inner).chars();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        text.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";

    fn challenge(more: &str) -> Challenge {
        Challenge::Continue(format!("realm=\"http-auth@example.org\", nonce=\"{NONCE}\", {more}"))
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7616 §3.9.1.
        let password = ProxyPassword::new("Circle of Life".into());
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, expected) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let Challenge::Continue(text) = challenge(&format!("qop=\"auth, auth-int\", algorithm={algorithm}")) else {
                unreachable!()
            };
            let parameters = Parameters::read(&text).unwrap();
            let request = ("GET", "/dir/index.html");
            assert_eq!(parameters.response("Mufasa", &password, request, cnonce), expected);
        }
    }

    #[test]
    fn the_steps() {
        let password = ProxyPassword::new("pass".into());
        let mut digest = Digest::new("us\"er", &password, "outlook.office365.com:993");
        assert!(digest.answer(&Challenge::Start).unwrap().is_none());
        let first = challenge("qop=auth, opaque=\"a\\\\b\", algorithm=SHA-256, stale=false");
        let answer = digest.answer(&first).unwrap().unwrap();
        let text = answer.expose();
        assert!(
            text.starts_with("Digest username=\"us\\\"er\", realm=\"http-auth@example.org\", nonce=\"7ypf/"),
            "{text}"
        );
        assert!(
            text.contains(", uri=\"outlook.office365.com:993\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"")
        );
        assert!(text.ends_with(", opaque=\"a\\\\b\""), "{text}");
        assert!(digest.answer(&challenge("qop=\"auth\", stale=TRUE")).unwrap().is_some());
        assert_eq!(digest.answer(&first).err(), Some(AuthenticationError::Refused));
    }

    #[test]
    fn challenges_that_cannot_be_answered() {
        let password = ProxyPassword::new("pass".into());
        for text in [
            "",
            "realm=x, nonce=y",
            "realm=x, nonce=y, qop=\"auth-int\"",
            "realm=x, nonce=y, qop=auth, algorithm=MD5-sess",
            "nonce=y, qop=auth",
            "realm=x, qop=auth",
            "=,=\"\\",
        ] {
            let answer = Digest::new("user", &password, "host:1").answer(&Challenge::Continue(text.into()));
            assert!(matches!(answer, Err(AuthenticationError::Challenge { .. })), "{text}");
        }
    }
}
