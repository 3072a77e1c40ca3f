//! The mechanisms, and which of them are announced.

/// A mechanism that a client may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Two prompts; not standardised, but used by every old client.
    Login,
    /// The client brings its own token, in Google's and Microsoft's form.
    Xoauth2,
    /// The client brings its own token, in the form of RFC 7628.
    Oauthbearer,
}

impl Mechanism {
    /// All mechanisms in the order in which they are offered. Those that every client knows come
    /// first.
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

    /// The mechanisms for a user name and a password, which every client has.
    const FOR_PASSWORDS: [Self; 2] = [Self::Plain, Self::Login];

    /// Whether the client brings its own token.
    pub fn is_for_tokens(self) -> bool {
        matches!(self, Self::Xoauth2 | Self::Oauthbearer)
    }

    /// The mechanism with this name in any case (old .NET clients write `login`); `None` if it is
    /// not offered.
    pub fn find(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }
}

/// How clients that bring their own token are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTokens {
    /// Their mechanisms are treated as unknown.
    Refuse,
    /// They are accepted, but not announced: some clients prefer any announced token mechanism, and
    /// send a password with it.
    #[default]
    Accept,
    /// They are accepted and announced.
    Announce,
}

impl ClientTokens {
    /// The announced mechanisms, in order.
    pub fn announced(self) -> &'static [Mechanism] {
        match self {
            Self::Refuse | Self::Accept => &Mechanism::FOR_PASSWORDS,
            Self::Announce => &Mechanism::ALL,
        }
    }

    /// The names of the announced mechanisms, separated by spaces.
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

    #[test]
    fn mechanisms_for_tokens_are_announced_only_on_demand() {
        let for_tokens = Mechanism::ALL.map(Mechanism::is_for_tokens);
        assert_eq!(for_tokens, [false, false, true, true]);
        for (tokens, names) in [
            (ClientTokens::Refuse, "PLAIN LOGIN"),
            (ClientTokens::Accept, "PLAIN LOGIN"),
            (ClientTokens::Announce, "PLAIN LOGIN XOAUTH2 OAUTHBEARER"),
        ] {
            assert_eq!(tokens.announced_names(), names);
        }
    }
}
