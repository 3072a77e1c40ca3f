//! Why the queue did not do something.

use std::io;
use std::path::Path;

use crate::files;
use crate::outcome::StoreError;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// There is no room for a message, in the queue or on its disk.
    #[error("{0}")]
    Full(String),
    /// A message's file or record is damaged or gone.
    #[error("{0}")]
    Damaged(String),
    /// The index or the disk fails.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl QueueError {
    /// The error for what the system says about a file of a message.
    pub(super) fn of_file(error: &io::Error, path: &Path) -> Self {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full(format!("`{shown}`: the disk is full. Make room on it"))
            }
            io::ErrorKind::FileTooLarge => Self::Full(format!("`{shown}`: the disk takes no file of this length")),
            io::ErrorKind::NotFound => Self::Damaged(format!("the message's file `{shown}` is gone")),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Damaged(format!("the message's file `{shown}` is damaged"))
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Store(StoreError::NotKept(files::denied("write", path)))
            }
            io::ErrorKind::TimedOut => Self::Store(StoreError::Unavailable(format!(
                "`{shown}`: the disk did not answer in {} s. Look at the disk",
                files::DISK.as_secs()
            ))),
            _ => Self::Store(StoreError::NotKept(format!(
                "`{shown}`: the disk failed ({}). Check the system's log",
                gatepost_core::system_error::Plain(error)
            ))),
        }
    }

    pub(super) fn no_random() -> Self {
        Self::Store(crate::sealed::own_fault())
    }
}
