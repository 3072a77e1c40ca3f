//! PLAIN (RFC 4616): `[authzid] NUL authcid NUL passwd` in one message.

use super::{Credentials, CredentialsError, text};

/// Parses the single message of a client.
///
/// SASLprep is not applied, because Entra compares the password as it was typed. An authorization
/// identity that equals the authentication identity (in any case) counts as absent.
///
/// # Errors
/// [`CredentialsError::Syntax`] if there are fewer than two NULs. A third one counts as a part of
/// the password, which may not hold it.
pub fn parse(message: &[u8]) -> Result<Credentials, CredentialsError> {
    let mut parts = message.splitn(3, |&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(CredentialsError::Syntax);
    };
    let login = text::login_name(authcid)?;
    let acting_as = if authzid.is_empty() { None } else { Some(text::login_name(authzid)?) };
    let acting_as = acting_as.filter(|name| *name != login);
    Ok(Credentials::Password { login, acting_as, password: text::password(password)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::BadName;
    use gatepost_core::account::NameError;

    fn read(message: &[u8]) -> Result<(String, Option<String>, String), CredentialsError> {
        match parse(message)? {
            Credentials::Password { login, acting_as, password } => {
                Ok((login.to_string(), acting_as.map(|name| name.to_string()), password.expose().to_owned()))
            }
            Credentials::Token(_) => unreachable!("PLAIN carries a password"),
        }
    }

    #[test]
    fn examples_of_rfc_4616() {
        assert_eq!(read(b"\0tim\0tanstaaftanstaaf"), Ok(("tim".into(), None, "tanstaaftanstaaf".into())));
        assert_eq!(read(b"Ursel\0Kurt\0xipj3plmq"), Ok(("kurt".into(), Some("ursel".into()), "xipj3plmq".into())));
    }

    #[test]
    fn acting_as_oneself_is_not_acting_as_another() {
        assert_eq!(read(b"A@X.example\0a@x.EXAMPLE\0p"), Ok(("a@x.example".into(), None, "p".into())));
    }

    #[test]
    fn malformed_and_hostile_messages() {
        let bad = |error, name| CredentialsError::Name(BadName::new(error, name));
        for (message, flaw) in [
            (&b""[..], CredentialsError::Syntax),
            (b"tim", CredentialsError::Syntax),
            (b"\0tim", CredentialsError::Syntax),
            (b"\0\0secret", bad(NameError::Empty, "")),
            (b"\0tim\0", CredentialsError::Password),
            (b"\0tim\0a\0b", CredentialsError::Password),
            (b"\0tim\0a\x01b", CredentialsError::Password),
            (b"\0a@x\x01auth=Bearer evil\0p", bad(NameError::NotPrintable, "a@x\x01auth=Bearer evil")),
            (b"a\r\n\0tim\0p", bad(NameError::NotPrintable, "a")),
        ] {
            assert_eq!(read(message), Err(flaw), "{message:?}");
        }
    }

    #[test]
    fn no_forbidden_octet_passes_in_either_field() {
        for octet in 0..=255u8 {
            let name = [b"\0a", &[octet][..], b"@x.example\0p"].concat();
            let password = [b"\0a@x.example\0p", &[octet][..], b"q"].concat();
            assert!(octet >= 0x20 && octet != 0x7f || read(&name).is_err(), "{octet:#x} in the name");
            assert_eq!(matches!(octet, 0 | 1 | b'\r' | b'\n'), read(&password).is_err(), "{octet:#x} in the password");
        }
    }
}
