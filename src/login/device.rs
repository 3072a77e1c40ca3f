//! The device passwords of the store, cached by login and refreshed when the store changes.
//!
//! Cached passwords keep working while the store is unavailable. A password that expires or is
//! revoked, also by another process, ends the sessions that it opened: each of them waits for
//! [`KnownPassword::ended`].

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time;
use parking_lot::{Mutex, RwLock};
use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep_until};

use gatepost_config::password_hash as password;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Clock, Moment, UnixTime};
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_store::{DevicePassword, DevicePasswordId, LastUse, Store, StoreError, Verifier};

/// The store is asked at most once in this time, however many logins check for new passwords.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The last use of a password is noted at most once in this time.
const BETWEEN_NOTES: Duration = Duration::from_secs(60);

/// Why a device password is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An operator revoked it.
    Revoked,
    /// It expired.
    Expired,
}

impl Ending {
    /// The same as the cause of a failure, or of a session's end.
    pub fn cause(self) -> Cause {
        match self {
            Self::Revoked => Cause::PasswordRevoked,
            Self::Expired => Cause::PasswordExpired,
        }
    }
}

/// Why a right device password does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// It has ended.
    Ended(Ending),
    /// It is for other protocols.
    Protocol,
    /// It is for other networks.
    Network,
}

/// A cached device password.
pub struct KnownPassword {
    password: DevicePassword,
    ending: SetOnce<Ending>,
    noted: Mutex<Option<Moment>>,
}

impl KnownPassword {
    fn new(password: DevicePassword) -> Arc<Self> {
        Arc::new(Self { password, ending: SetOnce::new(), noted: Mutex::default() })
    }

    /// What the store knows of it, without its last use.
    pub fn password(&self) -> &DevicePassword {
        &self.password
    }

    /// Waits until it is revoked or expires.
    pub async fn ended(&self) -> Ending {
        *self.ending.wait().await
    }

    fn end(&self, ending: Ending) {
        // The first reason is kept.
        let _ = self.ending.set(ending);
    }

    fn end_if_expired(&self, now: UnixTime) {
        if self.password.expires_at.is_some_and(|expires_at| now >= expires_at) {
            self.end(Ending::Expired);
        }
    }

    /// Checks that it may be used now, with this protocol and from this address.
    pub(super) fn admits(&self, protocol: Protocol, source: IpAddr, now: UnixTime) -> Result<(), Outside> {
        self.end_if_expired(now);
        let DevicePassword { protocols, from, .. } = &self.password;
        let source = source.to_canonical();
        match self.ending.get() {
            Some(ending) => Err(Outside::Ended(*ending)),
            None if !protocols.is_empty() && !protocols.contains(&protocol) => Err(Outside::Protocol),
            None if !from.is_empty() && !from.iter().any(|network| network.contains(&source)) => Err(Outside::Network),
            None => Ok(()),
        }
    }
}

impl fmt::Display for KnownPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.password.id, self.password.name)
    }
}

impl fmt::Debug for KnownPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownPassword({self})")
    }
}

/// The device passwords of one login.
#[derive(Debug, Default)]
pub(super) struct OfLogin {
    generated: Vec<(Arc<KnownPassword>, [u8; 32])>,
    chosen: Vec<(Arc<KnownPassword>, String)>,
}

impl OfLogin {
    fn add(&mut self, known: Arc<KnownPassword>) {
        match known.password.verifier.clone() {
            Verifier::Generated(digest) => self.generated.push((known, digest)),
            Verifier::Chosen(phc) => self.chosen.push((known, phc)),
        }
    }

    /// Whether the login has no device password.
    pub(super) fn is_empty(&self) -> bool {
        self.generated.is_empty() && self.chosen.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<KnownPassword>> {
        self.generated.iter().map(|(known, _)| known).chain(self.chosen.iter().map(|(known, _)| known))
    }

    /// Returns the generated password that equals `password`. The comparison takes the same time
    /// for each.
    pub(super) fn generated(&self, login: &MailAddress, password: &Password) -> Option<&Arc<KnownPassword>> {
        let presented = password::digest(login, password);
        let is = |digest: &[u8; 32]| constant_time::verify_slices_are_equal(digest, &presented).is_ok();
        self.generated.iter().fold(None, |found, (known, digest)| if is(digest) { Some(known) } else { found })
    }

    /// Returns those that a person chose, with their hashes.
    pub(super) fn chosen(&self) -> &[(Arc<KnownPassword>, String)] {
        &self.chosen
    }
}

type ByLogin = HashMap<MailAddress, Arc<OfLogin>>;

/// What the last look found.
#[derive(Debug)]
struct Known {
    revision: u64,
    by_login: ByLogin,
    /// Most passwords that persons chose for one login.
    most_chosen: usize,
}

/// The last finished look.
struct Look {
    /// Its number. Looks are counted from 1.
    number: u64,
    began: Option<Instant>,
    result: Result<(), StoreError>,
}

/// A point in the history of [`DevicePasswords`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// How many looks had begun.
    looks: u64,
    /// How many of them had found a password that was not known before.
    news: u64,
}

/// All device passwords.
pub(super) struct DevicePasswords {
    store: Arc<dyn Store>,
    clock: Clock,
    /// `None` before the first look that succeeded.
    known: RwLock<Option<Arc<Known>>>,
    looks: AtomicU64,
    news: AtomicU64,
    last: tokio::sync::Mutex<Look>,
}

