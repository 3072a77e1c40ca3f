//! What a token is asked for: the configured scope, or as little as the protocols need.

use std::borrow::Cow;

use crate::config::{Account, Config};
use crate::oauth::grant::default_scope;
use crate::proto::Protocol;

/// The scope (v1.0: resource) of an account's tokens.
///
/// A person who signs in is asked for the protocols that the configuration has listeners for, and for nothing else. The
/// grants without a person take all that was consented to (`.default`): there is nobody who could be asked for less.
pub(crate) fn of<'a>(account: &'a Account, config: &Config) -> Cow<'a, str> {
    if let Some(scope) = &account.scope {
        return Cow::Borrowed(scope);
    }
    let everything = default_scope(account.application.cloud, account.grant.is_of_user());
    match everything.strip_suffix(".default") {
        Some(resource) if account.grant.is_sign_in() => Cow::Owned(permissions(resource, config)),
        // The v1.0 endpoint knows resources only.
        _ => Cow::Borrowed(everything),
    }
}

fn permissions(resource: &str, config: &Config) -> String {
    let serves = |protocol: Protocol| config.listeners.iter().any(|listener| listener.protocol == protocol);
    let permissions = [
        (Protocol::Imap, "IMAP.AccessAsUser.All"),
        (Protocol::Pop3, "POP.AccessAsUser.All"),
        (Protocol::Smtp, "SMTP.Send"),
    ];
    let needed = permissions.into_iter().filter(|(protocol, _)| serves(*protocol));
    needed.map(|(_, permission)| format!("{resource}{permission}")).collect::<Vec<_>>().join(" ")
}
