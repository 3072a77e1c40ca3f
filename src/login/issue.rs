//! New device passwords: checked, made, and kept in the store by what proves them.

use std::time::Duration;

use ipnet::IpNet;

use gatepost_config::password_hash::{self as password, HashingFailed, UnfitPassword};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_store::{DevicePassword, DevicePasswordId, Store, StoreError, Verifier};

/// Most device passwords of one login; a wrong password costs a hash for each that was chosen.
pub const PER_LOGIN: usize = 64;

/// Longest name of a device password, in characters.
pub const NAME_CHARACTERS: usize = 100;

/// A command that ends in the middle keeps others out for no longer. Hashes for all of [`PER_LOGIN`] take less.
const LEASE: Duration = Duration::from_secs(60);

/// What a device password is to be.
#[derive(Clone, Debug)]
pub struct Order {
    /// The address that it opens.
    pub login: MailAddress,
    /// What the operator calls it: 1 to 100 characters without controls, unlike the names of the login's others.
    pub name: String,
    /// Where it may be used; empty: everywhere.
    pub protocols: Vec<Protocol>,
    /// From where it may be used; empty: from everywhere.
    pub from: Vec<IpNet>,
    /// From when on it is refused.
    pub expires_at: Option<UnixTime>,
}

/// Why there is no new device password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// Nothing but blanks.
    #[error("the name is empty; say which device the password is for, such as `Scanner, 3rd floor`")]
    NoName,
    /// More than [`NAME_CHARACTERS`].
    #[error("the name is longer than {NAME_CHARACTERS} characters; take a shorter one")]
    LongName,
    /// Lists and log lines have one line for each.
    #[error("the name holds a control character; leave it out")]
    ControlCharacter,
    /// The login has one of this name.
    #[error("{login} has a device password of this name already ({id}); take another name, or revoke that one first")]
    SameName {
        /// Whose.
        login: MailAddress,
        /// The other one.
        id: DevicePasswordId,
    },
    /// [`PER_LOGIN`] is reached.
    #[error("{0} has {PER_LOGIN} device passwords already; revoke some that are no longer used")]
    TooMany(MailAddress),
    /// It would have expired before its first use.
    #[error("the password would have expired already; name a later time")]
    Expired,
    /// Not one that may be chosen.
    #[error(transparent)]
    Unfit(#[from] UnfitPassword),
    /// Revoking one of the two would leave the other.
    #[error("{0} has this very password already; take another one for each device")]
    SamePassword(MailAddress),
    /// Of two that look at the same time neither sees the other.
    #[error("another device password is being created for {0} at this moment; try again")]
    UnderWay(MailAddress),
    /// No randomness or memory.
    #[error(transparent)]
    Hashing(#[from] HashingFailed),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a password and keeps what proves it. The password itself is kept nowhere.
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

/// Does it while nobody else adds a device password to the account.
async fn alone<T>(
    store: &dyn Store,
    login: &MailAddress,
    work: impl Future<Output = Result<T, NotIssued>>,
) -> Result<T, NotIssued> {
    let lease = store.lease_device_passwords(login, LEASE).await?;
    let lease = lease.ok_or_else(|| NotIssued::UnderWay(login.clone()))?;
    let done = work.await;
    // It ends by itself.
    let _released = store.release(&lease).await;
    done
}

/// Keeps what proves a password that a person chose: at least 12 characters, not the user name, and unlike the login's
/// others, of which `configured` are those of the configuration (PHC strings). Takes some 30 ms for each of them.
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
    password::check_chosen_for(&order.login, password)?;
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

/// Checks all but the password; the result are the device passwords that there are.
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
