//! The one entry of a login: turns a name and a password, or what the configuration trusts, into a
//! token.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::login::attempt_log::AttemptLog;
use crate::login::device::{DevicePasswords, KnownPassword};
use crate::login::explain;
use crate::login::local::LocalPasswords;
use crate::login::lockout_guard::LockoutGuard;
use crate::login::request::{AuthorizedLogin, LoginRequest, Principal};
use gatepost_config::{Account, Application, Config, Found, Grant, Resource};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::clock::Clock;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_core::source::Source;
use gatepost_oauth::endpoint::TokenEndpoint;
use gatepost_oauth::expiry::{CredentialEnd, Expiry};
use gatepost_oauth::tokens::sign_ins::TokenSubject;
use gatepost_oauth::tokens::{
    AttemptGuard, FetchedToken, RefusedPasswords, TokenManager, TokenOrigin, User, UserLogin,
};
use gatepost_store::Store;
use gatepost_telemetry::metrics::Metrics;

/// Longest time that an ending process waits for the store.
const FAREWELL: Duration = Duration::from_secs(2);
/// A refusal of a client's own token is answered from memory for this long at first. It is never
/// longer than [`LONGEST_REFUSED_TOKEN_MEMORY`], so that a permission granted meanwhile counts
/// soon.
const REFUSED_TOKEN_MEMORY: Duration = Duration::from_secs(60);
const LONGEST_REFUSED_TOKEN_MEMORY: Duration = Duration::from_secs(15 * 60);

/// Decides about logins.
pub struct Authenticator {
    pub(super) tokens: Arc<TokenManager>,
    pub(super) clock: Clock,
    pub(super) refused_tokens: RefusedPasswords,
    pub(super) lockout: Arc<LockoutGuard>,
    pub(super) local: Arc<LocalPasswords>,
    pub(super) devices: Arc<DevicePasswords>,
    pub(super) store: Arc<dyn Store>,
}

