//! The mechanisms, and which of them are announced.

/// A mechanism that a client may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Two prompts; not standardised, spoken by every old client.
    Login,
    /// The client brings its own token, in Google's and Microsoft's form.
    Xoauth2,
    /// The client brings its own token, in the form of RFC 7628.
    Oauthbearer,
}

impl Mechanism {
    /// All of them, in the order in which they are offered: what every client knows comes first.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Login, Self::Xoauth2, Self::Oauthbearer];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }

    /// Those for which every client has what they ask for.
    const FOR_PASSWORDS: [Self; 2] = [Self::Plain, Self::Login];

    /// The client brings a token of its own.
    pub fn is_for_tokens(self) -> bool {
        matches!(self, Self::Xoauth2 | Self::Oauthbearer)
    }

    /// The mechanism of that name in any case (old .NET clients write `login`); `None` when it is not offered.
    pub fn find(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }
}

/// What becomes of clients that bring a token of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTokens {
    /// Their mechanisms are unknown.
    Refuse,
    /// They are taken, and not announced: some programs prefer whatever is announced for tokens, and send it a password.
    #[default]
    Accept,
    /// They are taken and announced.
    Announce,
}

impl ClientTokens {
    /// The mechanisms that are announced, in their order.
    pub fn announced(self) -> &'static [Mechanism] {
        match self {
            Self::Refuse | Self::Accept => &Mechanism::FOR_PASSWORDS,
            Self::Announce => &Mechanism::ALL,
        }
    }

    /// Their names, with a space between them.
    pub fn announced_names(self) -> String {
        self.announced().iter().map(|mechanism| mechanism.name()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_found_in_any_case() {
        assert_eq!(Mechanism::find(b"login"), Some(Mechanism::Login));
        assert_eq!(Mechanism::find(b"XOAuth2"), Some(Mechanism::Xoauth2));
        assert_eq!(Mechanism::find(b"CRAM-MD5"), None);
        assert_eq!(Mechanism::find(b""), None);
    }
}
