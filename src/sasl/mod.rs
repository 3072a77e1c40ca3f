//! SASL mechanisms as pure functions: octets in, [`Credentials`] or octets out. No sockets, no clock.
//!
//! Clients may use PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), and, when they hold a token of their own,
//! XOAUTH2 and OAUTHBEARER (RFC 7628). Towards the upstream Gatepost speaks XOAUTH2 only.
//!
//! [`Exchange`] drives a mechanism from the server's side; [`decode`] and [`encode`] are the base64 that IMAP, POP3 and
//! SMTP wrap around its messages.

use std::sync::Arc;

use crate::account::{LoginName, MailAddress, NameError};
use crate::secret::{AccessToken, Password};

mod encoding;
mod exchange;
pub mod login;
pub mod oauthbearer;
pub mod plain;
pub mod text;
pub mod token;
pub mod xoauth2;

pub use encoding::{NotBase64, decode, encode};
pub use exchange::{Exchange, Progress};
pub use token::is_b64token;

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

/// What a client presented, checked for form but not yet for truth.
#[derive(Debug)]
pub enum Credentials {
    /// A user name and a password (PLAIN, LOGIN, or the protocol's own login command).
    Password {
        /// The authentication identity.
        login: LoginName,
        /// The authorization identity of RFC 4616, when it was given and is not the login itself.
        acting_as: Option<LoginName>,
        /// Never empty.
        password: Password,
    },
    /// A token of the client's own (XOAUTH2 or OAUTHBEARER), which passes through.
    Token(Bearer),
}

/// A mailbox and the token that is to open it: what XOAUTH2 carries.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The mailbox, the `user=` field.
    pub user: MailAddress,
    /// The token, the `auth=Bearer` field.
    pub token: Arc<AccessToken>,
}

/// What is wrong with credentials by their form alone. The octets themselves are not repeated: they may be hostile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The message does not have the mechanism's form, so that nothing was presented at all.
    #[error("the message does not have the form of its mechanism")]
    Syntax,
    /// The user name, or the identity to act as, cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The password is empty, over 1,024 octets, or holds CR, LF, NUL or ^A.
    #[error("the password is empty, too long, or holds a control character that no password has")]
    Password,
    /// The message around a token is malformed.
    #[error("the message around the token is malformed")]
    Token,
    /// What this user presented as a token is none of Microsoft's, but most likely a password.
    #[error("what was presented as a token is none")]
    NotAToken(MailAddress),
}

/// The mailbox and token of a client that brings its own, checked.
fn bearer(user: &[u8], token: &[u8]) -> Result<Credentials, Flaw> {
    let user = MailAddress::try_from(text::login_name(user)?)?;
    match std::str::from_utf8(token).ok().filter(|token| token::may_be_microsofts(token)) {
        Some(token) => Ok(Credentials::Token(Bearer { user, token: Arc::new(AccessToken::new(token.to_owned())) })),
        None => Err(Flaw::NotAToken(user)),
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
