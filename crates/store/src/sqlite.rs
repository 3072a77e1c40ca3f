//! Sealed records in SQLite: one file that service and command line use at the same time.
//!
//! A write is on the disk when it returns, and each change is one transaction that checks before it
//! writes: see [`super::database`]. Without the state key the file shows only how many records there
//! are, how long they are, and when they changed.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::database::{Database, Layout, SqliteProblem};
use super::files::DATABASE;
use super::records::{Change, Done, Fault, KeyTable, Record, Records};
use super::seal::{KEPT, KeyId, Kind, Place};
use gatepost_core::clock::since_1970;

const LONGEST_LEASE_MS: i64 = 10 * 60 * 1_000;

/// The tables. Nothing of an account is in the clear.
const LAYOUT: Layout = Layout {
    format: 1,
    marker: "store",
    setting: "state.directory",
    remedy: "Restore it from a backup, or move it away and sign the accounts in again",
    schema: "
    CREATE TABLE store (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        current_key BLOB
    ) STRICT;
    INSERT INTO store (id, format, revision) VALUES (1, 1, 0);
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
",
    upgrades: &[],
};

/// A database file. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sqlite(Database);

impl Sqlite {
    /// Opens the file in a directory that has been checked, or creates it. Blocks for two seconds at
    /// most.
    pub(super) fn open(directory: &Path) -> Result<Self, SqliteProblem> {
        Ok(Self(Database::open(directory.join(DATABASE), &LAYOUT)?))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        Ok(self.0.work(work).await?)
    }

    /// Runs work in an immediate transaction, provided that `current` is the current key.
    async fn transact<T: Send + 'static>(
        &self,
        current: KeyId,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.under(current, TransactionBehavior::Immediate, work).await
    }

    /// Like [`Self::transact`], for work that only reads.
    async fn read<T: Send + 'static>(
        &self,
        current: KeyId,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.under(current, TransactionBehavior::Deferred, work).await
    }

    async fn under<T: Send + 'static>(
        &self,
        current: KeyId,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let done = self.0.work(move |connection| {
            let transaction = connection.transaction_with_behavior(behavior)?;
            if current_key(&transaction)? != Some(current) {
                return Ok(None);
            }
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(Some(result))
        });
        done.await?.ok_or(Fault::OtherKey)
    }
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
        self.0.shown()
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