impl DevicePasswords {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        let last = Look { number: 0, began: None, result: Ok(()) };
        let (looks, news) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, clock, known: RwLock::default(), looks, news, last: last.into() }
    }

    /// Returns the cached passwords of a login.
    pub(super) fn of(&self, login: &MailAddress) -> Arc<OfLogin> {
        self.known().and_then(|known| known.by_login.get(login).cloned()).unwrap_or_default()
    }

    /// Returns the current point, for [`Self::look_since`].
    pub(super) fn mark(&self) -> Mark {
        Mark { looks: self.looks.load(Ordering::Acquire), news: self.news.load(Ordering::Acquire) }
    }

    /// Checks whether the store has changed, and takes over its device passwords.
    ///
    /// # Errors
    /// Those of the store; the passwords known before stay.
    ///
    /// # Cancel safety
    /// A look that is dropped leaves everything as it was.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        self.look_since(self.mark()).await.map(drop)
    }

    /// Does the same unless a look began after `before`. Returns true when there is a password that
    /// was not known then. One look serves all callers that ask before it begins.
    ///
    /// # Errors
    /// Those of the store; the passwords known before stay.
    pub(super) async fn look_since(&self, before: Mark) -> Result<bool, StoreError> {
        let mut last = self.last.lock().await;
        if last.number <= before.looks {
            if let Some(began) = last.began {
                sleep_until(began + BETWEEN_LOOKS).await;
            }
            last.began = Some(Instant::now());
            let number = self.looks.fetch_add(1, Ordering::AcqRel) + 1;
            last.result = self.take_over().await;
            last.number = number;
        }
        last.result.clone().map(|()| self.mark().news > before.news)
    }

    /// Must not run in parallel, which [`Self::look_since`] ensures.
    async fn take_over(&self) -> Result<(), StoreError> {
        let revision = self.store.revision().await?;
        let mut known = self.known();
        if known.as_ref().is_none_or(|known| known.revision != revision) {
            let present = self.store.device_passwords().await?;
            let nothing = ByLogin::new();
            let Change { by_login, made, gone } =
                compare(known.as_ref().map_or(&nothing, |known| &known.by_login), present);
            let most_chosen = by_login.values().map(|of_login| of_login.chosen.len()).max().unwrap_or(0);
            let now_known = Arc::new(Known { revision, by_login, most_chosen });
            *self.known.write() = Some(Arc::clone(&now_known));
            self.news.fetch_add(u64::from(!made.is_empty()), Ordering::AcqRel);
            let is_first = known.replace(now_known).is_none();
            for device in made.iter().filter(|_| !is_first) {
                tracing::info!(account = %device.password.login, %device, "there is a new device password");
            }
            for device in gone {
                device.end(Ending::Revoked);
                tracing::info!(account = %device.password.login, %device, "a device password was revoked, so its \
                sessions end");
            }
        }
        let now = self.clock.unix_time();
        let all = known.iter().flat_map(|known| known.by_login.values());
        all.flat_map(|of_login| of_login.iter()).for_each(|known| known.end_if_expired(now));
        Ok(())
    }

    /// Returns the most passwords that persons chose for one login.
    pub(super) fn most_chosen(&self) -> usize {
        self.known().map_or(0, |known| known.most_chosen)
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().clone()
    }

    /// Notes the use of a password in the background, at most once a minute. Failing to note it is
    /// no reason to refuse a login.
    pub(super) fn note_use(&self, known: &Arc<KnownPassword>, from: IpAddr) {
        let now = self.clock.now();
        {
            let mut noted = known.noted.lock();
            if noted.is_some_and(|noted| now.since(noted) < BETWEEN_NOTES) {
                return;
            }
            *noted = Some(now);
        }
        let last_use = LastUse { at: self.clock.unix_time(), from: from.to_canonical() };
        let (store, known) = (Arc::clone(&self.store), Arc::clone(known));
        tokio::spawn(async move {
            if let Err(error) = store.note_use(&known.password.id, last_use).await {
                tracing::debug!(device = %known, "the last use was not noted: {error}");
            }
        });
    }
}

/// What a look has changed.
#[derive(Default)]
struct Change {
    by_login: ByLogin,
    /// Passwords that were not there before.
    made: Vec<Arc<KnownPassword>>,
    /// Passwords that are no longer there, or have changed.
    gone: Vec<Arc<KnownPassword>>,
}

/// Compares what was known with what is there. An unchanged password keeps its entry, and with it
/// its sessions.
fn compare(before: &ByLogin, present: Vec<DevicePassword>) -> Change {
    let mut former: HashMap<&DevicePasswordId, &Arc<KnownPassword>> =
        before.values().flat_map(|of_login| of_login.iter()).map(|known| (&known.password.id, known)).collect();
    let (mut by_login, mut made, mut gone) = (HashMap::<MailAddress, OfLogin>::new(), Vec::new(), Vec::new());
    for password in present {
        let password = DevicePassword { last_use: None, ..password };
        let known = match former.remove(&password.id) {
            Some(known) if known.password == password => Arc::clone(known),
            changed => {
                gone.extend(changed.cloned());
                let known = KnownPassword::new(password);
                made.push(Arc::clone(&known));
                known
            }
        };
        by_login.entry(known.password.login.clone()).or_default().add(known);
    }
    gone.extend(former.into_values().cloned());
    let by_login = by_login.into_iter().map(|(login, of_login)| (login, Arc::new(of_login))).collect();
    Change { by_login, made, gone }
}

#[cfg(test)]
mod tests;
