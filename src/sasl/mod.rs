//! SASL mechanisms as pure functions: octets in, [`Credentials`] or octets out. No sockets, no clock.
//!
//! Clients may use PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), and, when they hold a token of their own,
//! XOAUTH2 and OAUTHBEARER (RFC 7628). Towards the upstream Gatepost speaks XOAUTH2 only.

use std::sync::Arc;

use crate::account::{LoginName, MailAddress};
use crate::secret::{AccessToken, Password};

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
