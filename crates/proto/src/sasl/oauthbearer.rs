//! OAUTHBEARER (RFC 7628 §3.1): a GS2 header with the user, then key and value pairs, of which
//! `auth` holds the token.

use zeroize::Zeroizing;

use super::token::bearer;
use super::{Bearer, Credentials, CredentialsError, encode, xoauth2};

/// Parses the single message of a client that brings its own token. `host` and `port` are not
/// checked, because the upstream checks the token's audience.
///
/// # Errors
/// [`CredentialsError::Name`] if the user is missing or not an address (Microsoft requires it with
/// the token), otherwise [`CredentialsError::Token`].
pub fn parse(message: &[u8]) -> Result<Credentials, CredentialsError> {
    let pairs = message.strip_suffix(b"\x01\x01").ok_or(CredentialsError::Token)?;
    let mut pairs = pairs.split(|&octet| octet == 1);
    let user = user(pairs.next().unwrap_or_default())?;
    let mut tokens = pairs.filter(|pair| pair.starts_with(b"auth="));
    let (Some(auth), None) = (tokens.next(), tokens.next()) else {
        return Err(CredentialsError::Token);
    };
    bearer(&user, xoauth2::token(auth).ok_or(CredentialsError::Token)?)
}

/// The user in a GS2 header (RFC 5801 §4): `n,a=user,`, with `,` and `=` written `=2C` and `=3D`.
/// Channel binding (`p=`) is not offered, so it is refused; `y` says that the client supports it.
fn user(header: &[u8]) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
    let fields = header.strip_prefix(b"n,").or_else(|| header.strip_prefix(b"y,"));
    let authzid = fields.and_then(|fields| fields.strip_suffix(b",")).ok_or(CredentialsError::Token)?;
    let escaped =
        if authzid.is_empty() { authzid } else { authzid.strip_prefix(b"a=").ok_or(CredentialsError::Token)? };
    let mut user = Zeroizing::new(Vec::with_capacity(escaped.len()));
    let mut rest = escaped;
    while let Some((&octet, tail)) = rest.split_first() {
        let (octet, tail) = match octet {
            b',' => return Err(CredentialsError::Token),
            b'=' => match tail.split_at_checked(2) {
                Some((b"2C", tail)) => (b',', tail),
                Some((b"3D", tail)) => (b'=', tail),
                _ => return Err(CredentialsError::Token),
            },
            _ => (octet, tail),
        };
        user.push(octet);
        rest = tail;
    }
    Ok(user)
}

/// The client's message in base64, for an upstream: the user, and the token. `host` and `port` are
/// left out, because RFC 7628 §3.1 lets servers go without.
pub fn initial_response(bearer: &Bearer) -> Zeroizing<String> {
    let user = bearer.user.as_str().replace('=', "=3D").replace(',', "=2C");
    // `concat` and `encode` allocate their final size at once, because a buffer that grows leaves a
    // copy of the token behind.
    let message = Zeroizing::new(["n,a=", &user, ",\x01auth=Bearer ", bearer.token.expose(), "\x01\x01"].concat());
    encode(message.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sasl::{BadName, decode};
    use gatepost_core::account::{MailAddress, NameError};
    use gatepost_core::secret::AccessToken;

    fn read(message: &[u8]) -> Result<(String, String), CredentialsError> {
        match parse(message)? {
            Credentials::Token(bearer) => Ok((bearer.user.to_string(), bearer.token.expose().to_owned())),
            Credentials::Password { .. } => unreachable!("OAUTHBEARER carries a token"),
        }
    }

    #[test]
    fn example_of_rfc_7628() {
        let message = |token: &str| {
            format!("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer {token}\x01\x01")
        };
        for token in ["vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "eyJhbGciOiJub25lIn0.e30.c2ln"] {
            assert_eq!(read(message(token).as_bytes()), Ok(("user@example.com".into(), token.into())));
        }
        let flaw = read(message("correct-horse-battery").as_bytes()).unwrap_err();
        assert_eq!(flaw, CredentialsError::NotAToken(MailAddress::parse("user@example.com").unwrap()));
    }

    #[test]
    fn the_message_for_an_upstream_escapes_the_user() {
        let token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
        for (user, escaped) in [("user@example.com", "user@example.com"), ("a=b@example.com", "a=3Db@example.com")] {
            let bearer =
                Bearer { user: MailAddress::parse(user).unwrap(), token: Arc::new(AccessToken::new(token.to_owned())) };
            let message = decode(initial_response(&bearer).as_bytes()).unwrap();
            assert_eq!(message.as_slice(), format!("n,a={escaped},\x01auth=Bearer {token}\x01\x01").as_bytes());
            assert_eq!(read(&message), Ok((user.into(), token.into())));
        }
    }

    #[test]
    fn malformed_and_hostile_messages() {
        for (message, flaw) in [
            (&b""[..], CredentialsError::Token),
            (b"\x01\x01", CredentialsError::Token),
            (b"n,a=a@b,\x01\x01", CredentialsError::Token),
            (b"p=tls-unique,a=a@b,\x01auth=Bearer t\x01\x01", CredentialsError::Token),
            (b"n,a=a@b\x01auth=Bearer t\x01\x01", CredentialsError::Token),
            (b"n,a=a@b,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", CredentialsError::Token),
            (b"n,a=a=40b,\x01auth=Bearer t\x01\x01", CredentialsError::Token),
            (b"n,a=a@b=,\x01auth=Bearer t\x01\x01", CredentialsError::Token),
            (b"n,a=a,b@c,\x01auth=Bearer t\x01\x01", CredentialsError::Token),
            (b"n,,\x01auth=Bearer t\x01\x01", CredentialsError::Name(BadName::new(NameError::Empty, ""))),
            (
                b"n,a=a=2C@b,\x01auth=Bearer t\x01\x01",
                CredentialsError::Name(BadName::new(NameError::NotAllowed, "a,@b")),
            ),
        ] {
            assert_eq!(read(message), Err(flaw), "{message:?}");
        }
        assert!(read(b"y,a=a@b,\x01auth=Bearer eyJhbGciOiJub25lIn0.e30.c2ln\x01\x01").is_ok());
    }
}
