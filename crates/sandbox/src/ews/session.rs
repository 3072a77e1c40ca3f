//! A call whose token gives a right to a mailbox, and the mailboxes that it may enter.

use std::sync::Arc;

use super::error::EwsError;
use crate::directory::MailboxAccess;
use crate::item_id::{Alphabet, ItemId};
use crate::state::SandboxState;
use crate::store::Mailbox;
use crate::token::Claims;

/// A mailbox that the caller may work in.
pub(super) struct EnteredMailbox {
    /// Its address in lower case.
    pub(super) address: String,
    pub(super) object_id: String,
    pub(super) mailbox: Arc<Mailbox>,
}

/// A call whose token gives a right to a mailbox.
pub(super) struct EwsSession<'a> {
    pub(super) shared: &'a Arc<SandboxState>,
    pub(super) claims: Claims,
    /// The mailbox of the bearer, or the impersonated one.
    pub(super) own: EnteredMailbox,
}

impl EwsSession<'_> {
    /// The mailbox of that address, if the caller may enter it.
    pub(super) fn enter(&self, address: &str) -> Result<EnteredMailbox, EwsError> {
        let address = address.to_lowercase();
        match self.shared.directory.enter(&self.claims, &address) {
            MailboxAccess::Open(mailbox) => {
                Ok(EnteredMailbox { object_id: self.shared.directory.object_id(&address), address, mailbox })
            }
            MailboxAccess::NoSuchMailbox => Err(EwsError::no_mailbox()),
            MailboxAccess::Denied => Err(EwsError::access_denied()),
        }
    }

    /// What an identifier names, and the mailbox that it is of.
    pub(super) fn locate(&self, id: &str) -> Result<(EnteredMailbox, ItemId), EwsError> {
        let malformed = || EwsError::new("ErrorInvalidIdMalformed", "Id is malformed.");
        let owner = ItemId::mailbox_of(id, Alphabet::Standard).ok_or_else(malformed)?;
        let id = ItemId::read(id, &owner, Alphabet::Standard).ok_or_else(malformed)?;
        let address = self.shared.directory.address_of(&owner).ok_or_else(EwsError::item_not_found)?;
        // An application may work in the impersonated mailbox only, a person in those of others
        // too.
        if self.claims.user.is_none() && address != self.own.address {
            return Err(EwsError::access_denied());
        }
        Ok((self.enter(&address)?, id))
    }
}
