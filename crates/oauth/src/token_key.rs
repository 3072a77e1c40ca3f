//! The keys under which tokens are kept. A key holds everything that distinguishes one token from
//! others.

use gatepost_config::Application;
use gatepost_core::account::MailAddress;
use gatepost_core::tuple_key::TupleKey;

/// Key of a user's own token.
pub fn of_user(application: &Application, tenant: &str, scope: &str, username: &MailAddress) -> TupleKey {
    of(application, tenant, scope, "password", username.as_str())
}

/// Key of an application's token, one for all mailboxes that it may open.
pub fn of_application(application: &Application, tenant: &str, scope: &str) -> TupleKey {
    of(application, tenant, scope, "client_credentials", "")
}

/// Key of the token with which a service account opens one mailbox.
pub fn of_mailbox(application: &Application, tenant: &str, scope: &str, mailbox: &MailAddress) -> TupleKey {
    of(application, tenant, scope, "service_account", mailbox.as_str())
}

/// Key of a token that a sign-in gives to `login`.
pub fn of_sign_in(application: &Application, tenant: &str, scope: &str, login: &MailAddress) -> TupleKey {
    of(application, tenant, scope, "refresh_token", login.as_str())
}

/// Key of what a `Retry-After` applies to: application, tenant and scope.
pub fn of_throttle(application: &Application, tenant: &str, scope: &str) -> TupleKey {
    TupleKey::encode([application.issuer.authority().as_str(), tenant, &application.client_id, scope])
}

pub(super) fn of(application: &Application, tenant: &str, scope: &str, grant: &str, login: &str) -> TupleKey {
    TupleKey::encode([login, application.issuer.authority().as_str(), tenant, &application.client_id, grant, scope])
}
