//! Checks by its form whether a text can be a token. If not, it is most likely a password that a
//! client sent as a token, because it prefers the mechanisms for tokens.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{BadName, Bearer, Credentials, CredentialsError, text};
use gatepost_core::account::MailAddress;
use gatepost_core::secret::AccessToken;

/// Fewest octets of an opaque token: as many as 160 random bits have in hexadecimal, which a token
/// should have (RFC 6749 §10.10). Passwords that Gatepost creates have half of that.
const OPAQUE_OCTETS: usize = 40;

/// Fewest octets of an opaque token of Microsoft's. Tokens of personal accounts have several hundred,
/// and passwords of this length do not occur.
const MICROSOFTS_OPAQUE_OCTETS: usize = 200;

/// True for the `b64token` of RFC 6750 §2.1: one or more of `A-Z a-z 0-9 - . _ ~ + /`, then any
/// number of `=`. Such a text cannot end a field of XOAUTH2 or a header line, so it cannot add
/// another one.
pub fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// True for a signed JWT of any length, and for any other text in the form of a token with at least
/// 40 octets. Only the token's audience can decide whether it is valid.
pub fn may_be_token(token: &str) -> bool {
    is_token_from(OPAQUE_OCTETS, token)
}

/// The same for a token of Microsoft's, where an opaque one has at least 200 octets.
pub fn may_be_microsofts(token: &str) -> bool {
    is_token_from(MICROSOFTS_OPAQUE_OCTETS, token)
}

fn is_token_from(opaque_octets: usize, token: &str) -> bool {
    is_b64token(token) && (token.len() >= opaque_octets || is_signed_jwt(token))
}

/// Three parts, the first of which is a JSON object with `alg` (RFC 7515 §3.1 and §4.1.1).
fn is_signed_jwt(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "alg")]
        _algorithm: IgnoredAny,
    }
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    URL_SAFE_NO_PAD.decode(header).is_ok_and(|header| serde_json::from_slice::<Header>(&header).is_ok())
}

/// Checks the mailbox and token of a client that brings its own.
pub(super) fn bearer(user: &[u8], token: &[u8]) -> Result<Credentials, CredentialsError> {
    let name = text::login_name(user)?;
    let user = MailAddress::try_from(name.clone()).map_err(|error| BadName::new(error, name.as_str()))?;
    match std::str::from_utf8(token).ok().filter(|token| may_be_token(token)) {
        Some(token) => Ok(Credentials::Token(Bearer { user, token: Arc::new(AccessToken::new(token.to_owned())) })),
        None => Err(CredentialsError::NotAToken(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_the_characters_of_rfc_6750() {
        for good in ["a", "eyJ0.eyJh.c2ln-_~+/", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="] {
            assert!(is_b64token(good), "{good}");
        }
        for bad in ["", "=", "a=b", "a b", "a\u{1}auth=Bearer", "a\r\n", "é", "a,b", "a\0"] {
            assert!(!is_b64token(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_no_token() {
        let opaque = format!("Ew{}", "Ab0".repeat(66));
        for token in ["eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9..", &opaque] {
            assert!(may_be_microsofts(token) && may_be_token(token), "{token}");
        }
        for password in [
            "",
            "correct-horse-battery",
            "a.b.c",
            // `{}`, and a header with two parts or four.
            "e30.e30.c2ln",
            "eyJhbGciOiJSUzI1NiJ9.e30",
            "eyJhbGciOiJSUzI1NiJ9.e30.c2ln.c2ln",
            &opaque[..199],
            &format!("{opaque}!"),
        ] {
            assert!(!may_be_microsofts(password), "{password}");
        }
        // Tokens of other providers are shorter than Microsoft's.
        assert!(may_be_token(&opaque[..40]) && !may_be_token(&opaque[..39]));
        assert!(!may_be_token(&format!("{}!", &opaque[..60])));
    }
}
