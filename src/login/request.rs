//! What a client presents with its password, and what a login yields.

use std::net::IpAddr;
use std::sync::Arc;

use crate::login::device::KnownPassword;
use gatepost_config::{Account, Resource};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_core::tuple_key::TupleKey;
use gatepost_oauth::Token;
use gatepost_oauth::tokens::{FetchedToken, TokenOrigin};
use gatepost_proto::sasl::Bearer;

/// A login with a password, as a client presented it.
#[derive(Clone, Copy, Debug)]
pub struct LoginRequest<'a> {
    /// The authentication identity.
    pub login: &'a LoginName,
    /// The authorization identity (RFC 4616 §2), when it is not the login itself: the mailbox that
    /// the client asks for.
    pub acting_as: Option<&'a LoginName>,
    /// The password.
    pub password: &'a Password,
    /// The client's address.
    pub source: IpAddr,
    /// The protocol that the client speaks.
    pub protocol: Protocol,
    /// What the token is for.
    pub resource: Resource,
}

/// Who a client is, by the present configuration: its account, without a token.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The account.
    pub account: Arc<Account>,
    /// The address that logged in; for an alias, the address of its account.
    pub login: MailAddress,
    /// The mailbox that the login opens.
    pub mailbox: MailAddress,
}

impl Principal {
    /// Returns an address of the account's own: its mailbox, its login, or an alias.
    pub fn is_own(&self, address: &MailAddress) -> bool {
        *address == self.mailbox || *address == self.login || self.account.aliases.contains(address.as_login())
    }
}

/// A login whose token may be presented upstream.
#[derive(Clone, Debug)]
pub struct AuthorizedLogin {
    /// The account that the login belongs to.
    pub account: Arc<Account>,
    /// The address that logged in; for an alias, the address of its account.
    pub login: MailAddress,
    /// The mailbox and the token that opens it.
    pub bearer: Bearer,
    /// Where the token comes from.
    pub origin: TokenOrigin,
    /// The device password that was presented, if it was one. The session ends when it ends.
    pub device: Option<Arc<KnownPassword>>,
    pub(super) key: TupleKey,
    pub(super) token: Token,
}

impl AuthorizedLogin {
    /// Creates the authorized login of `login`, an address of `account`, which opens `mailbox` with
    /// the token obtained for it.
    pub(super) fn new(
        account: Arc<Account>,
        login: MailAddress,
        mailbox: MailAddress,
        obtained: FetchedToken,
        device: Option<Arc<KnownPassword>>,
    ) -> Self {
        let FetchedToken { token, origin, key } = obtained;
        let bearer = Bearer { user: mailbox, token: Arc::clone(&token.access_token) };
        Self { account, login, bearer, origin, device, key, token }
    }
}