impl Authenticator {
    /// Decides by the accounts and limits of `config`, with the sign-ins and device passwords of
    /// `store`, and gets tokens from `endpoint`.
    pub fn new(
        config: Arc<Config>,
        endpoint: Arc<dyn TokenEndpoint>,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Arc<Self> {
        Self::with_metrics(config, endpoint, store, clock, Arc::default())
    }

    /// Like [`Self::new`], and counts in `metrics`.
    pub fn with_metrics(
        config: Arc<Config>,
        endpoint: Arc<dyn TokenEndpoint>,
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let limits = &config.limits;
        let attempts = AttemptLog::new(Arc::clone(&store), clock.clone());
        let lockout = Arc::new(LockoutGuard::new(limits, Arc::clone(&attempts)));
        let local = Arc::new(LocalPasswords::new(&config, clock.clone(), attempts));
        let guard = Arc::clone(&lockout) as Arc<dyn AttemptGuard>;
        Arc::new(Self {
            tokens: TokenManager::new(config, endpoint, Arc::clone(&store), clock.clone(), metrics, guard),
            refused_tokens: RefusedPasswords::new(REFUSED_TOKEN_MEMORY, LONGEST_REFUSED_TOKEN_MEMORY),
            lockout,
            local,
            devices: Arc::new(DevicePasswords::new(Arc::clone(&store), clock.clone())),
            store,
            clock,
        })
    }

    /// Verifies the password and gets a token, preferably one with `min_token_lifetime` left. A
    /// protocol whose sessions end with their token asks for more. Returns within
    /// `limits.password_hash_wait` and `limits.token_total`.
    ///
    /// # Errors
    /// A [`Failure`]: what the client is told, and for the log what happened.
    ///
    /// # Cancel safety
    /// May be dropped at any time: work that other logins wait for continues.
    pub async fn admit(
        self: &Arc<Self>,
        request: LoginRequest<'_>,
        min_token_lifetime: Duration,
    ) -> Result<AuthorizedLogin, Failure> {
        let Some(Found { account, login: address, mailbox: named }) =
            self.config().accounts.find_with_mailbox(request.login)
        else {
            return Err(self.refuse_unknown(request).await);
        };
        if let (Some(provider), Protocol::Ews | Protocol::Graph) =
            (account.application.issuer.provider(), request.protocol)
        {
            // Only after the password, so that nobody learns which accounts there are.
            self.verify_password(&account, &address, request).await?;
            return Err(explain::provider_lacks(&provider.title, request.protocol.name()));
        }
        let named = [named.as_ref(), request.acting_as];
        let (obtained, mailbox, device) = match &account.grant {
            Grant::Password => {
                let source = Source::of(request.source);
                let login = UserLogin {
                    account: &account,
                    address: &address,
                    password: request.password,
                    source,
                    resource: request.resource,
                    min_token_lifetime,
                };
                let obtained = self.tokens.user_token(login).await?;
                let user = User::named(&account, &address);
                self.lockout.succeeded_from(user, source, self.clock.now());
                (obtained, mailbox(&account, &address, named)?, None)
            }
            Grant::ClientCredentials | Grant::AuthorizationCode | Grant::DeviceCode => {
                let device = self.verify_password(&account, &address, request).await?;
                let mailbox = mailbox(&account, &address, named)?;
                let subject = (&address, &mailbox);
                let obtained = self.token_without_password(&account, subject, request.resource, min_token_lifetime);
                (obtained.await?, mailbox, device)
            }
        };
        Ok(AuthorizedLogin::new(account, address, mailbox, obtained, device))
    }

    /// Verifies the password of an account whose password Gatepost knows, and gets no token. `None`: the
    /// account has `grant: password`, and only a token request tells whether the password is right.
    ///
    /// # Errors
    /// As [`Authenticator::admit`], except that Microsoft is not asked.
    ///
    /// # Cancel safety
    /// As [`Authenticator::admit`].
    pub async fn verify(
        &self,
        request: LoginRequest<'_>,
    ) -> Result<Option<(Principal, Option<Arc<KnownPassword>>)>, Failure> {
        let found = self.config().accounts.find_with_mailbox(request.login);
        let Some(Found { account, login, mailbox: named }) = found else {
            return Err(self.refuse_unknown(request).await);
        };
        if account.grant == Grant::Password {
            return Ok(None);
        }
        let device = self.verify_password(&account, &login, request).await?;
        let mailbox = mailbox(&account, &login, [named.as_ref(), request.acting_as])?;
        Ok(Some((Principal { account, login, mailbox }, device)))
    }

    /// Returns who a client of this user name is, which it has proved already. `acting_as` is the
    /// mailbox that it asked for.
    ///
    /// # Errors
    /// A [`Failure`] when a reload has removed the account, or no longer lets it open the mailbox.
    pub fn identify(&self, name: &LoginName, acting_as: Option<&LoginName>) -> Result<Principal, Failure> {
        let found = self.config().accounts.find_with_mailbox(name);
        let Found { account, login, mailbox: named } = found.ok_or_else(|| unknown(name))?;
        let mailbox = mailbox(&account, &login, [named.as_ref(), acting_as])?;
        Ok(Principal { account, login, mailbox })
    }

    /// Gets a token for an account whose client needs no password, because the configuration trusts
    /// its address (`trusted_senders`).
    ///
    /// # Errors
    /// A [`Failure`], also for an account whose token requires its user's password.
    ///
    /// # Cancel safety
    /// As [`Authenticator::admit`].
    pub async fn admit_proved(
        self: &Arc<Self>,
        login: &LoginName,
        resource: Resource,
        min_token_lifetime: Duration,
    ) -> Result<AuthorizedLogin, Failure> {
        let (account, address) = self.config().accounts.find(login).ok_or_else(|| unknown(login))?;
        let mailbox = account.own_mailbox(&address).clone();
        let subject = (&address, &mailbox);
        let obtained = self.token_without_password(&account, subject, resource, min_token_lifetime).await?;
        Ok(AuthorizedLogin::new(account, address, mailbox, obtained, None))
    }

    /// Gets a token for a client that logged in to `account` before, on the same connection, and
    /// opened `mailbox`. It need not present a password again while the account is unchanged.
    ///
    /// # Errors
    /// A [`Failure`], also for an account that a reload has changed.
    ///
    /// # Cancel safety
    /// As [`Authenticator::admit`].
    pub async fn admit_again(
        self: &Arc<Self>,
        login: &MailAddress,
        account: &Account,
        mailbox: &MailAddress,
        resource: Resource,
        min_token_lifetime: Duration,
    ) -> Result<AuthorizedLogin, Failure> {
        self.confirm(login, account)?;
        let (account, address) =
            self.config().accounts.find(login.as_login()).ok_or_else(|| unknown(login.as_login()))?;
        let subject = (&address, mailbox);
        let obtained = self.token_without_password(&account, subject, resource, min_token_lifetime).await?;
        Ok(AuthorizedLogin::new(account, address, mailbox.clone(), obtained, None))
    }

    /// Gets the token with which a login that may send as `mailbox` opens it. `None`: its own token does,
    /// as all but a service account's do.
    ///
    /// # Errors
    /// A [`Failure`] that says why there is none.
    ///
    /// # Cancel safety
    /// As [`Authenticator::admit`].
    pub async fn admit_to(
        self: &Arc<Self>,
        mailbox: &MailAddress,
        admission: &AuthorizedLogin,
        resource: Resource,
        min_token_lifetime: Duration,
    ) -> Result<Option<AuthorizedLogin>, Failure> {
        let AuthorizedLogin { account, login, bearer, device, .. } = admission;
        let opens_one = account.grant == Grant::ClientCredentials && account.application.issuer.provider().is_some();
        if !opens_one || bearer.user == *mailbox {
            return Ok(None);
        }
        let obtained = self.token_without_password(account, (login, mailbox), resource, min_token_lifetime).await?;
        let (account, device) = (Arc::clone(account), device.clone());
        Ok(Some(AuthorizedLogin::new(account, login.clone(), mailbox.clone(), obtained, device)))
    }

    /// Gets a token with which an address opens a mailbox that it may open.
    async fn token_without_password(
        self: &Arc<Self>,
        account: &Arc<Account>,
        (address, mailbox): (&MailAddress, &MailAddress),
        resource: Resource,
        min_token_lifetime: Duration,
    ) -> Result<FetchedToken, Failure> {
        if let (Some(provider), Resource::Graph) = (account.application.issuer.provider(), resource) {
            return Err(explain::provider_lacks(&provider.title, "Graph"));
        }
        match account.grant {
            Grant::Password => Err(explain::needs_password(address)),
            Grant::ClientCredentials => {
                self.tokens.application_token(account, address, mailbox, resource, min_token_lifetime).await
            }
            Grant::AuthorizationCode | Grant::DeviceCode => {
                let whose = TokenSubject { account: Arc::clone(account), login: address.clone(), resource };
                self.tokens.sign_in_token(whose, min_token_lifetime).await
            }
        }
    }

    /// Whether a personal Microsoft account stands behind the login.
    pub fn is_personal(&self, admission: &AuthorizedLogin) -> bool {
        self.tokens.is_personal(&admission.account, &admission.login, Resource::Exchange)
    }

    /// Notes that the upstream refused the login's token. The next login fetches another one, with
    /// two exceptions: this token was fetched just now, or another was replaced within five
    /// minutes. In both cases the token is not the cause. Returns true when an immediate retry
    /// makes sense.
    pub fn token_refused(&self, admission: &AuthorizedLogin) -> bool {
        admission.origin == TokenOrigin::Cached && self.tokens.replace(&admission.key, &admission.token)
    }

    /// Returns the certificates and secrets of all applications with a known expiry, the earliest
    /// first.
    pub async fn expiries(&self) -> Vec<Expiry> {
        self.tokens.expiries().await
    }

    /// Returns the secrets or certificates of an application with their ends.
    pub async fn ends(&self, application: &Application) -> Vec<CredentialEnd> {
        self.tokens.ends(application).await
    }

    /// Removes from the store what only a running process needs. Call it after the last login. It
    /// takes two seconds at most.
    pub async fn finish(&self) {
        if timeout(FAREWELL, self.lockout.release(Duration::ZERO)).await.is_err() {
            tracing::debug!("passwords that Entra never judged are left in the count");
        }
    }
}

/// Returns the failure when a reload has removed the account of `name`.
fn unknown(name: &LoginName) -> Failure {
    explain::unknown_account(name, name.as_str(), None)
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

/// Returns the mailbox that the login opens: its own, or the one that the client asks for, behind
/// its user name or by an authorization identity (RFC 4616 §2). The check follows the password's,
/// so that it tells a stranger nothing.
fn mailbox(account: &Account, login: &MailAddress, named: [Option<&LoginName>; 2]) -> Result<MailAddress, Failure> {
    let own = account.own_mailbox(login);
    let mut opened = own.clone();
    for name in named.into_iter().flatten() {
        let mailbox = account.mailbox_named(login, name).or_else(|| {
            // An alias of the account is the client itself.
            account.aliases.contains(name).then(|| own.clone())
        });
        // Two names must not ask for two mailboxes. The login's own name asks for nothing.
        match mailbox {
            Some(mailbox) if mailbox == *own || mailbox == opened => {}
            Some(mailbox) if opened == *own => opened = mailbox,
            _ => return Err(explain::other_mailbox(login, name)),
        }
    }
    Ok(opened)
}

#[cfg(test)]
mod tests;
