//! Checked names: the user names that clients present, and the addresses and IDs that Entra knows.

use std::fmt;

/// Longest user name accepted, in octets (RFC 5321 §4.5.3.1: 64 + `@` + 255).
pub const LOGIN_NAME_OCTETS: usize = 320;

/// A user name as a client presented it, in canonical form: case-folded, without controls, 1 to 320
/// octets. It may be an address or an alias; `gatepost_config::Accounts` decides.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginName(String);

/// Why a name was not accepted. The error does not repeat the name, because the name may be
/// hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name has more than [`LOGIN_NAME_OCTETS`] octets.
    #[error("the name is longer than 320 octets")]
    TooLong,
    /// The name holds a control character (below 0x20, 0x7F) or a space.
    #[error("the name holds a control character or a space")]
    ControlCharacter,
    /// The name holds a character that no Entra user name has.
    #[error("the name holds a character that is not allowed in a user name")]
    NotAllowed,
    /// The name does not have exactly one `@` with text on both sides, or it ends in a dot, which
    /// DNS and Entra ignore.
    #[error("the name is not an address of the form user@domain")]
    NotAnAddress,
}

impl LoginName {
    /// Checks and folds a name: letters, digits and `._-+'%!@`; beyond ASCII, letters and
    /// digits only; at most one `@`.
    ///
    /// # Errors
    /// [`NameError`] says which rule the name breaks.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > LOGIN_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        // The folded name is what is checked, because it is what is kept: folding U+0130 leaves a
        // combining dot.
        let folded = name.to_lowercase();
        for c in folded.chars() {
            if c.is_control() || c.is_whitespace() {
                return Err(NameError::ControlCharacter);
            }
            let allowed =
                if c.is_ascii() { c.is_ascii_alphanumeric() || "._-+'%!@".contains(c) } else { c.is_alphanumeric() };
            if !allowed {
                return Err(NameError::NotAllowed);
            }
        }
        if name.matches('@').count() > 1 {
            return Err(NameError::NotAnAddress);
        }
        // Folding can lengthen a name, and the limit applies to the name that is kept.
        if folded.len() > LOGIN_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        Ok(Self(folded))
    }

    /// The folded name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginName({})", self.0)
    }
}

/// A mailbox address or user principal name: a [`LoginName`] with exactly one `@` and text on both
/// sides of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailAddress(LoginName);

impl MailAddress {
    /// Checks and folds an address.
    ///
    /// # Errors
    /// [`NameError`] says which rule the address breaks.
    pub fn parse(address: &str) -> Result<Self, NameError> {
        Self::try_from(LoginName::parse(address)?)
    }

    /// The folded address.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address as a [`LoginName`].
    pub fn as_login(&self) -> &LoginName {
        &self.0
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        self.as_str().rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl TryFrom<LoginName> for MailAddress {
    type Error = NameError;

    fn try_from(name: LoginName) -> Result<Self, NameError> {
        match name.as_str().split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !domain.ends_with('.') => {
                Ok(Self(name))
            }
            _ => Err(NameError::NotAnAddress),
        }
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailAddress({})", self.as_str())
    }
}

/// Whether a text is a GUID (RFC 9562 §4: 8-4-4-4-12 hexadecimal digits), the form of Entra's
/// tenant and application IDs.
pub fn is_guid(text: &str) -> bool {
    let digits = |group: &str| group.bytes().all(|octet| octet.is_ascii_hexdigit());
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_case_variants_are_one_name() {
        assert_eq!(LoginName::parse("Alice@Contoso.COM").unwrap(), LoginName::parse("aLICE@contoso.com").unwrap());
    }

    #[test]
    fn hostile_names_are_refused() {
        for (name, why) in [
            ("", NameError::Empty),
            ("a@b\u{1}auth=Bearer x", NameError::ControlCharacter),
            ("a\r\n@b", NameError::ControlCharacter),
            ("a b@c", NameError::ControlCharacter),
            ("a\0@c", NameError::ControlCharacter),
            ("a@b@c", NameError::NotAnAddress),
            ("DOM\\alice", NameError::NotAllowed),
            ("a@b,c", NameError::NotAllowed),
            ("<a@b>", NameError::NotAllowed),
            ("\u{130}@b", NameError::NotAllowed),
        ] {
            assert_eq!(LoginName::parse(name), Err(why), "{name:?}");
        }
        assert_eq!(LoginName::parse(&"a".repeat(321)), Err(NameError::TooLong));
    }

    #[test]
    fn an_address_has_two_sides() {
        assert!(MailAddress::parse("a@b").is_ok());
        for name in ["a", "@b", "a@", "a@b.", "a@b..", "a@."] {
            assert_eq!(MailAddress::parse(name), Err(NameError::NotAnAddress), "{name}");
        }
        assert_eq!(MailAddress::parse("Jörg@Bücher.example").unwrap().domain(), "bücher.example");
    }
}
