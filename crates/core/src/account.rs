//! Checked names: the user names that clients present, and the addresses and IDs that Entra knows.

use std::fmt;

/// Longest user name accepted, in octets (RFC 5321 §4.5.3.1: 64 + `@` + 255).
pub const LOGIN_NAME_OCTETS: usize = 320;

/// What the part of an address before the `@` may hold besides letters and digits.
const LOCAL_PART_MARKS: &str = ".!#$%&'+-/=?^_`{|}~";

/// What the domain of an address may hold besides letters and digits.
const DOMAIN_MARKS: &str = ".-_";

/// A user name as a client presented it, in canonical form: case-folded printable text of 1 to 320
/// octets, without blanks around it. It may be an address, an alias, or another form that
/// `gatepost_config::Accounts` knows.
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
    #[error("the name is longer than 320 bytes")]
    TooLong,
    /// The name holds a character that cannot be printed, such as a control character.
    #[error("the name holds a character that cannot be printed")]
    NotPrintable,
    /// The address holds a character that no address in Entra or Exchange has, such as a blank.
    #[error("the name holds a character that is not allowed in an address")]
    NotAllowed,
    /// The name does not have exactly one `@` with text on both sides, or it ends in a dot, which
    /// DNS and Entra ignore.
    #[error("the name is not an address of the form user@domain")]
    NotAnAddress,
}

