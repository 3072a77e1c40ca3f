//! A database file of SQLite that several processes use at the same time.
//!
//! A write is on the disk when it returns (write-ahead log, `synchronous=FULL`).

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::StoreError;
use super::files::{self, FileProblem};

/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(2);

/// Limit of a call, including the wait for its turn.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// What a file holds.
pub(super) struct Layout {
    /// The format that this version writes. A file of a later format is refused.
    pub(super) format: u32,
    /// The table that marks the file as ours. Its only row has the column `format`.
    pub(super) marker: &'static str,
    /// Makes the tables in that format.
    pub(super) schema: &'static str,
    /// What changes a file of an earlier format into the next one: of format 1 first.
    pub(super) upgrades: &'static [&'static str],
    /// The configuration key that names the directory of the file.
    pub(super) setting: &'static str,
    /// What to do about a damaged file.
    pub(super) remedy: &'static str,
}

/// Why the file cannot be used. Each problem says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SqliteProblem {
    /// Its mode, its owner, or its path.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// A later version of Gatepost wrote it.
    #[error(
        "`{shown}` has format {found}, and this version of Gatepost knows formats up to {known}. Run the newer \
         version again, or restore the former store"
    )]
    Newer {
        /// The file.
        shown: String,
        /// Its format.
        found: u32,
        /// The latest that this version knows.
        known: u32,
    },
    /// It is a database of another program.
    #[error("`{shown}` is a database, but not one of Gatepost. Name another `{setting}`")]
    Foreign {
        /// The file.
        shown: String,
        /// The configuration key that names its directory.
        setting: &'static str,
    },
    /// An error of SQLite.
    #[error("{0}")]
    Store(StoreError),
}

/// A database file. Cheap to clone.
#[derive(Clone)]
pub(super) struct Database(Arc<Shared>);

struct Shared {
    layout: &'static Layout,
    path: PathBuf,
    shown: String,
    /// `None` after a disk error: what a failed write left in memory cannot be trusted, so the file
    /// is opened again.
    connection: Mutex<Option<Connection>>,
    /// One call at a time runs. The others wait here and not in threads.
    turn: Arc<Semaphore>,
}

impl Database {
    /// Opens a file whose directory has been checked, or creates it. Blocks for [`BUSY`] at most.
    pub(super) fn open(path: PathBuf, layout: &'static Layout) -> Result<Self, SqliteProblem> {
        let shared = Shared {
            layout,
            shown: path.display().to_string(),
            connection: Mutex::new(None),
            turn: Arc::new(Semaphore::new(1)),
            path,
        };
        let connection = shared.connect()?;
        shared.connection.lock().replace(connection);
        Ok(Self(Arc::new(shared)))
    }

    /// The path, for messages.
    pub(super) fn shown(&self) -> &str {
        &self.0.shown
    }

    /// The connection, if it is open.
    #[cfg(test)]
    pub(super) fn connection(&self) -> parking_lot::MutexGuard<'_, Option<Connection>> {
        self.0.connection.lock()
    }

    /// Runs work on the connection. Blocks.
    pub(super) fn work_now<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.0.run(work)
    }

    /// Runs work on the connection.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.0);
        let done = async {
            // The semaphore is never closed.
            let turn = Arc::clone(&shared.turn).acquire_owned().await.ok();
            let shared = Arc::clone(&shared);
            tokio::task::spawn_blocking(move || {
                // Kept until the work has really ended, even when its caller no longer waits.
                let _turn = turn;
                shared.run(work)
            })
            .await
        };
        match timeout(DEADLINE, done).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panicked)) => Err(self.0.unavailable("a call broke off inside of Gatepost")),
            Err(_) => Err(self.0.unavailable("it did not answer in 5 s. Look at the disk that it is on")),
        }
    }
}

