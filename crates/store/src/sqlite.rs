//! Sealed records in SQLite: one file that service and command line use at the same time.
//!
//! A write is on the disk when it returns (write-ahead log, `synchronous=FULL`). Each change is one
//! transaction that checks before it writes. Without the state key the file shows only how many
//! records there are, how long they are, and when they changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::StoreError;
use super::files::{self, DATABASE, FileProblem};
use super::records::{Change, Done, Fault, KeyTable, Record, Records};
use super::seal::{KEPT, KeyId, Kind, Place};
use gatepost_core::clock::since_1970;

/// The format that this version writes. A file of a later format is refused.
const FORMAT: u32 = 1;

/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(2);

/// Limit of a call, including the wait for its turn.
const DEADLINE: Duration = Duration::from_secs(5);

const LONGEST_LEASE_MS: i64 = 10 * 60 * 1_000;

const SCHEMA: &str = "
    CREATE TABLE store (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        current_key BLOB
    ) STRICT;
    CREATE TABLE keys (id BLOB PRIMARY KEY, sealed BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE records (
        kind INTEGER NOT NULL,
        name BLOB NOT NULL,
        version INTEGER NOT NULL,
        key BLOB NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE leases (
        name BLOB PRIMARY KEY,
        holder BLOB NOT NULL,
        ends_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Why the file cannot be used. Each problem says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SqliteProblem {
    /// Its mode, its owner, or its path.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// A later version of Gatepost wrote it.
    #[error(
        "`{shown}` has format {found}, and this version of Gatepost knows formats up to {FORMAT}. Run the newer \
         version again, or restore the former store"
    )]
    Newer {
        /// The file.
        shown: String,
        /// Its format.
        found: u32,
    },
    /// It is a database of another program.
    #[error("`{shown}` is a database, but not one of Gatepost. Name another `state.directory`")]
    Foreign {
        /// The file.
        shown: String,
    },
    /// An error of SQLite.
    #[error("{0}")]
    Store(StoreError),
}

/// A database file. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sqlite(Arc<Shared>);

struct Shared {
    path: PathBuf,
    shown: String,
    /// `None` after a disk error: what a failed write left in memory cannot be trusted, so the file
    /// is opened again.
    connection: Mutex<Option<Connection>>,
    /// One call at a time runs. The others wait here and not in threads.
    turn: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens the file in a directory that has been checked, or creates it. Blocks for [`BUSY`] at
    /// most.
    pub(super) fn open(directory: &Path) -> Result<Self, SqliteProblem> {
        let path = directory.join(DATABASE);
        let shared = Shared {
            shown: path.display().to_string(),
            connection: Mutex::new(None),
            turn: Arc::new(Semaphore::new(1)),
            path,
        };
        let connection = shared.connect()?;
        shared.connection.lock().replace(connection);
        Ok(Self(Arc::new(shared)))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.work_or_fault(move |connection| work(connection).map_err(Failed::Sqlite)).await
    }

    /// Runs work in an immediate transaction, provided that `current` is the current key.
    async fn transact<T: Send + 'static>(
        &self,
        current: KeyId,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.work_or_fault(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if current_key(&transaction)? != Some(current) {
                return Err(Failed::OtherKey);
            }
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }

    /// Like [`Self::transact`], for work that only reads.
    async fn read<T: Send + 'static>(
        &self,
        current: KeyId,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.work_or_fault(move |connection| {
            let transaction = connection.transaction()?;
            match current_key(&transaction)? == Some(current) {
                true => Ok(work(&transaction)?),
                false => Err(Failed::OtherKey),
            }
        })
        .await
    }

    async fn work_or_fault<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Fault> {
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
            Ok(Err(_panicked)) => Err(self.0.unavailable("a call broke off inside of Gatepost").into()),
            Err(_) => Err(self.0.unavailable("it did not answer in 5 s. Look at the disk that it is on").into()),
        }
    }
}

