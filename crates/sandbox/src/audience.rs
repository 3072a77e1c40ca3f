//! Whom an application was registered for.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Whom an application was registered for (`signInAudience`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignInAudience {
    /// `AzureADMyOrg`: accounts of its own tenant.
    MyOrganization,
    /// `AzureADMultipleOrgs`: accounts of any tenant.
    #[default]
    AnyOrganization,
    /// `AzureADandPersonalMicrosoftAccount`: accounts of any tenant, and personal ones.
    AnyOrganizationAndPersonal,
    /// `PersonalMicrosoftAccount`: personal accounts only.
    PersonalOnly,
}

impl SignInAudience {
    pub(super) fn has_personal(self) -> bool {
        matches!(self, Self::AnyOrganizationAndPersonal | Self::PersonalOnly)
    }
}

/// The audiences of all applications, by client id; the default one where none was set.
#[derive(Default)]
pub(super) struct Audiences(Mutex<HashMap<String, SignInAudience>>);

impl Audiences {
    pub(super) fn of(&self, client_id: &str) -> SignInAudience {
        self.0.lock().get(&client_id.to_lowercase()).copied().unwrap_or_default()
    }

    pub(super) fn set(&self, client_id: &str, audience: SignInAudience) {
        self.0.lock().insert(client_id.to_lowercase(), audience);
    }
}