impl Shared {
    fn run<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut held = self.connection.lock();
        if held.is_none() {
            *held = Some(self.connect().map_err(|problem| match problem {
                SqliteProblem::Store(error) => error,
                other => self.unavailable(&other.to_string()),
            })?);
        }
        // It is never `None` here.
        let Some(connection) = held.as_mut() else { return Err(self.unavailable("it is not open")) };
        work(connection).map_err(|error| {
            let code = error.sqlite_error_code();
            if !matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)) {
                *held = None;
            }
            self.told(&error)
        })
    }

    fn connect(&self) -> Result<Connection, SqliteProblem> {
        if !files::check_file(&self.path)? {
            // SQLite takes an empty file for an empty database, and gives its other files the same
            // mode. If another process was faster, its file is used.
            files::create_private(&self.path, b"")?;
        }
        let told = |error: rusqlite::Error| SqliteProblem::Store(self.told(&error));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(told)?;
        connection.busy_timeout(BUSY).map_err(told)?;
        // Confinement permits no file in the system's directories for temporary ones, where SQLite puts
        // what a statement may have to undo (above 64 KiB) and what does not fit into its cache.
        connection.pragma_update(None, "temp_store", "MEMORY").map_err(told)?;
        match self.layout.format_of(&connection).map_err(told)? {
            Format::Known => {}
            Format::Older(_) | Format::Empty => self.layout.make(&mut connection).map_err(told)?,
            Format::Newer(found) => {
                let known = self.layout.format;
                return Err(SqliteProblem::Newer { shown: self.shown.clone(), found, known });
            }
            Format::Foreign => {
                return Err(SqliteProblem::Foreign { shown: self.shown.clone(), setting: self.layout.setting });
            }
        }
        self.prepare(&connection).map_err(told)?;
        Ok(connection)
    }

    fn prepare(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // A commit is on the disk when it returns.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Replaced data is overwritten, so that records under a retired key do not stay in the
        // file.
        connection.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict == "ok" {
            return Ok(());
        }
        tracing::debug!(store = self.shown, verdict, "the database is damaged");
        Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error { code: ErrorCode::DatabaseCorrupt, extended_code: rusqlite::ffi::SQLITE_CORRUPT },
            None,
        ))
    }

    fn unavailable(&self, why: &str) -> StoreError {
        StoreError::Unavailable(format!("`{}`: {why}", self.shown))
    }

    fn told(&self, error: &rusqlite::Error) -> StoreError {
        let shown = &self.shown;
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => self
                .unavailable("another process keeps it locked. Find out which one (`fuser`), and end it if it hangs"),
            Some(ErrorCode::DiskFull) => StoreError::NotKept(format!("`{shown}`: the disk is full. Make room on it")),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
                StoreError::NotKept(files::denied("write", &self.path))
            }
            Some(ErrorCode::SystemIoFailure) => {
                StoreError::NotKept(format!("`{shown}`: the disk failed ({error}). Check the system's log"))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Sealed(format!("`{shown}` is damaged. {}", self.layout.remedy))
            }
            Some(ErrorCode::CannotOpen) => StoreError::NotKept(files::denied("open", &self.path)),
            _ => self.unavailable(&error.to_string()),
        }
    }
}

enum Format {
    Known,
    Older(u32),
    Newer(u32),
    Foreign,
    Empty,
}

impl Layout {
    /// Reads the format without writing.
    fn format_of(&self, connection: &Connection) -> rusqlite::Result<Format> {
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            return Ok(Format::Empty);
        }
        let ours = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
        let ours: u32 = connection.query_row(ours, [self.marker], |row| row.get(0))?;
        if ours == 0 {
            return Ok(Format::Foreign);
        }
        let found: u32 = connection.query_row(&format!("SELECT format FROM {}", self.marker), [], |row| row.get(0))?;
        Ok(match found.cmp(&self.format) {
            Ordering::Less => Format::Older(found),
            Ordering::Equal => Format::Known,
            Ordering::Greater => Format::Newer(found),
        })
    }

    /// Makes the tables, or brings those of an earlier format up to this one.
    fn make(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been faster.
        match self.format_of(&transaction)? {
            Format::Empty => transaction.execute_batch(self.schema)?,
            Format::Older(found) => {
                let done = usize::try_from(found).unwrap_or(usize::MAX).saturating_sub(1);
                for upgrade in self.upgrades.iter().skip(done) {
                    transaction.execute_batch(upgrade)?;
                }
            }
            Format::Known | Format::Newer(_) | Format::Foreign => {}
        }
        transaction.commit()
    }
}
