//! From the configuration to a store, with what may be in the way.

use std::path::Path;
use std::sync::Arc;

use super::files::{self, FileProblem, blocking};
use super::key::KeyProblem;
use super::records::{Fault, Records};
use super::redis::Redis;
use super::sealed::Sealed;
use super::sqlite::{Sqlite, SqliteProblem};
use super::{Durable, MemoryStore, Store, StoreError};
use crate::config::State;

/// Why a store cannot be used. Each says what to do; nothing was overwritten.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory.
    #[error(transparent)]
    Directory(#[from] FileProblem),
    /// The state key.
    #[error(transparent)]
    Key(#[from] KeyProblem),
    /// The store is sealed under another state key.
    #[error(
        "`{store}` is sealed under another key than the one in {key}; put the right key there, or name another store"
    )]
    OtherKey {
        /// The store.
        store: String,
        /// Where the key came from.
        key: String,
    },
    /// The database file.
    #[error(transparent)]
    Sqlite(#[from] SqliteProblem),
    /// The database did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    pub(super) fn of(fault: Fault) -> Self {
        Self::Store(match fault {
            Fault::Store(error) => error,
            Fault::OtherKey => StoreError::Unavailable("the store is changed by others again and again".into()),
        })
    }
}

/// Opens the store of the configuration; a new one gets its file, and its key when that is a file that is absent. Service
/// and command line may have it open at the same time.
///
/// # Errors
/// See [`OpenError`]. A Redis that is away is none: it is tried again when something is asked of it.
pub async fn open(state: &State) -> Result<Arc<dyn Store>, OpenError> {
    let Some(sealed) = unproved(state).await? else { return Ok(Arc::new(MemoryStore::default())) };
    match (sealed.start().await, state) {
        (Err(OpenError::Store(error @ StoreError::Unavailable(_))), State::Redis { .. }) => {
            tracing::warn!("{error}; starting without it: what does not need it works");
        }
        (started, _) => started?,
    }
    Ok(Arc::new(Durable::new(Arc::new(sealed))))
}

/// The store before its key is looked at; `None` for one in memory.
pub(super) async fn unproved(state: &State) -> Result<Option<Sealed>, OpenError> {
    let (records, key): (Box<dyn Records>, _) = match state {
        State::Memory => return Ok(None),
        State::Sqlite { directory, key } => (Box::new(open_file(directory).await?), key),
        State::Redis { server, key } => (Box::new(Redis::new(Arc::clone(server))), key),
    };
    Ok(Some(Sealed::new(records, key.clone())))
}

pub(super) async fn open_file(directory: &Path) -> Result<Sqlite, OpenError> {
    let directory = directory.to_path_buf();
    blocking(move || {
        let directory = files::private_directory(&directory)?;
        Ok(Sqlite::open(&directory)?)
    })
    .await
}
