//! Opens the store that the configuration names.

use std::path::Path;
use std::sync::Arc;

use super::error::OpenError;
use super::files::{self, blocking};
use super::records::Records;
use super::redis::Redis;
use super::sealed::Sealed;
use super::sqlite::Sqlite;
use super::{MemoryStore, RetryingStore, Store, StoreError};
use gatepost_config::State;

/// Opens the store of the configuration. For a new one it creates the database file, and the key
/// file when that is absent. Service and command line may have it open at the same time.
///
/// # Errors
/// See [`OpenError`]. An unreachable Redis is not an error: every later call tries it again.
pub async fn open(state: &State) -> Result<Arc<dyn Store>, OpenError> {
    let Some(sealed) = unproved(state).await? else { return Ok(Arc::new(MemoryStore::default())) };
    match (sealed.start().await, state) {
        (Err(OpenError::Store(error @ StoreError::Unavailable(_))), State::Redis { .. }) => {
            tracing::warn!("{error}. Gatepost starts without it, and what does not need it works");
        }
        (started, _) => started?,
    }
    Ok(Arc::new(RetryingStore::new(Arc::new(sealed))))
}

/// Whether a state directory has a store. Creates nothing.
pub fn exists(directory: &Path) -> bool {
    directory.join(files::DATABASE).exists()
}

/// The store before its key is checked; `None` for one in memory.
pub(super) async fn unproved(state: &State) -> Result<Option<Sealed>, OpenError> {
    let (records, key): (Box<dyn Records>, _) = match state {
        State::Memory => return Ok(None),
        State::NotRead => return Err(OpenError::NotRead),
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
