//! What a client presents, and what can be wrong with its form.

use std::sync::Arc;

use gatepost_core::account::{LoginName, MailAddress, NameError};
use gatepost_core::secret::{AccessToken, Password};

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
pub enum CredentialsError {
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
