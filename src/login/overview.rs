//! Shows accounts: how they get their tokens, how long these last, and whether a person has to sign
//! in. Nothing here touches a token or a password.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::login::authenticator::Authenticator;
use gatepost_config::{Account, Config, LoginPattern};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_oauth::source::TokenSource;
use gatepost_oauth::tokens::{TokenView, User, sign_ins};
use gatepost_store::{DevicePassword, SignIn, SignInKey, SignInRefused, Store, StoreError};

/// An account in use, or one that waits for its first sign-in.
#[derive(Debug)]
pub struct AccountView {
    /// The address that mail programs log in with.
    pub login: MailAddress,
    /// Its entry in the configuration.
    pub account: Arc<Account>,
    /// Its cached tokens.
    pub tokens: Vec<TokenView>,
    /// The state of its sign-in; `None` when nobody signs in for it.
    pub sign_in: Option<SignInView>,
    /// How many device passwords it has.
    pub device_passwords: usize,
    /// How many wrong passwords count against its budget at Entra, as far as this process has seen
    /// them. Those from before its start and those of other replicas are only in the store.
    pub wrong_passwords: usize,
}

/// The state of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInView {
    /// Nobody has signed in yet.
    Missing,
    /// A person has signed in.
    SignedIn {
        /// The user name of that person.
        username: String,
        /// The time of the sign-in.
        at: UnixTime,
        /// When the refresh token was last exchanged.
        renewed_at: UnixTime,
    },
    /// A person had signed in, but Entra no longer accepts the sign-in.
    Refused {
        /// The user name of that person.
        username: String,
        /// Entra's last answer.
        refused: SignInRefused,
    },
}

impl SignInView {
    fn of(record: &SignIn) -> Self {
        let username = record.username.clone();
        match record.refused {
            Some(refused) => Self::Refused { username, refused },
            None => Self::SignedIn { username, at: record.signed_in_at, renewed_at: record.rotated_at },
        }
    }
}

impl Authenticator {
    /// The configuration in use.
    pub fn config(&self) -> Arc<Config> {
        self.tokens.config()
    }

    /// The store of sign-ins and device passwords.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The source of tokens. A sign-in on the page shares its limits with all other token requests.
    pub(crate) fn source(&self) -> &TokenSource {
        self.tokens.source()
    }

    /// The clock by which lifetimes are measured.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns accounts by name, together with the device passwords themselves. An account is
    /// listed when it is configured by its address, has a sign-in or a device password, or is
    /// `in_use`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn overview(
        &self,
        in_use: impl IntoIterator<Item = MailAddress>,
    ) -> Result<(Vec<AccountView>, Vec<DevicePassword>), StoreError> {
        let config = self.config();
        let sign_ins: HashMap<SignInKey, SignIn> = self.store.sign_ins().await?.into_iter().collect();
        let passwords = self.store.device_passwords().await?;
        let mut by_login: HashMap<&MailAddress, usize> = HashMap::new();
        for password in &passwords {
            *by_login.entry(&password.login).or_default() += 1;
        }
        let of_addresses = config.accounts.entries().iter().filter_map(|account| match &account.pattern {
            LoginPattern::Address(login) => Some(login.clone()),
            LoginPattern::Domain(_) | LoginPattern::Any => None,
        });
        let of_store = sign_ins.keys().map(|key| key.login.clone()).chain(passwords.iter().map(|of| of.login.clone()));
        let logins: BTreeSet<MailAddress> = in_use.into_iter().chain(of_addresses).chain(of_store).collect();
        let views = logins.into_iter().filter_map(|login| {
            // An address that is no longer configured has no account.
            let (account, login) = config.accounts.find(login.as_login())?;
            let sign_in = account
                .grant
                .is_sign_in()
                .then(|| sign_ins.get(&sign_ins::key(&account, &login)).map_or(SignInView::Missing, SignInView::of));
            Some(AccountView {
                tokens: self.tokens.at_hand(&account, &login),
                device_passwords: by_login.get(&login).copied().unwrap_or_default(),
                wrong_passwords: self.lockout.counted(User::named(&account, &login), self.clock.now()),
                sign_in,
                login,
                account,
            })
        });
        let views = views.collect();
        Ok((views, passwords))
    }
}

#[cfg(test)]
mod tests {
    use crate::login::issue::{self, Order};
    use crate::login::tests::{World, address};
    use gatepost_oauth::fake::FakeEndpoint;

    #[tokio::test(start_paused = true)]
    async fn an_account_is_shown_with_its_device_passwords_and_the_wrong_ones_that_count() {
        let world = World::new(FakeEndpoint::with_password("right"));
        for (login, name) in [("printer", "one"), ("printer", "two"), ("fax", "one"), ("new", "one")] {
            let login = address(&format!("{login}@contoso.example"));
            let order = Order { login, name: name.into(), protocols: Vec::new(), from: Vec::new(), expires_at: None };
            issue::generate(&*world.store, order, world.clock.unix_time()).await.unwrap();
        }
        for n in 0..3 {
            world.login("bob", &format!("guess {n}")).await.unwrap_err();
        }
        let in_use = [address("alice@contoso.example"), address("gone@elsewhere.example")];
        let (views, passwords) = world.gate.overview(in_use).await.unwrap();
        assert_eq!(passwords.len(), 4);
        let shown: Vec<_> =
            views.iter().map(|of| (of.login.local_part(), of.device_passwords, of.wrong_passwords)).collect();
        let all = [("alice", 0, 0), ("bob", 0, 3), ("fax", 1, 0), ("new", 1, 0), ("printer", 2, 0), ("scanner", 0, 0)];
        assert_eq!(shown, all);
        assert!(views.iter().all(|of| of.sign_in.is_none()));
    }
}
