//! Tokens for `gatepost doctor`, which examines accounts without a client and without a password.

use std::sync::Arc;

use crate::login::authenticator::Authenticator;
use crate::login::explain;
use crate::login::request::AuthorizedLogin;
use gatepost_config::{Grant, Resource};
use gatepost_core::account::LoginName;
use gatepost_core::failure::Failure;
use gatepost_oauth::tokens::sign_ins::TokenSubject;

impl Authenticator {
    /// Gets a token as a login of this name would, and asks Entra for a new one in any case. So the
    /// token permits what Entra permits now. For an application, the accounts that share it need
    /// this once: the others then get the same token by [`Authenticator::admit_proved`].
    ///
    /// # Errors
    /// A [`Failure`], also for an account whose token requires its user's password.
    ///
    /// # Cancel safety
    /// As [`Authenticator::admit`].
    pub async fn admit_afresh(
        self: &Arc<Self>,
        login: &LoginName,
        resource: Resource,
    ) -> Result<AuthorizedLogin, Failure> {
        let (account, address) =
            self.config().accounts.find(login).ok_or_else(|| explain::unknown_account(login, login.as_str(), None))?;
        if let (Some(provider), Resource::Graph) = (account.application.issuer.provider(), resource) {
            return Err(explain::provider_lacks(&provider.title, "Graph"));
        }
        let mailbox = account.own_mailbox(&address).clone();
        let obtained = match account.grant {
            Grant::Password => return Err(explain::needs_password(&address)),
            Grant::ClientCredentials => {
                self.tokens.fresh_application_token(&account, &address, &mailbox, resource).await?
            }
            Grant::AuthorizationCode | Grant::DeviceCode => {
                let whose = TokenSubject { account: Arc::clone(&account), login: address.clone(), resource };
                self.tokens.fresh_sign_in_token(whose).await?
            }
        };
        Ok(AuthorizedLogin::new(account, address, mailbox, obtained, None))
    }
}
