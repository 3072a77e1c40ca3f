//! Creates new device passwords: checks the order, and keeps in the store only what verifies the
//! password.

use std::time::Duration;

use ipnet::IpNet;

use gatepost_config::password_hash::{self as password, HashingFailed, UnfitPassword};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_store::{DevicePassword, DevicePasswordId, Store, StoreError, Verifier};

/// Most device passwords of one login. A wrong password costs one hash for each that a person
/// chose.
pub const PER_LOGIN: usize = 64;

/// Longest name of a device password, in characters.
pub const NAME_CHARACTERS: usize = 100;

/// How long an interrupted command keeps others out at most. Hashes for all of [`PER_LOGIN`] take
/// less.
const LEASE: Duration = Duration::from_secs(60);

/// The order for a device password.
#[derive(Clone, Debug)]
pub struct Order {
    /// The address that it opens.
    pub login: MailAddress,
    /// The name that the operator gives it: 1 to 100 characters without controls, and different
    /// from the login's other names.
    pub name: String,
    /// The protocols it may be used with; empty for all.
    pub protocols: Vec<Protocol>,
    /// The networks it may be used from; empty for all.
    pub from: Vec<IpNet>,
    /// The time from which it is refused.
    pub expires_at: Option<UnixTime>,
}

/// Why no device password was created.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// The name is blank.
    #[error("the name is empty. Enter the device that the password is for, such as `Scanner, 3rd floor`")]
    NoName,
    /// The name is longer than [`NAME_CHARACTERS`].
    #[error("the name is longer than {NAME_CHARACTERS} characters. Choose a shorter one")]
    LongName,
    /// The name has a control character. Lists and log lines have one line for each password.
    #[error("the name has a control character. Remove it")]
    ControlCharacter,
    /// The login already has a password of this name.
    #[error(
        "{login} has a device password of this name already (ID {id}). Choose another name, or revoke that one first"
    )]
    SameName {
        /// The login.
        login: MailAddress,
        /// The existing password.
        id: DevicePasswordId,
    },
    /// [`PER_LOGIN`] is reached.
    #[error("{0} has {PER_LOGIN} device passwords already. Revoke those that are no longer used")]
    TooMany(MailAddress),
    /// It would have expired before its first use.
    #[error("the password would be expired already. Choose a later time")]
    Expired,
    /// The chosen password is not acceptable.
    #[error(transparent)]
    Unfit(#[from] UnfitPassword),
    /// The login already has this password. Revoking one of the two would leave the other.
    #[error("{0} has this password already. Choose a different one for each device")]
    SamePassword(MailAddress),
    /// Another process is adding a device password. Two that look at the same time would not see
    /// each other's.
    #[error("another device password is being created for {0}. Try again")]
    UnderWay(MailAddress),
    /// There is no randomness or memory for the hash.
    #[error(transparent)]
    Hashing(#[from] HashingFailed),
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates a password and keeps what verifies it. The password itself is stored nowhere.
///
/// # Errors
/// [`NotIssued`]; nothing was kept then.
pub async fn generate(store: &dyn Store, order: Order, now: UnixTime) -> Result<(DevicePassword, Password), NotIssued> {
    alone(store, &order.login.clone(), async {
        let present = check(store, &order, now).await?;
        let password = password::generate()?;
        let verifier = Verifier::Generated(password::digest(&order.login, &password));
        Ok((keep(store, order, verifier, &present, now).await?, password))
    })
    .await
}

/// Runs `work` while nobody else adds a device password to the account.
async fn alone<T>(
    store: &dyn Store,
    login: &MailAddress,
    work: impl Future<Output = Result<T, NotIssued>>,
) -> Result<T, NotIssued> {
    let lease = store.lease_device_passwords(login, LEASE).await?;
    let lease = lease.ok_or_else(|| NotIssued::UnderWay(login.clone()))?;
    let done = work.await;
    // The lease also ends by itself.
    let _released = store.release(&lease).await;
    done
}

/// Keeps what verifies a password that a person chose. It must have at least 12 characters, or 8 if
/// it is for named networks only, and differ from the user name and the login's other passwords. `configured` are those of the
/// configuration (PHC strings). The comparison takes about 30 ms for each of them.
///
/// # Errors
/// [`NotIssued`]; nothing was kept then.
pub async fn choose(
    store: &dyn Store,
    order: Order,
    password: &Password,
    configured: &[String],
    now: UnixTime,
) -> Result<DevicePassword, NotIssued> {
    password::check_chosen_for(&order.login, password, &order.from)?;
    alone(store, &order.login.clone(), async {
        let present = check(store, &order, now).await?;
        let digest = password::digest(&order.login, password);
        let is_this = |other: &DevicePassword| match &other.verifier {
            Verifier::Generated(other) => *other == digest,
            Verifier::Chosen(phc) => password::verify(password, phc),
        };
        let mut of_login = present.iter().filter(|other| other.login == order.login);
        if of_login.any(is_this) || configured.iter().any(|phc| password::verify(password, phc)) {
            return Err(NotIssued::SamePassword(order.login));
        }
        let verifier = Verifier::Chosen(password::hash(password)?);
        keep(store, order, verifier, &present, now).await
    })
    .await
}

/// Checks everything but the password. Returns the device passwords that exist.
async fn check(store: &dyn Store, order: &Order, now: UnixTime) -> Result<Vec<DevicePassword>, NotIssued> {
    let Order { login, name, expires_at, .. } = order;
    if name.trim().is_empty() {
        return Err(NotIssued::NoName);
    }
    if name.chars().count() > NAME_CHARACTERS {
        return Err(NotIssued::LongName);
    }
    if name.chars().any(char::is_control) {
        return Err(NotIssued::ControlCharacter);
    }
    if expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(NotIssued::Expired);
    }
    let present = store.device_passwords().await?;
    let of_login = || present.iter().filter(|other| other.login == *login);
    if let Some(other) = of_login().find(|other| other.name == *name) {
        return Err(NotIssued::SameName { login: login.clone(), id: other.id.clone() });
    }
    if of_login().count() >= PER_LOGIN {
        return Err(NotIssued::TooMany(login.clone()));
    }
    Ok(present)
}

async fn keep(
    store: &dyn Store,
    order: Order,
    verifier: Verifier,
    present: &[DevicePassword],
    now: UnixTime,
) -> Result<DevicePassword, NotIssued> {
    let Order { login, name, protocols, from, expires_at } = order;
    let mut id = DevicePasswordId(password::random_text::<8>()?);
    while present.iter().any(|other| other.id == id) {
        id = DevicePasswordId(password::random_text::<8>()?);
    }
    let password =
        DevicePassword { id, login, name, protocols, from, created_at: now, expires_at, verifier, last_use: None };
    store.add_device_password(&password).await?;
    Ok(password)
}

#[cfg(test)]
mod tests;
