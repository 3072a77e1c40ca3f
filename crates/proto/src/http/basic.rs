//! HTTP Basic authentication (RFC 7617) of a client.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::sasl::{self, Credentials, text};

/// The only challenge that Gatepost sends (RFC 7617 §2.1).
pub const CHALLENGE: &str = "Basic realm=\"Gatepost\", charset=\"UTF-8\"";

/// The credentials that a request presents.
#[derive(Debug)]
pub enum Presented {
    /// None. The first request of .NET has none, to learn which scheme is wanted.
    Nothing,
    /// Another scheme, such as a token of the client's own.
    OtherScheme,
    /// A user name and a password, checked for form.
    Credentials(Credentials),
    /// Basic, with an impossible user name or password.
    Unusable(sasl::CredentialsError),
    /// Not in the form of RFC 7617, or more than one `Authorization` field.
    Malformed,
}

/// Takes the credentials out of `headers`, so that they are not forwarded.
pub fn take(headers: &mut HeaderMap) -> Presented {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let presented = match (fields.next(), fields.next()) {
        (None, _) => Presented::Nothing,
        (Some(value), None) => parse(value.as_bytes()),
        (Some(_), Some(_)) => Presented::Malformed,
    };
    headers.remove(AUTHORIZATION);
    presented
}

/// Parses the value of an `Authorization` field.
pub fn parse(value: &[u8]) -> Presented {
    let scheme_end = value.iter().position(|&octet| octet == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return Presented::OtherScheme;
    }
    let Ok(octets) = sasl::decode(rest.trim_ascii()) else { return Presented::Malformed };
    // RFC 7617 §2: the first colon is the separator, because a user name has none.
    let Some(colon) = octets.iter().position(|&octet| octet == b':') else { return Presented::Malformed };
    let (name, password) = octets.split_at(colon);
    match text::credentials(text::login_name(name), password.get(1..).unwrap_or_default()) {
        Ok(credentials) => Presented::Credentials(credentials),
        Err(flaw) => Presented::Unusable(flaw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user_pass: &[u8]) -> Presented {
        parse(format!("Basic {}", sasl::encode(user_pass).as_str()).as_bytes())
    }

    fn pair(presented: Presented) -> (String, String) {
        let Presented::Credentials(Credentials::Password { login, acting_as: None, password }) = presented else {
            panic!("{presented:?}")
        };
        (login.as_str().to_owned(), password.expose().to_owned())
    }

    #[test]
    fn the_first_colon_divides_name_and_password() {
        let (name, password) = pair(basic(b"alice@contoso.com:pass:word"));
        assert_eq!((name.as_str(), password.as_str()), ("alice@contoso.com", "pass:word"));
    }

    #[test]
    fn text_is_utf_8_or_else_of_one_octet_each() {
        assert_eq!(pair(basic("alice@contoso.com:Käse".as_bytes())).1, "Käse");
        assert_eq!(pair(basic(b"alice@contoso.com:K\xe4se")).1, "Käse");
    }

    #[test]
    fn the_scheme_is_of_any_case_and_others_are_told_apart() {
        assert!(matches!(parse(b"bAsIc YWxpY2VAY29udG9zby5jb206eA=="), Presented::Credentials(_)));
        for other in [&b"Bearer abc"[..], b"Negotiate TlRM", b"Basically YTpi", b"", b"Digest username=\"a\""] {
            assert!(matches!(parse(other), Presented::OtherScheme), "{other:?}");
        }
    }

    #[test]
    fn what_has_no_form_is_nobodys_password() {
        for malformed in [&b"Basic"[..], b"Basic !!!", b"Basic YWxp", b"Basic YTpi, Basic YTpi", b"Basic YTpi=="] {
            assert!(matches!(parse(malformed), Presented::Malformed), "{malformed:?}");
        }
        assert!(matches!(basic(b"a\x01b@c:x"), Presented::Unusable(sasl::CredentialsError::Name(_))));
        assert!(matches!(basic(b"a@b:"), Presented::Unusable(sasl::CredentialsError::Password)));
        assert!(matches!(basic(b"a@b:x\r\ny"), Presented::Unusable(sasl::CredentialsError::Password)));
    }

    #[test]
    fn two_fields_are_one_too_many_and_none_of_them_goes_on() {
        let mut headers = HeaderMap::new();
        let value = "Basic YWxpY2VAY29udG9zby5jb206eA==";
        headers.append(AUTHORIZATION, value.parse().unwrap());
        headers.append(AUTHORIZATION, value.parse().unwrap());
        assert!(matches!(take(&mut headers), Presented::Malformed));
        assert!(headers.is_empty());
        assert!(matches!(take(&mut headers), Presented::Nothing));
    }
}
