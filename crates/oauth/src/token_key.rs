//! Under which a token is kept: everything that makes it this token and no other.

use gatepost_config::Application;
use gatepost_core::account::MailAddress;
use gatepost_core::tuple_key::TupleKey;

/// Of a user's own token.
pub fn of_user(application: &Application, tenant: &str, scope: &str, username: &MailAddress) -> TupleKey {
    of(application, tenant, scope, "password", username.as_str())
}

/// Of an application's token, one for all mailboxes that it may open.
pub fn of_application(application: &Application, tenant: &str, scope: &str) -> TupleKey {
    of(application, tenant, scope, "client_credentials", "")
}

/// Of a token that somebody's sign-in gives to `login`.
pub fn of_sign_in(application: &Application, tenant: &str, scope: &str, login: &MailAddress) -> TupleKey {
    of(application, tenant, scope, "refresh_token", login.as_str())
}

/// Application, tenant and scope: what a `Retry-After` applies to.
pub fn of_throttle(application: &Application, tenant: &str, scope: &str) -> TupleKey {
    TupleKey::encode([application.authority.as_str(), tenant, &application.client_id, scope])
}

pub(super) fn of(application: &Application, tenant: &str, scope: &str, grant: &str, login: &str) -> TupleKey {
    TupleKey::encode([login, application.authority.as_str(), tenant, &application.client_id, grant, scope])
}
