//! A call whose token gives a right to a mailbox, and the mailboxes that it may enter.

use std::sync::Arc;

use super::error::EwsError;
use crate::sandbox::directory::Entry;
use crate::sandbox::item_id::{Alphabet, ItemId};
use crate::sandbox::state::Shared;
use crate::sandbox::store::Mailbox;
use crate::sandbox::token::Claims;

/// A mailbox that the caller may work in.
pub(super) struct Place {
    /// Folded.
    pub(super) address: String,
    pub(super) object_id: String,
    pub(super) mailbox: Arc<Mailbox>,
}

/// A call whose token gives a right to a mailbox.
pub(super) struct Session<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) claims: Claims,
    /// The mailbox of the bearer, or the impersonated one.
    pub(super) own: Place,
}

impl Session<'_> {
    /// The mailbox of that address, if the caller may enter it.
    pub(super) fn enter(&self, address: &str) -> Result<Place, EwsError> {
        let address = address.to_lowercase();
        match self.shared.directory.enter(&self.claims, &address) {
            Entry::Open(mailbox) => {
                Ok(Place { object_id: self.shared.directory.object_id(&address), address, mailbox })
            }
            Entry::NoSuchMailbox => Err(EwsError::no_mailbox()),
            Entry::Denied => Err(EwsError::access_denied()),
        }
    }

    /// What an identifier names, and the mailbox that it is of.
    pub(super) fn locate(&self, id: &str) -> Result<(Place, ItemId), EwsError> {
        let malformed = || EwsError::new("ErrorInvalidIdMalformed", "Id is malformed.");
        let owner = ItemId::mailbox_of(id, Alphabet::Standard).ok_or_else(malformed)?;
        let id = ItemId::read(id, &owner, Alphabet::Standard).ok_or_else(malformed)?;
        let address = self.shared.directory.address_of(&owner).ok_or_else(EwsError::item_not_found)?;
        // An impersonated mailbox is the only one; a person may work in those of others.
        if self.claims.user.is_none() && address != self.own.address {
            return Err(EwsError::access_denied());
        }
        Ok((self.enter(&address)?, id))
    }
}
