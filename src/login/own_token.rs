//! Tokens that clients bring themselves: decides which are worth presenting, and remembers those
//! that were refused.
//!
//! Gatepost cannot verify such a token. Only the server it was issued for can, and it is asked
//! before the client is told that its login succeeded.

use std::sync::Arc;

use crate::login::authenticator::Authenticator;
use crate::login::explain;
use crate::login::request::Principal;
use gatepost_config::Account;
use gatepost_core::account::{self, MailAddress};
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_core::tuple_key::TupleKey;
use gatepost_oauth::password_digest::PasswordDigest;
use gatepost_oauth::tokens::User;
use gatepost_proto::sasl::Bearer;
use gatepost_proto::sasl::token::may_be_microsofts;

/// The server that judges a token: its protocol and its name. A token that one server refuses may
/// be good for another.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The protocol. IMAP, POP3 and SMTP want different permissions.
    pub protocol: Protocol,
    /// The host.
    pub name: &'a str,
}

/// A client's own token for one mailbox and one judge, as a key of the memory. The token cannot be
/// recovered from it.
#[derive(Clone, Copy, Debug)]
pub struct OwnToken {
    proof: PasswordDigest,
    whose: User,
}

impl Authenticator {
    /// Returns who a client with a token for this mailbox is: the account that the mailbox belongs
    /// to.
    ///
    /// # Errors
    /// A [`Failure`] when no account fits.
    pub fn owner(&self, mailbox: &MailAddress) -> Result<Principal, Failure> {
        let config = self.config();
        let accounts = &config.accounts;
        let opens = |entry: &&Arc<Account>| entry.mailbox.as_ref() == Some(mailbox) || entry.mailboxes.lists(mailbox);
        let found = accounts.find(mailbox.as_login()).map(|(account, _)| account);
        let account = found.or_else(|| accounts.entries().iter().find(opens).cloned());
        let account = account.ok_or_else(|| {
            let name = mailbox.as_login();
            let shown = if self.recognizes(name) { name.to_string() } else { account::hint(name.as_str()) };
            explain::unknown_account(name, &shown, None)
        })?;
        Ok(Principal { account, login: mailbox.clone(), mailbox: mailbox.clone() })
    }

    /// Checks whether the judge has to be asked about a client's own token: its user belongs to an
    /// account, it has the form of a token of that account's provider, and the judge has not refused
    /// it recently.
    ///
    /// # Errors
    /// A [`Failure`] that says why not.
    pub fn own_token(&self, bearer: &Bearer, judge: Judge<'_>) -> Result<OwnToken, Failure> {
        let owner = self.owner(&bearer.user)?;
        if let (Some(provider), Protocol::Graph) = (owner.account.application.issuer.provider(), judge.protocol) {
            return Err(explain::provider_lacks(&provider.title, "Graph"));
        }
        // Shorter ones exist at other providers, where a password may look the same.
        if owner.account.application.issuer.entra().is_some() && !may_be_microsofts(bearer.token.expose()) {
            return Err(not_a_token());
        }
        let tuple = TupleKey::encode(["own token", judge.protocol.name(), judge.name, bearer.user.as_str()]);
        let proof = self.tokens.proof_key()?.prove_token(&tuple, &bearer.token);
        if self.refused_tokens.answers(&proof, self.clock.now()) {
            return Err(explain::own_token_refused_before());
        }
        Ok(OwnToken { proof, whose: whose(&bearer.user) })
    }

    /// Notes that the judge has refused the token.
    pub fn own_token_refused(&self, token: &OwnToken) {
        self.refused_tokens.add(token.proof, token.whose, self.clock.now());
    }
}

/// What a client sent as a token does not have the form of one.
pub(crate) fn not_a_token() -> Failure {
    let message = "a password was sent as a token: what came by XOAUTH2 or OAUTHBEARER does not have the form of a token of \
                   the account's provider, and has not left this machine";
    Failure::new(Cause::NotAToken, message).delayed()
}

/// Returns the user under whom the tokens of a mailbox are forgotten together.
pub(super) fn whose(mailbox: &MailAddress) -> User {
    User::of(&TupleKey::encode(["own token", mailbox.as_str()]))
}
