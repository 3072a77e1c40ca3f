//! Rotates the state key, while the service runs.
//!
//! Each of these steps is durable before the next:
//!
//! 1. The new key is put in front of the old one in the key file.
//! 2. The store makes the new one the current key. From then on nothing is written under the old
//!    one (see [`super::records::Records`]).
//! 3. Every record is sealed again.
//! 4. The store forgets the old key.
//! 5. The key file forgets the old key.
//!
//! The key of the queue of messages is sealed under both keys after the first step, and under the
//! new one alone after the last.
//!
//! After a crash the same command continues where it stopped. At every moment the key file opens
//! every record.
//!
//! Only one process at a time may rotate a key file. A second one does nothing and reports this,
//! because it would only add another key in front of the new one. Where each replica has its own
//! key file, the database makes sure that only one key follows another.

use std::path::Path;
use std::sync::Arc;

use super::StoreError;
use super::error::OpenError;
use super::files::blocking;
use super::key::{KeyProblem, OwnKeyFile};
use super::open::unproved;
use super::queue::follow_key;
use super::records::Fault;
use super::seal::Kind;
use super::sealed::{Ring, Sealed, TRIES};
use gatepost_config::{State, StateKey};

/// The result of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new key is in use, and the old one is not needed any longer.
    Done {
        /// How many records were sealed again.
        records: usize,
        /// Whether the source still gives the old key, which Gatepost cannot remove.
        old_is_left: bool,
    },
    /// The new key is in the key file, and every replica needs that file before it comes into use.
    Prepared,
}

/// Why the key was not rotated. The old key stays in use, or the next call continues the rotation.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The store cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no store.
    #[error("there is no store, so there is nothing to rotate. Write `state.directory` to have one")]
    NoStore,
    /// The key comes from a source that Gatepost cannot write to.
    #[error(
        "the state key comes from {shown}. Put a new line in front of the present one there (`openssl rand -base64 \
         32`), restart the service, and run this again"
    )]
    OneKey {
        /// The source.
        shown: String,
    },
    /// Another process is rotating the key.
    #[error(
        "another rotation of the state key in {shown} is under way, so this one did nothing. Wait until it has ended, \
         and run this again only if it failed"
    )]
    UnderWay {
        /// The source.
        shown: String,
    },
    /// Some records are damaged.
    #[error(
        "{records} records cannot be opened, so the old key is kept beside the new one. Restore them from a backup, \
         or remove them, and run this again"
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

/// Puts a new state key into use, or continues an interrupted rotation. The service may run, and
/// follows by itself. `queue`: the directory of the queue of messages, which need not exist.
///
/// # Errors
/// See [`RotateError`].
pub async fn rotate_key(state: &State, queue: Option<&Path>) -> Result<Rotation, RotateError> {
    let store = unproved(state).await?.ok_or(RotateError::NoStore)?;
    store.start().await?;
    let shown = store.source().shown();
    let StateKey::File(path) = store.source() else {
        return match store.ring().await?.keys.ids().len() {
            1 => Err(RotateError::OneKey { shown }),
            _ => {
                follow(queue, store.source()).await?;
                Ok(Rotation::Done { records: reseal(&store).await?, old_is_left: true })
            }
        };
    };
    let path = path.clone();
    let file = blocking(move || OwnKeyFile::lock(&path)).await?.ok_or(RotateError::UnderWay { shown })?;
    let file = Arc::new(file);
    // Another process may have rotated it since.
    let ring = looked_at(&store).await?;
    if ring.keys.ids().len() == 1 {
        let (file, current) = (Arc::clone(&file), ring.current);
        blocking(move || file.add_before(current)).await?;
        follow(queue, store.source()).await?;
        if let State::Redis { .. } = state {
            return Ok(Rotation::Prepared);
        }
    }
    let records = reseal(&store).await?;
    // An interrupted rotation may have left it out.
    follow(queue, store.source()).await?;
    let current = store.ring().await?.current;
    blocking(move || file.keep_only(current)).await?;
    follow(queue, store.source()).await?;
    Ok(Rotation::Done { records, old_is_left: false })
}

/// Lets the queue follow the keys of the source.
async fn follow(queue: Option<&Path>, source: &StateKey) -> Result<(), OpenError> {
    let Some(directory) = queue.map(Path::to_path_buf) else { return Ok(()) };
    let source = source.clone();
    blocking(move || follow_key(&directory, &source)).await
}

/// The keys as they are now.
async fn looked_at(store: &Sealed) -> Result<Arc<Ring>, RotateError> {
    store.look_after_keys(None).await?;
    Ok(store.ring().await?)
}

/// Makes the newest key of the source the current one.
async fn promote_newest(store: &Sealed) -> Result<(), RotateError> {
    for _ in 0..TRIES {
        let ring = looked_at(store).await?;
        let newest = ring.keys.newest();
        if ring.current == newest.id() {
            return Ok(());
        }
        let check = ring.index.seal(newest).map_err(|_| KeyProblem::Random)?;
        match store.records().promote(ring.current, newest.id(), &check).await {
            // The other replica has the same new key, or the next look shows that it has not.
            Ok(()) | Err(Fault::OtherKey) => {}
            Err(fault) => return Err(OpenError::of(fault).into()),
        }
    }
    Err(OpenError::of(Fault::OtherKey).into())
}

/// Makes the newest key the current one, and seals every record under it.
async fn reseal(store: &Sealed) -> Result<usize, RotateError> {
    promote_newest(store).await?;
    let (ring, records) = (store.ring().await?, store.records());
    let mut resealed = 0;
    loop {
        let outdated = records.outdated(ring.current).await.map_err(OpenError::of)?;
        let (count, before) = (outdated.len(), resealed);
        for (place, old) in outdated {
            let Ok(plain) = ring.open(&place, &old) else { continue };
            let new = ring.reseal(&place, old.version, plain)?;
            let put = records.put(ring.current, place, Some(old.version), new, false);
            // A record that changed meanwhile is under the new key already. The register is not
            // counted, because no person has made it.
            let put = put.await.map_err(OpenError::of)?;
            resealed += usize::from(put && place.kind != Kind::Register);
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
