//! Tokens that clients bring themselves: which of them are worth asking about, and the memory of those that were refused.
//!
//! Gatepost cannot tell a good one. Only the one it was made for can, and is asked before the client hears that it is in.

use crate::login::authenticator::Authenticator;
use crate::login::explain;
use gatepost_core::account::MailAddress;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_core::tuple_key::TupleKey;
use gatepost_oauth::password_digest::PasswordDigest;
use gatepost_oauth::tokens::User;
use gatepost_proto::sasl::Bearer;

/// Who judges a token: what it speaks, and its name. A token that one refuses may be good for another.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// IMAP, POP3 and SMTP want different permissions.
    pub protocol: Protocol,
    /// The host.
    pub name: &'a str,
}

/// A client's own token for one mailbox and one judge, as the memory knows it. It cannot be turned back.
#[derive(Clone, Copy, Debug)]
pub struct OwnToken {
    proof: PasswordDigest,
    whose: User,
}

impl Authenticator {
    /// That a mailbox belongs to a configured account.
    ///
    /// # Errors
    /// A [`Failure`] when none fits.
    pub fn owns(&self, mailbox: &MailAddress) -> Result<(), Failure> {
        let config = self.config();
        let accounts = &config.accounts;
        let is_mailbox = || accounts.entries().iter().any(|entry| entry.mailbox.as_ref() == Some(mailbox));
        let known = accounts.find(mailbox.as_login()).is_some() || is_mailbox();
        if known { Ok(()) } else { Err(explain::unknown_account()) }
    }

    /// Whether the judge need be asked about a client's own token: its user belongs to an account, and the judge has not
    /// refused it in the last minutes.
    ///
    /// # Errors
    /// A [`Failure`] that says why not.
    pub fn own_token(&self, bearer: &Bearer, judge: Judge<'_>) -> Result<OwnToken, Failure> {
        self.owns(&bearer.user)?;
        let tuple = TupleKey::encode(["own token", judge.protocol.name(), judge.name, bearer.user.as_str()]);
        let proof = self.tokens.proof_key()?.prove_token(&tuple, &bearer.token);
        if self.refused_tokens.answers(&proof, self.clock.now()) {
            return Err(explain::own_token_refused_before());
        }
        Ok(OwnToken { proof, whose: whose(&bearer.user) })
    }

    /// The judge has refused it.
    pub fn own_token_refused(&self, token: &OwnToken) {
        self.refused_tokens.add(token.proof, token.whose, self.clock.now());
    }
}

/// Whose tokens are forgotten together.
pub(super) fn whose(mailbox: &MailAddress) -> User {
    User::of(&TupleKey::encode(["own token", mailbox.as_str()]))
}