/// Why a piece of work failed, before it becomes an error message.
enum Failed {
    OtherKey,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Shared {
    fn run<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, Failed>) -> Result<T, Fault> {
        let mut held = self.connection.lock();
        if held.is_none() {
            *held = Some(self.connect().map_err(|problem| match problem {
                SqliteProblem::Store(error) => error,
                other => self.unavailable(&other.to_string()),
            })?);
        }
        // It is never `None` here.
        let Some(connection) = held.as_mut() else { return Err(self.unavailable("it is not open").into()) };
        work(connection).map_err(|failed| match failed {
            Failed::OtherKey => Fault::OtherKey,
            Failed::Sqlite(error) => {
                let code = error.sqlite_error_code();
                if !matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)) {
                    *held = None;
                }
                self.told(&error).into()
            }
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
        match format(&connection).map_err(told)? {
            Format::Known => {}
            Format::Newer(found) => return Err(SqliteProblem::Newer { shown: self.shown.clone(), found }),
            Format::Foreign => return Err(SqliteProblem::Foreign { shown: self.shown.clone() }),
            Format::Empty => make(&mut connection).map_err(told)?,
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
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Sealed(format!(
                "`{shown}` is damaged. Restore it from a backup, or move it away and sign the accounts in again"
            )),
            Some(ErrorCode::CannotOpen) => StoreError::NotKept(files::denied("open", &self.path)),
            _ => self.unavailable(&error.to_string()),
        }
    }
}

enum Format {
    Known,
    Newer(u32),
    Foreign,
    Empty,
}

/// Reads the format without writing.
fn format(connection: &Connection) -> rusqlite::Result<Format> {
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Format::Empty);
    }
    let ours: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'store'", [], |row| row.get(0))?;
    if ours == 0 {
        return Ok(Format::Foreign);
    }
    let found: u32 = connection.query_row("SELECT format FROM store", [], |row| row.get(0))?;
    Ok(if found > FORMAT { Format::Newer(found) } else { Format::Known })
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    if let Format::Empty = format(&transaction)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.execute("INSERT INTO store (id, format, revision) VALUES (1, ?1, 0)", [FORMAT])?;
    }
    transaction.commit()
}

fn current_key(connection: &Connection) -> rusqlite::Result<Option<KeyId>> {
    let id: Option<[u8; 8]> = connection.query_row("SELECT current_key FROM store", [], |row| row.get(0))?;
    Ok(id.map(KeyId))
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        version: row.get::<_, i64>("version")?.cast_unsigned(),
        key: KeyId(row.get("key")?),
        sealed: row.get("sealed")?,
    })
}

fn count(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    transaction.execute("UPDATE store SET revision = revision + 1", [])
}

fn now() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

impl Records for Sqlite {
    fn shown(&self) -> &str {
        &self.0.shown
    }

