//! Decodes names and passwords that old clients send: UTF-8, or otherwise the code page of a
//! western Windows.

use zeroize::Zeroizing;

use super::{BadName, Credentials, CredentialsError};
use gatepost_core::account::LoginName;
use gatepost_core::secret::Password;

/// Longest password accepted, in octets of UTF-8.
pub const PASSWORD_OCTETS: usize = 1_024;

/// Windows-1252 from 0x80 to 0x9F, where it differs from ISO-8859-1. The five positions without a
/// character have the control character of ISO-8859-1, as in the WHATWG Encoding standard.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', //
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Decodes octets: valid UTF-8 unchanged, anything else as Windows-1252, which old Windows clients
/// send.
fn decode(octets: &[u8]) -> Zeroizing<String> {
    if let Ok(text) = std::str::from_utf8(octets) {
        return Zeroizing::new(text.to_owned());
    }
    let character = |octet: &u8| {
        let own = octet.checked_sub(0x80).and_then(|place| WINDOWS_1252.get(usize::from(place)));
        own.copied().unwrap_or(char::from(*octet))
    };
    // A character of the table has at most three octets in UTF-8, so no reallocation leaves a copy
    // behind.
    let mut text = Zeroizing::new(String::with_capacity(octets.len() * 3));
    text.extend(octets.iter().map(character));
    text
}

/// A user name from the octets that a client sent.
///
/// # Errors
/// As [`LoginName::parse`].
pub fn login_name(octets: &[u8]) -> Result<LoginName, BadName> {
    let name = decode(octets);
    LoginName::parse(&name).map_err(|error| BadName::new(error, &name))
}

/// A password from the octets that a client sent.
///
/// # Errors
/// [`CredentialsError::Password`] if it is empty, longer than [`PASSWORD_OCTETS`], or holds CR, LF,
/// NUL or ^A, each of which could end a field in a later message.
pub fn password(octets: &[u8]) -> Result<Password, CredentialsError> {
    let text = decode(octets);
    let forbidden = |b: u8| matches!(b, b'\0' | b'\r' | b'\n' | 0x01);
    if text.is_empty() || text.len() > PASSWORD_OCTETS || text.bytes().any(forbidden) {
        return Err(CredentialsError::Password);
    }
    Ok(Password::new(text.as_str().to_owned()))
}

/// Creates [`Credentials`] from a name and a password. The name may have been refused before the
/// password arrived, but only both together are a login attempt.
///
/// # Errors
/// [`CredentialsError::Name`] or [`CredentialsError::Password`].
pub fn credentials(name: Result<LoginName, BadName>, octets: &[u8]) -> Result<Credentials, CredentialsError> {
    Ok(Credentials::Password { login: name?, acting_as: None, password: password(octets)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_and_windows_1252_are_the_same_text() {
        assert_eq!(password("Käse€".as_bytes()).unwrap().expose(), "Käse€");
        assert_eq!(password(b"K\xe4se\x80").unwrap().expose(), "Käse€");
        assert_eq!(login_name(b"J\xf6rg@contoso.com").unwrap().as_str(), "jörg@contoso.com");
    }

    #[test]
    fn every_octet_decodes_to_one_character() {
        for octet in 0..=255 {
            assert_eq!(decode(&[0xff, octet]).chars().count(), 2, "{octet:#x}");
        }
        assert_eq!(decode(b"\xff\x9f\xa0").as_str(), "ÿŸ\u{a0}");
    }

    #[test]
    fn passwords_have_their_bounds() {
        assert!(password(&[b'x'; 1_024]).is_ok());
        for bad in [&b""[..], &[b'x'; 1_025], b"a\rb", b"a\nb", b"a\0b", b"a\x01b", b"\xff\0"] {
            assert!(matches!(password(bad), Err(CredentialsError::Password)), "{bad:?}");
        }
        assert!(password(b"a b\t\x7f").is_ok(), "a space belongs to a password");
    }
}
