//! Why a store cannot be used.

use super::database::SqliteProblem;
use super::files::FileProblem;
use super::key::KeyProblem;
use super::outcome::StoreError;
use super::records::Fault;

/// Why a store cannot be opened. Each error says what to do; nothing was overwritten.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Directory(#[from] FileProblem),
    /// The state key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyProblem),
    /// The store is sealed under another state key.
    #[error(
        "`{store}` is encrypted with another key than the one in {key}. Put the right key there, or name another store"
    )]
    OtherKey {
        /// The store.
        store: String,
        /// Where the key came from.
        key: String,
    },
    /// The index of a queue is gone, and its messages are not.
    #[error(
        "`{index}` is missing, and {left} messages beside it cannot be read without it. Restore the whole directory from a \
         backup, or move it away to begin with an empty queue"
    )]
    IndexLost {
        /// The index.
        index: String,
        /// How many files there are.
        left: usize,
    },
    /// The address of the store was not read.
    #[error("the address of the store is a secret that was not read")]
    NotRead,
    /// The database file cannot be used.
    #[error(transparent)]
    Sqlite(#[from] SqliteProblem),
    /// A call to the database failed.
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
