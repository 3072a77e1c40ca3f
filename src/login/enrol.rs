//! Turns a person's finished sign-in into what mail programs use: it is kept, and the account gets
//! its first device password. `gatepost login` and the page share it.

use std::sync::Arc;

use crate::login::issue::{self, NotIssued, Order};
use crate::login::person;
use crate::login::person::WrongPerson;
use gatepost_config::{Account, Config, Grant};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::Password;
use gatepost_oauth::sign_in::{Purpose, SignedIn};
use gatepost_oauth::tokens::{scope, sign_ins};
use gatepost_store::{DevicePassword, SignInKey, Store, StoreError};

/// The name of the first device password.
pub(crate) const FIRST: &str = "first";

/// An account for which a person signs in.
#[derive(Clone, Debug)]
pub(crate) struct Enrolment {
    /// Its entry in the configuration.
    pub(crate) account: Arc<Account>,
    /// The address that mail programs log in with.
    pub(crate) login: MailAddress,
    /// The key under which the sign-in is kept.
    pub(crate) key: SignInKey,
    /// What the person consents to.
    pub(crate) purpose: Purpose,
}

/// Why no person signs in for a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NobodySignsIn {
    /// No entry of the configuration fits.
    #[error("no entry of `accounts` matches `{0}`. Correct the name, or add an entry with `login: {0}`")]
    Unknown(LoginName),
    /// Entra knows the password that the mail program presents.
    #[error(
        "`{0}` has `grant: password`: its client sends the password that Entra knows, so nobody signs in before. For \
         a sign-in, set `grant: authorization_code` or `grant: device_code`"
    )]
    Password(MailAddress),
    /// The application signs in as itself.
    #[error(
        "`{0}` has `grant: client_credentials`: only the application signs in. Create a password for its client with \
         `gatepost password add {0} --name …`"
    )]
    Application(MailAddress),
}

/// Why a finished sign-in is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// A different person has signed in.
    #[error(transparent)]
    WrongPerson(#[from] WrongPerson),
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Enrolment {
    /// Returns the account that `login` belongs to, if a person signs in for it.
    ///
    /// # Errors
    /// [`NobodySignsIn`].
    pub(crate) fn find(config: &Config, login: &LoginName) -> Result<Self, NobodySignsIn> {
        let Some((account, login)) = config.accounts.find(login) else {
            return Err(NobodySignsIn::Unknown(login.clone()));
        };
        match account.grant {
            Grant::AuthorizationCode | Grant::DeviceCode => {}
            Grant::Password => return Err(NobodySignsIn::Password(login)),
            Grant::ClientCredentials => return Err(NobodySignsIn::Application(login)),
        }
        let purpose = Purpose {
            application: Arc::clone(&account.application),
            tenant: account.application.issuer.tenant_of(&login).into(),
            scope: scope::of(&account, scope::of_sign_in(config), config).into(),
        };
        Ok(Self { key: sign_ins::key(&account, &login), account, login, purpose })
    }

    /// Returns the person who must sign in.
    pub(crate) fn person(&self) -> &MailAddress {
        self.account.person(&self.login)
    }

    /// Keeps the sign-in if it was the right person. With `replace`, it may be a different person
    /// than before. Returns the user name of the person who signed in.
    ///
    /// # Errors
    /// [`NotKept`]; the former sign-in stays.
    pub(crate) async fn keep(
        &self,
        store: &dyn Store,
        signed_in: SignedIn,
        replace: bool,
        now: UnixTime,
    ) -> Result<String, NotKept> {
        let identity = signed_in.identity.clone();
        let record = person::record(signed_in, self.person(), &self.purpose.scope, now);
        loop {
            let before = store.sign_in(&self.key).await?;
            let person = before.as_ref().map(|(record, _)| record);
            if let Some(identity) = &identity {
                person::check(&self.account, &self.login, identity, person, replace)?;
            }
            match store.put_sign_in(&self.key, &record, before.map(|(_, version)| version)).await {
                // A running service has exchanged the former token at this moment.
                Err(StoreError::Changed) => {}
                put => return Ok(put.map(|_| record.username)?),
            }
        }
    }

    /// Creates the first device password of a login. Returns `None` if it has one already.
    ///
    /// # Errors
    /// [`NotIssued`]; no password was created then.
    pub(crate) async fn first_password(
        &self,
        store: &dyn Store,
        now: UnixTime,
    ) -> Result<Option<(DevicePassword, Password)>, NotIssued> {
        first_password(store, &self.login, now).await
    }
}

/// Creates the first device password of a login. Returns `None` if it has one already.
///
/// # Errors
/// [`NotIssued`]; no password was created then.
pub(crate) async fn first_password(
    store: &dyn Store,
    login: &MailAddress,
    now: UnixTime,
) -> Result<Option<(DevicePassword, Password)>, NotIssued> {
    let present = store.device_passwords().await?;
    if present.iter().any(|password| password.login == *login) {
        return Ok(None);
    }
    let order = Order {
        login: login.clone(),
        name: FIRST.to_owned(),
        protocols: Vec::new(),
        from: Vec::new(),
        expires_at: None,
    };
    issue::generate(store, order, now).await.map(Some)
}