impl LoginName {
    /// Checks and folds a name. Blanks around it are left out.
    ///
    /// # Errors
    /// [`NameError`] says which rule the name breaks.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let name = name.trim_matches(' ');
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > LOGIN_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        // The folded name is what is checked, because it is what is kept: folding U+0130 leaves a
        // combining dot.
        let folded = name.to_lowercase();
        if !folded.chars().all(is_printable) {
            return Err(NameError::NotPrintable);
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

/// Whether a character can be shown by itself: no control, no mark that joins the character before
/// it, no invisible or direction-changing one, and no blank but the space.
fn is_printable(c: char) -> bool {
    // The standard library escapes exactly those, and these three for its own syntax.
    matches!(c, '\\' | '\'' | '"') || c.escape_debug().len() == 1
}

/// What may be logged of a text that a client sent as its user name and that names no account: the
/// first and last characters and the length. That is enough to recognize a device, and too little
/// to reveal a password in the wrong field.
pub fn hint(name: &str) -> String {
    let shown = |c: char| if is_printable(c) { c } else { '?' };
    let name = name.trim();
    let characters = name.chars().count();
    let beginning = name.chars().take(if characters > 4 { 2 } else { 1 }).map(shown);
    match (characters, name.chars().last()) {
        (0, _) | (_, None) => "(empty)".to_owned(),
        (1, _) => "… (1 character)".to_owned(),
        (2..=4, _) => format!("{}… ({characters} characters)", beginning.collect::<String>()),
        (_, Some(last)) => format!("{}…{} ({characters} characters)", beginning.collect::<String>(), shown(last)),
    }
}

/// A mailbox address or user principal name: a [`LoginName`] with exactly one `@`, a domain behind
/// it, and before it what Entra and Exchange allow (RFC 5322 `atext` and dots). `*` is left out
/// because it would read as a pattern. Beyond ASCII there are letters and digits only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailAddress(LoginName);

impl MailAddress {
    /// Checks and folds an address.
    ///
    /// # Errors
    /// [`NameError`] says which rule the address breaks.
    pub fn parse(address: &str) -> Result<Self, NameError> {
        // Unlike a user name, an address is not cleaned of blanks around it.
        if address.contains(' ') {
            return Err(NameError::NotAllowed);
        }
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

    /// The part before the `@`.
    pub fn local_part(&self) -> &str {
        self.as_str().split_once('@').map_or("", |(local, _)| local)
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        self.as_str().rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl TryFrom<LoginName> for MailAddress {
    type Error = NameError;

    fn try_from(name: LoginName) -> Result<Self, NameError> {
        let (local, domain) = name.as_str().split_once('@').ok_or(NameError::NotAnAddress)?;
        if local.is_empty() || domain.is_empty() || domain.ends_with('.') || domain.contains('@') {
            return Err(NameError::NotAnAddress);
        }
        let is_of = |text: &str, marks: &str| text.chars().all(|c| c.is_alphanumeric() || marks.contains(c));
        if !is_of(local, LOCAL_PART_MARKS) || !is_of(domain, DOMAIN_MARKS) {
            return Err(NameError::NotAllowed);
        }
        Ok(Self(name))
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

/// Whether a name or an address may stand in a command that an administrator pastes into a shell or
/// PowerShell: letters and digits of ASCII and `@._+-`, with no `-` at the beginning. Whoever logs
/// in chooses the name.
pub fn fits_command(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"@._+-".contains(&octet);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(fits)
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
            ("  ", NameError::Empty),
            ("a@b\u{1}auth=Bearer x", NameError::NotPrintable),
            ("a\r\n@b", NameError::NotPrintable),
            ("a\tb", NameError::NotPrintable),
            ("a\0@c", NameError::NotPrintable),
            ("a\u{a0}b", NameError::NotPrintable),
            ("a\u{202e}b", NameError::NotPrintable),
            ("a\u{200b}b", NameError::NotPrintable),
            ("\u{130}@b", NameError::NotPrintable),
        ] {
            assert_eq!(LoginName::parse(name), Err(why), "{name:?}");
        }
        assert_eq!(LoginName::parse(&"a".repeat(321)), Err(NameError::TooLong));
    }

    #[test]
    fn a_name_is_any_printable_text() {
        for (name, kept) in [
            ("CONTOSO\\Anna", "contoso\\anna"),
            (" Scan Room 7 ", "scan room 7"),
            ("anna@contoso.com\\office", "anna@contoso.com\\office"),
            ("a@b@c", "a@b@c"),
            ("\"Lager\" (2. Stock)", "\"lager\" (2. stock)"),
            ("Straße №5", "straße №5"),
        ] {
            assert_eq!(LoginName::parse(name).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn an_address_holds_what_entra_and_exchange_allow() {
        for local in
            ["r&d", "a#b", "a^b", "~a", "o'neil", "a!b", "a+b", "a=b", "{a|b}", "`a", "a/b", "$a", "a?b", "a%b"]
        {
            assert!(MailAddress::parse(&format!("{local}@contoso.com")).is_ok(), "{local}");
        }
        for address in [
            "a b@c", " a@b", "dom\\a@b", "a@b,c", "<a@b>", "\"a\"@b", "a@b/c", "a@b\\c", "a@b&c", "a*@b", "(a)@b",
            "a:b@c", "a;b@c", "a[b]@c", "№5@c",
        ] {
            assert_eq!(MailAddress::parse(address), Err(NameError::NotAllowed), "{address}");
        }
    }

    #[test]
    fn only_plain_names_stand_in_commands() {
        for name in ["anna@contoso.com", "a.b_c+d-e@contoso.com", "scan7"] {
            assert!(fits_command(name), "{name}");
        }
        for name in
            ["", "-x@contoso.com", "o'neil@b.com", "$(id)@b.com", "a`id`@b.com", "a|b@c.com", "a&b@c", "a;b", "é@b"]
        {
            assert!(!fits_command(name), "{name}");
        }
    }

    #[test]
    fn a_hint_shows_little() {
        for (name, shown) in [
            ("", "(empty)"),
            ("x", "… (1 character)"),
            ("scan", "s… (4 characters)"),
            ("scan9", "sc…9 (5 characters)"),
            (" Hunter2Hunter2! ", "Hu…! (15 characters)"),
            ("a\u{1}\u{202e}bcd\u{7f}", "a?…? (7 characters)"),
        ] {
            assert_eq!(hint(name), shown);
        }
    }

    #[test]
    fn an_address_has_two_sides() {
        assert!(MailAddress::parse("a@b").is_ok());
        for name in ["a", "@b", "a@", "a@b.", "a@b..", "a@.", "a@b@c"] {
            assert_eq!(MailAddress::parse(name), Err(NameError::NotAnAddress), "{name}");
        }
        assert_eq!(MailAddress::parse("Jörg@Bücher.example").unwrap().domain(), "bücher.example");
    }
}
