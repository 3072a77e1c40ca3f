//! The credentials that a client presents, and the errors of their form.

use std::sync::Arc;

use gatepost_core::account::{self, LoginName, MailAddress, NameError};
use gatepost_core::secret::{AccessToken, Password};

/// Credentials of a client. Their form has been checked, but not yet whether they are right.
#[derive(Debug)]
pub enum Credentials {
    /// A user name and a password (PLAIN, LOGIN, or the protocol's own login command).
    Password {
        /// The authentication identity.
        login: LoginName,
        /// The authorization identity of RFC 4616, if it was given and differs from the login.
        acting_as: Option<LoginName>,
        /// The password, never empty.
        password: Password,
    },
    /// A token of the client's own (XOAUTH2 or OAUTHBEARER), which is passed on.
    Token(Bearer),
}

/// A mailbox and the token that opens it: the content of XOAUTH2.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The mailbox, the `user=` field.
    pub user: MailAddress,
    /// The token, the `auth=Bearer` field.
    pub token: Arc<AccessToken>,
}

/// A user name, or an identity to act as, that is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct BadName {
    /// The rule that it breaks.
    pub error: NameError,
    /// What may be logged of it: [`account::hint`].
    pub hint: String,
}

impl BadName {
    /// The name that breaks this rule.
    pub fn new(error: NameError, name: &str) -> Self {
        Self { error, hint: account::hint(name) }
    }
}

/// Why the form of credentials is wrong. The error does not repeat the octets, because they may be
/// hostile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The message does not have the form of the mechanism, so no credentials were presented.
    #[error("the message does not have the form of its mechanism")]
    Syntax,
    /// The user name, or the identity to act as, is impossible.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The password is empty, over 1,024 octets, or holds CR, LF, NUL or ^A.
    #[error("the password is empty, too long, or holds a control character that no password has")]
    Password,
    /// The message around a token is malformed.
    #[error("the message around the token is malformed")]
    Token,
    /// What this user presented as a token cannot be one, and is most likely a password.
    #[error("what was presented as a token is none")]
    NotAToken(MailAddress),
}
