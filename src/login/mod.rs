//! Who may log in: the account for a name, the proof of its password, the memory of refused and accepted passwords.
//!
//! A token is handed out only after the presented password was proved for its account: by Entra (`grant: password`), or
//! here, by a device password of the store or one of the configuration (`grant: client_credentials`, where Entra never
//! sees the user, and the grants of a person who signed in once). A cached token stands behind that proof and never
//! replaces it. [`Gatekeeper`] is the one entry; the session asks it and is told an [`Admission`] or a [`Failure`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::account::{LoginName, MailAddress};
use crate::clock::Clock;
use crate::config::{Account, Config, Grant, Resource};
use crate::failure::Failure;
use crate::live::Live;
use crate::oauth::Token;
use crate::oauth::cache::TokenCache;
use crate::oauth::endpoint::TokenEndpoint;
use crate::oauth::expiry::{self, Expiry, Reminder};
use crate::oauth::flight::Flights;
use crate::oauth::grant::TokenKey;
use crate::oauth::proof::{Proof, ProofKey};
use crate::oauth::source::TokenSource;
use crate::protocol::Protocol;
use crate::sasl::Bearer;
use crate::secret::Password;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

pub mod device;
pub(crate) mod enrol;
pub(crate) mod explain;
pub(crate) mod forwarding;
pub mod issue;
mod local;
pub mod overview;
pub mod own_token;
pub mod password;
pub(crate) mod person;
mod prove;
mod reconfigure;
mod tally;
mod throttle;
pub mod unlock;

pub use crate::oauth::tokens::outcome::TokenOrigin;
pub use explain::is_guess;

use crate::oauth::tokens::explain::own_fault;
use crate::oauth::tokens::fetch::UserLogin;
use crate::oauth::tokens::outcome::{Errand, Obtained, Outcome, StandingRefusals};
use crate::oauth::tokens::rejected::RefusedPasswords;
use crate::oauth::tokens::replicas::Sharing;
use crate::oauth::tokens::sign_ins::{SignIns, Whose};
use device::{DevicePasswords, KnownPassword};
pub(crate) use explain::UNKNOWN_ACCOUNT;
use forwarding::{Forwarding, Source};
use local::LocalPasswords;
use tally::Tally;

/// How often tokens are looked at for renewal.
const RENEWAL_TICK: Duration = Duration::from_secs(15);
/// Every so many of them the memories are swept.
const SWEEP_TICKS: u32 = 4;
/// Every so many of them sign-ins that nobody uses are looked at: once an hour.
const IDLE_TICKS: u32 = 240;
/// A guess that Entra did not judge keeps its place in the count for the next try so long.
const UNJUDGED: Duration = Duration::from_secs(10 * 60);
/// A process that ends does not wait for the store longer than this.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the store is looked at for device passwords that were made or revoked by another process.
const LOOK_TICK: Duration = Duration::from_secs(2);
/// Every so many of them the ends of certificates and secrets are looked at: once an hour.
const EXPIRY_TICKS: u32 = 240;
/// A refused password is never answered from memory for longer.
const LONGEST_REFUSED_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// A refused token of a client's own is answered from memory for so long at first, and never for longer than this: a right
/// that was given meanwhile counts soon.
const REFUSED_TOKEN_MEMORY: Duration = Duration::from_secs(60);
const LONGEST_REFUSED_TOKEN_MEMORY: Duration = Duration::from_secs(15 * 60);

/// A login with a password, as a client presented it.
#[derive(Clone, Copy, Debug)]
pub struct LoginRequest<'a> {
    /// The authentication identity.
    pub login: &'a LoginName,
    /// The authorization identity (RFC 4616 §2), when it is not the login itself.
    pub acting_as: Option<&'a LoginName>,
    /// The password.
    pub password: &'a Password,
    /// Where the client is.
    pub source: IpAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// What the token is for.
    pub resource: Resource,
}

