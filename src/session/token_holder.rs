//! Whose token it was that a server refused: what the token says of itself, and the commands that
//! give it what it lacks.

use std::sync::Arc;

use crate::login::AuthorizedLogin;
use gatepost_config::{Account, Issuer};
use gatepost_core::account::{MailAddress, fits_command};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};
use gatepost_oauth::{MailAccess, TokenClaims, consent_url};
use gatepost_proto::sasl::Bearer;

/// The holder of a token that was sent to a server.
#[derive(Clone, Debug)]
pub(super) struct TokenHolder {
    account: Arc<Account>,
    login: MailAddress,
    bearer: Bearer,
}

/// Whether a token has the permission that was needed.
pub(super) enum Permission {
    /// It has this one.
    Granted(&'static str),
    /// It lacks this one.
    Missing(&'static str),
    /// It cannot be read.
    Unknown,
}

impl TokenHolder {
    /// The holder of the token of `admission`, sent for `mailbox`.
    pub(super) fn new(admission: &AuthorizedLogin, mailbox: &MailAddress) -> Self {
        Self {
            account: Arc::clone(&admission.account),
            login: admission.login.clone(),
            bearer: Bearer { user: mailbox.clone(), ..admission.bearer.clone() },
        }
    }

    /// Who gave the token.
    pub(super) fn issuer(&self) -> &Issuer {
        &self.account.application.issuer
    }

    pub(super) fn login(&self) -> &MailAddress {
        &self.login
    }

    pub(super) fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    pub(super) fn mailbox(&self) -> &MailAddress {
        &self.bearer.user
    }

    /// Whether the application signs in as itself.
    pub(super) fn is_app_only(&self) -> bool {
        !self.account.grant.is_of_user()
    }

    fn claims(&self) -> Option<TokenClaims> {
        TokenClaims::of(&self.bearer.token)
    }

    pub(super) fn permission(&self, access: MailAccess) -> Permission {
        match self.claims().map(|claims| claims.permits(access, self.account.grant)) {
            None => Permission::Unknown,
            Some(Ok(())) => Permission::Granted(access.permission(self.account.grant)),
            Some(Err(missing)) => Permission::Missing(missing),
        }
    }

    /// Explains `failure` by a permission that the token lacks. The answer to the client stays.
    pub(super) fn permission_missing(&self, failure: Failure, access: MailAccess, missing: &str) -> Failure {
        let claims = self.claims().unwrap_or_default();
        let application = &self.account.application;
        // Only Microsoft's tokens name permissions.
        let Some(entra) = application.issuer.entra() else { return failure };
        let consent = consent_url(entra, &application.client_id, entra.tenant.of(&self.login));
        // Graph has a permission of the same name, which is of no use there.
        let api = if access == MailAccess::HighVolume { " (Office 365 Exchange Online)" } else { "" };
        let mut remedy =
            format!("add {missing}{api} to application {} and grant consent: {consent}", self.application());
        let has_rbac = !matches!(access, MailAccess::Imap | MailAccess::Pop3 | MailAccess::HighVolume);
        if self.is_app_only() && has_rbac && claims.roles.is_empty() {
            // A token whose rights come from Exchange alone has no roles, and that is right.
            remedy.push_str(&format!(
                ". If an RBAC role of Exchange gives that right instead, include {} in the role's scope",
                self.mailbox()
            ));
        }
        let message = format!("{}: the token lacks {missing} (it has {})", failure.message, claims.permissions());
        Failure { cause: Cause::PermissionMissing, message, ..failure }.by(Actor::M365Admin).to_do(remedy)
    }

    /// Explains that Graph or Exchange Web Services refused a request of this token.
    pub(super) fn refused_over_https(&self, failure: Failure, access: MailAccess) -> Failure {
        if !matches!(failure.cause, Cause::TokenRefused | Cause::SendDenied | Cause::MailboxDenied) {
            return failure;
        }
        let is_denied = failure.cause != Cause::TokenRefused;
        let mailbox = self.mailbox();
        match self.permission(access) {
            Permission::Granted(_) if !self.fits_commands() => failure,
            Permission::Missing(missing) => self.permission_missing(failure, access, missing),
            Permission::Granted(permission) if is_denied && self.is_app_only() => {
                let application = self.application();
                let message = format!("{}, although the token has {permission}", failure.message);
                Failure { message, ..failure }.to_do(format!(
                    "include {mailbox} in the RBAC scope or the access policy of application {application}. Then run \
                     `Test-ServicePrincipalAuthorization -Identity {application} -Resource {mailbox}`"
                ))
            }
            Permission::Granted(_) if is_denied && let Some(user) = self.user_of_another_mailbox() => {
                let cmdlet = match access {
                    MailAccess::GraphSend => {
                        format!("Add-RecipientPermission {mailbox} -Trustee {user} -AccessRights SendAs")
                    }
                    _ => self.add_permission(),
                };
                failure.to_do(format!("run `{cmdlet}`"))
            }
            Permission::Granted(_) | Permission::Unknown => failure,
        }
    }

    /// Whether its names may stand in a command. Otherwise the catalogue's remedy must do.
    pub(super) fn fits_commands(&self) -> bool {
        fits_command(self.mailbox().as_str()) && self.user_of_another_mailbox().is_none_or(|user| fits_command(&user))
    }

    /// The cmdlet that opens the mailbox to the identity of the token, if
    /// [its names fit](Self::fits_commands).
    pub(super) fn add_permission(&self) -> String {
        let user = match (self.is_app_only(), self.user_of_another_mailbox()) {
            (false, Some(user)) => user,
            _ => self.object(),
        };
        format!("Add-MailboxPermission {} -User {user} -AccessRights FullAccess", self.mailbox())
    }

    /// The user who signed in, if the mailbox is not that user's own.
    pub(super) fn user_of_another_mailbox(&self) -> Option<String> {
        let claimed = self.claims().and_then(|claims| claims.user);
        let user = claimed.unwrap_or_else(|| self.account.person(&self.login).to_string());
        (!user.eq_ignore_ascii_case(self.mailbox().as_str())).then_some(user)
    }

    /// The application id, for a cmdlet.
    pub(super) fn application(&self) -> String {
        let claimed = self.claims().and_then(|claims| claims.application_id);
        claimed.unwrap_or_else(|| self.account.application.client_id.clone())
    }

    /// The object id of the service principal, for a cmdlet.
    pub(super) fn object(&self) -> String {
        let claimed = self.claims().and_then(|claims| claims.object_id);
        claimed.unwrap_or_else(|| "<object ID of the Enterprise application>".to_owned())
    }
}

#[cfg(test)]
pub(super) mod tests;