    fn keys(&self) -> Done<'_, KeyTable> {
        Box::pin(self.work(|connection| {
            let transaction = connection.transaction()?;
            let mut keys = transaction.prepare("SELECT id, sealed FROM keys")?;
            let checks = keys.query_map([], |row| Ok((KeyId(row.get(0)?), row.get(1)?)))?;
            Ok(KeyTable { current: current_key(&transaction)?, checks: checks.collect::<Result<_, _>>()? })
        }))
    }

    fn found<'a>(&'a self, key: KeyId, check: &'a [u8]) -> Done<'a, bool> {
        let check = check.to_vec();
        Box::pin(self.work(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if current_key(&transaction)?.is_some() {
                return Ok(false);
            }
            transaction.execute("INSERT OR REPLACE INTO keys (id, sealed) VALUES (?1, ?2)", params![key.0, check])?;
            transaction.execute("UPDATE store SET current_key = ?1", [key.0])?;
            transaction.commit()?;
            Ok(true)
        }))
    }

    fn promote<'a>(&'a self, current: KeyId, to: KeyId, check: &'a [u8]) -> Done<'a, ()> {
        let check = check.to_vec();
        Box::pin(self.transact(current, move |transaction| {
            transaction.execute("INSERT OR REPLACE INTO keys (id, sealed) VALUES (?1, ?2)", params![to.0, check])?;
            transaction.execute("UPDATE store SET current_key = ?1", [to.0])?;
            Ok(())
        }))
    }

    fn retire(&self, current: KeyId) -> Done<'_, bool> {
        Box::pin(self.transact(current, move |transaction| {
            let left = transaction.prepare("SELECT 1 FROM records WHERE key <> ?1 LIMIT 1")?.exists([current.0])?;
            if !left {
                transaction.execute("DELETE FROM keys WHERE id <> ?1", [current.0])?;
            }
            Ok(!left)
        }))
    }

    fn outdated(&self, current: KeyId) -> Done<'_, Vec<(Place, Record)>> {
        Box::pin(self.read(current, move |transaction| {
            let mut records =
                transaction.prepare("SELECT kind, name, version, key, sealed FROM records WHERE key <> ?1")?;
            let found = records.query_map([current.0], |row| {
                let number: u8 = row.get("kind")?;
                // A record of an unknown kind does not open as a device password.
                let kind = KEPT.into_iter().find(|kind| *kind as u8 == number).unwrap_or(Kind::DevicePassword);
                Ok((Place { kind, name: row.get("name")? }, record(row)?))
            })?;
            found.collect()
        }))
    }

    fn tidy(&self) -> Done<'_, ()> {
        // Empties the write-ahead log into the file and cuts it. The file itself is overwritten
        // (`secure_delete`).
        Box::pin(self.work(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))))
    }

    fn get(&self, current: KeyId, place: Place) -> Done<'_, Option<Record>> {
        Box::pin(self.read(current, move |transaction| {
            transaction
                .prepare("SELECT version, key, sealed FROM records WHERE kind = ?1 AND name = ?2")?
                .query_row(params![place.kind as u8, place.name], record)
                .optional()
        }))
    }

    fn list(&self, current: KeyId, kind: Kind) -> Done<'_, Vec<(Place, Record)>> {
        Box::pin(self.read(current, move |transaction| {
            let mut records = transaction.prepare("SELECT name, version, key, sealed FROM records WHERE kind = ?1")?;
            let found =
                records.query_map([kind as u8], |row| Ok((Place { kind, name: row.get("name")? }, record(row)?)))?;
            found.collect()
        }))
    }

    fn change(&self, current: KeyId, changes: Vec<Change>, counts: bool) -> Done<'_, bool> {
        Box::pin(self.transact(current, move |transaction| {
            for Change { place, replaces, .. } in &changes {
                let present: Option<i64> = transaction
                    .prepare("SELECT version FROM records WHERE kind = ?1 AND name = ?2")?
                    .query_row(params![place.kind as u8, place.name], |row| row.get(0))
                    .optional()?;
                if present.map(i64::cast_unsigned) != *replaces {
                    return Ok(false);
                }
            }
            for Change { place, record, .. } in &changes {
                let at = params![place.kind as u8, place.name];
                let Some(Record { version, key, sealed }) = record else {
                    transaction.execute("DELETE FROM records WHERE kind = ?1 AND name = ?2", at)?;
                    continue;
                };
                transaction.execute(
                    "INSERT OR REPLACE INTO records (kind, name, version, key, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![place.kind as u8, place.name, version.cast_signed(), key.0, sealed],
                )?;
            }
            if counts {
                count(transaction)?;
            }
            Ok(true)
        }))
    }

    fn remove(&self, current: KeyId, place: Place) -> Done<'_, bool> {
        Box::pin(self.transact(current, move |transaction| {
            let removed = transaction
                .execute("DELETE FROM records WHERE kind = ?1 AND name = ?2", params![place.kind as u8, place.name])?;
            if removed > 0 {
                count(transaction)?;
            }
            Ok(removed > 0)
        }))
    }

    fn revision(&self) -> Done<'_, u64> {
        Box::pin(self.work(|connection| {
            let revision: i64 = connection.query_row("SELECT revision FROM store", [], |row| row.get(0))?;
            Ok(revision.cast_unsigned())
        }))
    }

    fn take_lease(&self, place: Place, holder: [u8; 16], life: Duration) -> Done<'_, bool> {
        Box::pin(self.work(move |connection| {
            let (now, life) = (now(), i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // A lease that ends later than any lease may is from a clock that has been set back
            // since.
            let taken = transaction.execute(
                "INSERT INTO leases (name, holder, ends_at) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE
                 SET holder = excluded.holder, ends_at = excluded.ends_at
                 WHERE holder = excluded.holder OR ends_at <= ?4 OR ends_at > ?5",
                params![place.name, holder, now.saturating_add(life), now, now.saturating_add(LONGEST_LEASE_MS)],
            )?;
            transaction.commit()?;
            Ok(taken > 0)
        }))
    }

    fn release_lease(&self, place: Place, holder: [u8; 16]) -> Done<'_, ()> {
        Box::pin(self.work(move |connection| {
            connection.execute("DELETE FROM leases WHERE name = ?1 AND holder = ?2", params![place.name, holder])?;
            Ok(())
        }))
    }
}

#[cfg(test)]
mod tests;
