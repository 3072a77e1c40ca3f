//! A person's sign-in, as the store keeps it.

use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::RefreshToken;

/// The key of a sign-in: one account at one application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignInKey {
    /// The address that logs in.
    pub login: MailAddress,
    /// Base of the token endpoint.
    pub authority: String,
    /// The tenant as configured.
    pub tenant: String,
    /// The application that was consented to.
    pub client_id: String,
}

/// A person's sign-in, and the refresh token that it gave.
#[derive(Debug)]
pub struct SignIn {
    /// The newest refresh token.
    pub refresh_token: RefreshToken,
    /// `tid` of the ID token: the directory id.
    pub tenant_id: String,
    /// `oid` of the ID token: the person who signed in, even if the name changes.
    pub object_id: String,
    /// `preferred_username` of the ID token.
    pub username: String,
    /// What was consented to.
    pub scope: String,
    /// When the person signed in.
    pub signed_in_at: UnixTime,
    /// When the refresh token was last exchanged for a newer one.
    pub rotated_at: UnixTime,
    /// Entra refused the refresh token for good: a person must sign in again. The token is kept all
    /// the same.
    pub refused: Option<SignInRefused>,
}

impl SignIn {
    /// A copy for a reader.
    pub(super) fn copy(&self) -> Self {
        Self {
            refresh_token: RefreshToken::new(self.refresh_token.expose().to_owned()),
            tenant_id: self.tenant_id.clone(),
            object_id: self.object_id.clone(),
            username: self.username.clone(),
            scope: self.scope.clone(),
            ..*self
        }
    }
}

/// Entra's last refusal of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInRefused {
    /// When.
    pub at: UnixTime,
    /// The AADSTS number, when there was one.
    pub code: Option<u32>,
}
