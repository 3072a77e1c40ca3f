//! Rotation of the state key, while the service runs.
//!
//! The steps, each durable before the next: the new key stands before the old one in the key file; the store takes the new
//! one for the current one, and from then on nothing is written under the old one (see [`super::records::Records`]); every
//! record is sealed anew; the store forgets the old key; the key file does. After a crash the same command goes on where it
//! ended, and at every moment the key file opens every record.

use super::files::blocking;
use super::key::{self, KeyProblem};
use super::open::{OpenError, unproved};
use super::sealed::Sealed;
use super::{StoreError, key::Keys};
use crate::config::{State, StateKey};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new key is in use, and the old one is not needed any longer.
    Done {
        /// How many records were sealed anew.
        records: usize,
        /// The source still gives the old key, and is not Gatepost's to change.
        old_is_left: bool,
    },
    /// The new key is in the key file, and every replica needs that file before it comes into use.
    Prepared,
}

/// Why the key was not rotated. The one before stays in use, or the rotation goes on with the next call.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The store cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no store.
    #[error("there is no store, so there is nothing to rotate; write `state.directory` to have one")]
    NoStore,
    /// The key comes from somewhere that Gatepost cannot write to.
    #[error(
        "the state key comes from {shown}; put a new line in front of the present one there (`openssl rand -base64 32`), restart the service, and run this again"
    )]
    OneKey {
        /// The source.
        shown: String,
    },
    /// Some records are damaged.
    #[error(
        "{records} records cannot be opened, so the old key is kept beside the new one; restore them from a backup, or remove them, and run this again"
    )]
    Unreadable {
        /// How many.
        records: usize,
    },
}

impl From<StoreError> for RotateError {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}

impl From<KeyProblem> for RotateError {
    fn from(problem: KeyProblem) -> Self {
        Self::Open(problem.into())
    }
}

/// Puts a new state key into use, or goes on with a rotation that was interrupted. The service may run; it follows by itself.
///
/// # Errors
/// See [`RotateError`].
pub async fn rotate_key(state: &State) -> Result<Rotation, RotateError> {
    let store = unproved(state).await?.ok_or(RotateError::NoStore)?;
    store.start().await?;
    let own_file = match store.source() {
        StateKey::File(path) => Some(path.clone()),
        _ => None,
    };
    if read(&store).await?.all().len() == 1 {
        let shown = || store.source().shown();
        let path = own_file.clone().ok_or_else(|| RotateError::OneKey { shown: shown() })?;
        blocking(move || key::add_to_file(&path)).await?;
        if let State::Redis { .. } = state {
            return Ok(Rotation::Prepared);
        }
    }
    let records = reseal(&store).await?;
    let old_is_left = own_file.is_none();
    if let Some(path) = own_file {
        blocking(move || key::keep_first_in_file(&path)).await?;
    }
    Ok(Rotation::Done { records, old_is_left })
}

async fn read(store: &Sealed) -> Result<Keys, RotateError> {
    let keys = store.read_keys().await?;
    let lost = || KeyProblem::Lost { key: store.source().shown(), store: store.records().shown().to_owned() };
    Ok(keys.ok_or_else(lost)?)
}

/// Makes the newest key the current one, and seals every record under it.
async fn reseal(store: &Sealed) -> Result<usize, RotateError> {
    let newest = read(store).await?;
    let newest = newest.newest();
    let ring = store.ring().await?;
    if ring.current != newest.id() {
        let check = ring.index.seal(newest).map_err(|_| KeyProblem::Random)?;
        store.records().promote(ring.current, newest.id(), &check).await.map_err(OpenError::of)?;
        store.look_after_keys(Some(&ring)).await?;
    }
    let (ring, records) = (store.ring().await?, store.records());
    let mut resealed = 0;
    loop {
        let outdated = records.outdated(ring.current).await.map_err(OpenError::of)?;
        let (count, before) = (outdated.len(), resealed);
        for (place, old) in outdated {
            let Ok(plain) = ring.open(&place, &old) else { continue };
            let new = ring.reseal(&place, old.version, plain)?;
            let put = records.put(ring.current, place, Some(old.version), new, false);
            // One that changed meanwhile is under the new key already.
            resealed += usize::from(put.await.map_err(OpenError::of)?);
        }
        if records.retire(ring.current).await.map_err(OpenError::of)? {
            break;
        }
        if resealed == before {
            return Err(RotateError::Unreadable { records: count });
        }
    }
    records.tidy().await.map_err(OpenError::of)?;
    Ok(resealed)
}