/// A login that may go upstream.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The account it belongs to.
    pub account: Arc<Account>,
    /// The address that logged in; for an alias that of its account.
    pub login: MailAddress,
    /// The mailbox and the token that opens it.
    pub bearer: Bearer,
    /// Where the token comes from.
    pub origin: TokenOrigin,
    /// The device password that was presented, if it was one. The session ends with it.
    pub device: Option<Arc<KnownPassword>>,
    key: TokenKey,
    token: Token,
}

/// Decides about logins.
pub struct Gatekeeper {
    pub(crate) config: Live<Config>,
    pub(crate) clock: Clock,
    pub(crate) source: TokenSource,
    pub(crate) cache: TokenCache,
    pub(crate) flights: Flights<Errand, Outcome>,
    pub(crate) refused: RefusedPasswords,
    pub(crate) refused_tokens: RefusedPasswords,
    pub(crate) standing: StandingRefusals,
    pub(crate) forwarding: Arc<Forwarding>,
    pub(crate) local: Arc<LocalPasswords>,
    pub(crate) devices: Arc<DevicePasswords>,
    /// Made at its first use: gathering the first randomness takes a while that a start should not wait for.
    pub(crate) proof_key: OnceLock<Option<ProofKey>>,
    pub(crate) sign_ins: SignIns,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sharing: Sharing,
    pub(crate) metrics: Arc<Metrics>,
}

