//! What the administrator of Exchange Online has set: for the application, and for each mailbox.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use super::mode::Service;
use super::token::Claims;

/// The settings; at the start everything is as it should be.
#[derive(Default)]
pub(super) struct ExchangeSettings {
    /// `None`: everything that the sandbox knows.
    consent: Mutex<Option<Vec<String>>>,
    without_service_principal: Mutex<bool>,
    /// What applications may besides.
    roles: Mutex<Vec<String>>,
    /// By address, folded.
    mailboxes: Mutex<HashMap<String, MailboxSettings>>,
}

/// The settings of one mailbox, where they differ from the usual ones.
#[derive(Default)]
struct MailboxSettings {
    switched_off: HashSet<Service>,
    without_licence: bool,
    send_as_denied: bool,
    is_high_volume: bool,
}

impl ExchangeSettings {
    pub(super) fn consent(&self) -> Option<Vec<String>> {
        self.consent.lock().clone()
    }

    pub(super) fn set_consent(&self, permissions: Option<Vec<String>>) {
        *self.consent.lock() = permissions;
    }

    /// Whether the bearer of a token may do what `permission` is for: by the token, or for an
    /// application by a role.
    pub(super) fn permits(&self, claims: &Claims, permission: &str) -> bool {
        let by_role = || claims.user.is_none() && self.roles.lock().iter().any(|role| role == permission);
        claims.permits(permission) || by_role()
    }

    pub(super) fn set_roles(&self, permissions: Vec<String>) {
        *self.roles.lock() = permissions;
    }

    /// Whether Exchange knows the application by the object id that its tokens have.
    pub(super) fn has_service_principal(&self) -> bool {
        !*self.without_service_principal.lock()
    }

    pub(super) fn set_service_principal(&self, registered: bool) {
        *self.without_service_principal.lock() = !registered;
    }

    pub(super) fn is_switched_off(&self, address: &str, service: Service) -> bool {
        self.of(address, |mailbox| mailbox.switched_off.contains(&service))
    }

    pub(super) fn set_protocol(&self, address: &str, service: Service, enabled: bool) {
        self.change(address, |mailbox| {
            if enabled {
                mailbox.switched_off.remove(&service)
            } else {
                mailbox.switched_off.insert(service)
            };
        });
    }

    pub(super) fn has_licence(&self, address: &str) -> bool {
        !self.of(address, |mailbox| mailbox.without_licence)
    }

    pub(super) fn set_licence(&self, address: &str, assigned: bool) {
        self.change(address, |mailbox| mailbox.without_licence = !assigned);
    }

    pub(super) fn is_high_volume(&self, address: &str) -> bool {
        self.of(address, |mailbox| mailbox.is_high_volume)
    }

    pub(super) fn set_high_volume(&self, address: &str) {
        self.change(address, |mailbox| mailbox.is_high_volume = true);
    }

    pub(super) fn may_send_as(&self, address: &str) -> bool {
        !self.of(address, |mailbox| mailbox.send_as_denied)
    }

    pub(super) fn set_send_as(&self, address: &str, allowed: bool) {
        self.change(address, |mailbox| mailbox.send_as_denied = !allowed);
    }

    fn of(&self, address: &str, read: impl FnOnce(&MailboxSettings) -> bool) -> bool {
        self.mailboxes.lock().get(&address.to_lowercase()).is_some_and(read)
    }

    fn change(&self, address: &str, change: impl FnOnce(&mut MailboxSettings)) {
        change(self.mailboxes.lock().entry(address.to_lowercase()).or_default());
    }
}
