//! XOAUTH2, as Google and Microsoft document it: `user=` address `^A` `auth=Bearer ` token `^A^A`.

use zeroize::Zeroizing;

use super::token::bearer;
use super::{Bearer, Credentials, CredentialsError, encode, is_b64token};

/// Parses the single message of a client that brings its own token.
///
/// # Errors
/// [`CredentialsError::Name`] if the user is not an address, otherwise [`CredentialsError::Token`].
pub fn parse(message: &[u8]) -> Result<Credentials, CredentialsError> {
    let fields = message.strip_suffix(b"\x01\x01").ok_or(CredentialsError::Token)?;
    let mut fields = fields.split(|&octet| octet == 1);
    let (Some(user), Some(auth), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(CredentialsError::Token);
    };
    let user = user.strip_prefix(b"user=").ok_or(CredentialsError::Token)?;
    bearer(user, token(auth).ok_or(CredentialsError::Token)?)
}

/// The token of an `auth=Bearer …` field. The scheme is compared without case (RFC 9110 §11.1).
pub(super) fn token(field: &[u8]) -> Option<&[u8]> {
    let value = field.strip_prefix(b"auth=")?;
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// The client's message in base64, for the upstream. The message is built only here. An address has
/// no control characters, and a token only the characters of RFC 6750, so neither can add a field.
pub fn initial_response(bearer: &Bearer) -> Zeroizing<String> {
    let token = bearer.token.expose();
    debug_assert!(is_b64token(token), "its maker has checked the characters of an AccessToken");
    // `concat` and `encode` allocate their final size at once, because a buffer that grows leaves a
    // copy of the token behind.
    let message = Zeroizing::new(["user=", bearer.user.as_str(), "\x01auth=Bearer ", token, "\x01\x01"].concat());
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
            Credentials::Password { .. } => unreachable!("XOAUTH2 carries a token"),
        }
    }

    /// The example in both Google's and Microsoft's documents.
    const EXAMPLE: &str = "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ==";

    fn bearer(user: &str, token: &str) -> Bearer {
        Bearer { user: MailAddress::parse(user).unwrap(), token: Arc::new(AccessToken::new(token.to_owned())) }
    }

    #[test]
    fn microsofts_example() {
        let user = "test@contoso.onmicrosoft.com";
        let example = bearer(user, "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA");
        assert_eq!(initial_response(&example).as_str(), EXAMPLE);
        assert_eq!(read(&decode(EXAMPLE.as_bytes()).unwrap()), Ok((user.into(), example.token.expose().to_owned())));
        let short = decode(initial_response(&bearer(user, "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoA")).as_bytes());
        let flaw = read(&short.unwrap()).unwrap_err();
        assert_eq!(flaw, CredentialsError::NotAToken(MailAddress::parse(user).unwrap()));
        let whole = bearer(user, &"EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA".repeat(5));
        let message = decode(initial_response(&whole).as_bytes()).unwrap();
        assert_eq!(read(&message), Ok((user.into(), whole.token.expose().to_owned())));
    }

    #[test]
    fn malformed_and_hostile_messages() {
        let no_token = CredentialsError::NotAToken(MailAddress::parse("a@b").unwrap());
        for (message, flaw) in [
            (&b""[..], CredentialsError::Token),
            (b"user=a@b\x01auth=Bearer t\x01", CredentialsError::Token),
            (b"user=a@b\x01auth=Basic t\x01\x01", CredentialsError::Token),
            (b"user=a@b\x01auth=Bearer \x01\x01", no_token.clone()),
            (b"user=a@b\x01auth=Bearer t\x01\x01", no_token.clone()),
            (b"user=a@b\x01auth=Bearer t t\x01\x01", no_token.clone()),
            (b"user=a@b\x01auth=Bearer t\x01auth=Bearer u\x01\x01", CredentialsError::Token),
            (b"user=a@b\x01auth=Bearer eyJhbGciOiJub25lIn0.e30.c2ln\r\n\x01\x01", no_token),
            (b"user=\x01auth=Bearer t\x01\x01", CredentialsError::Name(BadName::new(NameError::Empty, ""))),
            (b"user=a\x01auth=Bearer t\x01\x01", CredentialsError::Name(BadName::new(NameError::NotAnAddress, "a"))),
        ] {
            assert_eq!(read(message), Err(flaw), "{message:?}");
        }
        assert!(read(b"user=a@b\x01auth=bearer eyJhbGciOiJub25lIn0.e30.c2ln\x01\x01").is_ok(), "a scheme has no case");
    }
}