impl Gatekeeper {
    /// Decides by the accounts and limits of `config`, with the sign-ins and device passwords of `store`, and gets
    /// tokens from `endpoint`.
    pub fn new(
        config: Arc<Config>,
        endpoint: Arc<dyn TokenEndpoint>,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Arc<Self> {
        Self::with_metrics(config, endpoint, store, clock, Arc::default())
    }

    /// The same, and counts in `metrics`.
    pub fn with_metrics(
        config: Arc<Config>,
        endpoint: Arc<dyn TokenEndpoint>,
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let limits = &config.limits;
        let tally = Tally::new(Arc::clone(&store), clock.clone());
        Arc::new(Self {
            source: TokenSource::new(endpoint, clock.clone(), limits).with_metrics(Arc::clone(&metrics)),
            cache: TokenCache::new(limits.accepted_password_memory),
            flights: Flights::default(),
            refused: RefusedPasswords::new(limits.refused_password_memory, LONGEST_REFUSED_MEMORY),
            refused_tokens: RefusedPasswords::new(REFUSED_TOKEN_MEMORY, LONGEST_REFUSED_TOKEN_MEMORY),
            standing: StandingRefusals::default(),
            forwarding: Arc::new(Forwarding::new(limits, Arc::clone(&tally))),
            local: Arc::new(LocalPasswords::new(&config, clock.clone(), tally)),
            devices: Arc::new(DevicePasswords::new(Arc::clone(&store), clock.clone())),
            proof_key: OnceLock::new(),
            sign_ins: SignIns::default(),
            sharing: Sharing::new(Arc::clone(&store), clock.clone(), limits.token_total),
            store,
            config: Live::new(config),
            clock,
            metrics,
        })
    }

    /// Proves the password and gets a token, preferably one with `want_life` left (a protocol whose sessions end with
    /// their token wants more). Ends within `limits.password_hash_wait` and `limits.token_total`.
    ///
    /// # Errors
    /// A [`Failure`] that says what the client is told, and to everybody else what happened.
    ///
    /// # Cancel safety
    /// May be dropped at any time: work that others wait for goes on.
    pub async fn admit(self: &Arc<Self>, request: LoginRequest<'_>, want_life: Duration) -> Result<Admission, Failure> {
        let Some((account, address)) = self.config.get().accounts.find(request.login) else {
            return Err(self.refuse_unknown(request).await);
        };
        let (obtained, device) = match &account.grant {
            Grant::Password => {
                let source = Source::of(request.source);
                let login = UserLogin {
                    account: &account,
                    address: &address,
                    password: request.password,
                    source,
                    resource: request.resource,
                    want_life,
                };
                let obtained = self.user_token(login).await?;
                check_identity(&account, &address, request)?;
                (obtained, None)
            }
            Grant::ClientCredentials | Grant::AuthorizationCode | Grant::DeviceCode => {
                let device = self.prove_here(&account, &address, request).await?;
                check_identity(&account, &address, request)?;
                (self.token_without_password(&account, &address, request.resource, want_life).await?, device)
            }
        };
        Ok(admission(account, address, obtained, device))
    }

    /// Gets a token for an account whose client needs no password, because the configuration trusts its address
    /// (`trusted_senders`).
    ///
    /// # Errors
    /// A [`Failure`]; also for an account whose token only its user's password can bring.
    ///
    /// # Cancel safety
    /// As [`Gatekeeper::admit`].
    pub async fn admit_proved(
        self: &Arc<Self>,
        login: &LoginName,
        resource: Resource,
        want_life: Duration,
    ) -> Result<Admission, Failure> {
        let (account, address) = self.config.get().accounts.find(login).ok_or_else(explain::unknown_account)?;
        let obtained = self.token_without_password(&account, &address, resource, want_life).await?;
        Ok(admission(account, address, obtained, None))
    }

    /// The same for a client that has logged in before, on the same connection, to `account`. It need not prove itself again
    /// while the account is as it was then.
    ///
    /// # Errors
    /// A [`Failure`]; also for an account that a reload has changed.
    ///
    /// # Cancel safety
    /// As [`Gatekeeper::admit`].
    pub async fn admit_again(
        self: &Arc<Self>,
        login: &MailAddress,
        account: &Account,
        resource: Resource,
        want_life: Duration,
    ) -> Result<Admission, Failure> {
        if !self.is_as_it_was(login, account) {
            return Err(explain::account_changed(login));
        }
        self.admit_proved(login.as_login(), resource, want_life).await
    }

    async fn token_without_password(
        self: &Arc<Self>,
        account: &Arc<Account>,
        address: &MailAddress,
        resource: Resource,
        want_life: Duration,
    ) -> Result<Obtained, Failure> {
        match account.grant {
            Grant::Password => Err(explain::needs_password(address)),
            Grant::ClientCredentials => self.application_token(account, address, resource, want_life).await,
            Grant::AuthorizationCode | Grant::DeviceCode => {
                let whose = Whose { account: Arc::clone(account), login: address.clone(), resource };
                self.sign_in_token(whose, want_life).await
            }
        }
    }

    /// The upstream did not take the admission's token: the next login fetches another, unless this one was fetched just
    /// now or another was replaced within five minutes, because then the token is not what is wrong. True when trying
    /// again at once makes sense.
    pub fn token_refused(&self, admission: &Admission) -> bool {
        admission.origin == TokenOrigin::Cached
            && self.cache.replace(&admission.key, &admission.token, self.clock.now())
    }

    /// Starts the task that renews tokens in use, looks after sign-ins, forgets what is out of date, and looks for device
    /// passwords that were made or revoked. It ends with the gatekeeper, or when aborted.
    pub fn spawn_upkeep(self: &Arc<Self>) -> JoinHandle<()> {
        let (gatekeeper, devices) = (Arc::downgrade(self), Arc::downgrade(&self.devices));
        tokio::spawn(async {
            tokio::join!(upkeep(gatekeeper), keep_looking(devices));
        })
    }

    /// The certificates and secrets of all applications whose end is known, the nearest first.
    pub async fn expiries(&self) -> Vec<Expiry> {
        let config = self.config.get();
        let accounts = config.accounts.entries();
        let mut applications: Vec<_> = accounts.iter().map(|account| Arc::clone(&account.application)).collect();
        // Neighbours mostly share one: with thousands of accounts that is what keeps it short.
        applications.dedup_by(|a, b| Arc::ptr_eq(a, b));
        expiry::list(self.source.credentials(), &applications).await
    }

    /// Leaves nothing behind in the store that only a running process needs. To be called when no logins come any more;
    /// takes two seconds at most.
    pub async fn finish(&self) {
        if timeout(FAREWELL, self.forwarding.release(Duration::ZERO)).await.is_err() {
            tracing::debug!("passwords that Entra never judged are left in the count");
        }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        self.cache.sweep(now);
        self.refused.sweep(now);
        self.refused_tokens.sweep(now);
        self.standing.sweep(now);
        self.forwarding.sweep(now);
        self.local.sweep(now);
    }

    pub(crate) fn prove(&self, tuple: &TokenKey, password: &Password) -> Result<Proof, Failure> {
        Ok(self.proof_key()?.prove(tuple, password))
    }

    pub(crate) fn proof_key(&self) -> Result<&ProofKey, Failure> {
        self.proof_key.get_or_init(|| ProofKey::generate().ok()).as_ref().ok_or_else(own_fault)
    }
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper").finish_non_exhaustive()
    }
}

