//! The person that an ID token names, and its claims.

use serde::Deserialize;

use gatepost_core::account::MailAddress;

/// A person in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `tid`: the directory id, folded; empty where there are no directories.
    pub tenant_id: String,
    /// `oid`: the person's id in that directory, which stays when the name changes; folded. Where there
    /// are no directories it is `sub`.
    pub object_id: String,
    /// `iss`.
    pub issuer: String,
    /// `preferred_username`, `upn` and `unique_name`, as far as they are addresses, without
    /// repetition.
    pub usernames: Vec<MailAddress>,
    /// `email`, which only the person's own directory vouches for.
    pub email: Option<MailAddress>,
}

impl Identity {
    /// The name that messages use for the person.
    pub fn username(&self) -> &str {
        self.usernames.first().or(self.email.as_ref()).map_or(&self.object_id, |name| name.as_str())
    }

    /// Whether this is a name of the person. `email` counts only in one's own tenant, because the
    /// administrator of another tenant can write anything there.
    pub fn is_called(&self, name: &MailAddress, own_tenant: bool) -> bool {
        self.usernames.contains(name) || (own_tenant && self.email.as_ref() == Some(name))
    }
}

/// Why an ID token does not say who signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenProblem {
    /// The answer had no ID token.
    #[error("the answer holds no ID token")]
    Missing,
    /// It is not a JWT with the claims of Entra's ID tokens.
    #[error("the ID token cannot be read")]
    Malformed,
    /// `iss` is not the authority that was asked.
    #[error("the ID token is of another issuer than the one that was asked")]
    Issuer,
    /// `aud` is not our `client_id`.
    #[error("the ID token is for another application")]
    Audience,
    /// `tid` is not the configured directory.
    #[error("the person belongs to the directory `{found}`, not to the configured one")]
    Tenant {
        /// The person's directory.
        found: String,
    },
    /// A personal account signed in where one of a tenant was asked for.
    #[error("a personal Microsoft account signed in, but `tenant` takes work and school accounts only")]
    PersonalAccount,
    /// An account of a tenant signed in where a personal one was asked for.
    #[error("an account of the directory `{tenant}` signed in, but `tenant: consumers` takes personal accounts only")]
    WorkAccount {
        /// The person's directory.
        tenant: String,
    },
    /// `exp` or `nbf` does not fit the time.
    #[error("the ID token is not valid now, as far as this machine's clock is right")]
    Time,
    /// `nonce` is not that of the request.
    #[error("the ID token belongs to another sign-in")]
    Nonce,
}

/// The claims of an ID token (OpenID Connect Core §2 and §5.1; Microsoft, "ID token claims
/// reference").
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(super) aud: Audience,
    pub(super) exp: u64,
    pub(super) nbf: Option<u64>,
    pub(super) nonce: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) tid: Option<String>,
    pub(crate) oid: Option<String>,
    pub(crate) preferred_username: Option<String>,
    pub(crate) upn: Option<String>,
    pub(crate) unique_name: Option<String>,
    pub(crate) email: Option<String>,
    /// A truth value, which some servers write as text.
    pub(crate) email_verified: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}