fn admission(
    account: Arc<Account>,
    login: MailAddress,
    obtained: Obtained,
    device: Option<Arc<KnownPassword>>,
) -> Admission {
    let Obtained { token, origin, key } = obtained;
    let user = account.mailbox.clone().unwrap_or_else(|| login.clone());
    let bearer = Bearer { user, token: Arc::clone(&token.access_token) };
    Admission { account, login, bearer, origin, device, key, token }
}

async fn upkeep(gatekeeper: Weak<Gatekeeper>) {
    let mut ticks = interval(RENEWAL_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_revision, mut told) = (None, HashSet::new());
    let mut reminder = Reminder::default();
    for tick in 0_u32.. {
        ticks.tick().await;
        let Some(gatekeeper) = gatekeeper.upgrade() else { return };
        gatekeeper.renew_applications();
        gatekeeper.renew_sign_ins();
        if tick % IDLE_TICKS == 0 {
            gatekeeper.keep_sign_ins_alive(&mut told).await;
        }
        if tick % SWEEP_TICKS == 0 {
            gatekeeper.sweep();
            gatekeeper.follow_sign_ins(&mut last_revision).await;
            gatekeeper.forwarding.release(UNJUDGED).await;
        }
        if tick % EXPIRY_TICKS == 0
            // A disk that does not answer must not keep tokens from being renewed.
            && let Ok(expiries) = timeout(RENEWAL_TICK, gatekeeper.expiries()).await
        {
            reminder.tell(&expiries, gatekeeper.clock.unix_time());
        }
    }
}

/// Keeps the device passwords as the store has them. That it is away is worth one line when it begins and one when it is
/// over.
async fn keep_looking(devices: Weak<DevicePasswords>) {
    let mut ticks = interval(LOOK_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        ticks.tick().await;
        let Some(devices) = devices.upgrade() else { return };
        match devices.look().await {
            Ok(_) if std::mem::take(&mut away) => tracing::info!("device passwords can be looked up again"),
            Err(error) if !std::mem::replace(&mut away, true) => {
                tracing::warn!("device passwords cannot be looked up, those known so far keep working: {error}");
            }
            _ => {}
        }
    }
}

/// RFC 4616 §2: who has proved one identity may ask to act as another. Here only as itself, or as the mailbox that the
/// configuration names. Looked at after the proof, so that it tells nothing to a stranger.
fn check_identity(account: &Account, address: &MailAddress, request: LoginRequest<'_>) -> Result<(), Failure> {
    let Some(acting_as) = request.acting_as else { return Ok(()) };
    let mailbox = account.mailbox.as_ref().map(MailAddress::as_str);
    let itself = acting_as == request.login || acting_as.as_str() == address.as_str();
    if itself || mailbox == Some(acting_as.as_str()) { Ok(()) } else { Err(explain::other_identity()) }
}

#[cfg(test)]
mod adversary;
#[cfg(test)]
pub(crate) mod tests;
