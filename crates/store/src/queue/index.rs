//! The index of a queue, as SQL.

use std::io;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, ffi, params};

use super::key::{FileName, QueueKey};
use super::message::{QueueId, Seen, State, Total, Totals};
use crate::key::Keys;
use crate::seal::KeyId;
use gatepost_core::clock::UnixTime;

/// Most messages of a queue, so that its list fits into memory.
pub(super) const MOST_MESSAGES: i64 = 100_000;

/// Seconds by which the clocks of Gatepost and Microsoft may differ. The search of Sent Items allows
/// for less.
const SAME_TIME: i64 = 60;

/// The time that the limit of messages covers, in seconds. It is no longer than [`SAME_TIME`], for which
/// every note of a message that was handed over stays.
const MINUTE: i64 = 60;

/// A row of the index.
pub(super) struct Row {
    pub(super) id: QueueId,
    pub(super) file: FileName,
    pub(super) state: State,
    pub(super) since: UnixTime,
    pub(super) accepted_at: UnixTime,
    pub(super) retry_from: UnixTime,
    pub(super) due_at: UnixTime,
    pub(super) bytes: u64,
    pub(super) attempts: u32,
    /// The number of the last act of a person on it, 0 without one.
    pub(super) changed: u64,
    pub(super) record: Vec<u8>,
    pub(super) note: Option<Vec<u8>>,
    pub(super) refused: Option<Vec<u8>>,
}

fn time(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<UnixTime> {
    row.get::<_, i64>(column).map(|seconds| UnixTime(seconds.cast_unsigned()))
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let state: String = row.get("state")?;
        Ok(Self {
            id: QueueId(row.get::<_, i64>("id")?.cast_unsigned()),
            file: FileName(row.get("file")?),
            // A later version would have another format.
            state: State::of_name(&state).unwrap_or(State::Unknown),
            since: time(row, "since")?,
            accepted_at: time(row, "accepted_at")?,
            retry_from: time(row, "retry_from")?,
            due_at: time(row, "due_at")?,
            bytes: row.get::<_, i64>("bytes")?.cast_unsigned(),
            attempts: row.get("attempts")?,
            changed: row.get::<_, i64>("changed")?.cast_unsigned(),
            record: row.get("record")?,
            note: row.get("note")?,
            refused: row.get("refused")?,
        })
    }

    pub(super) fn seen(&self) -> Seen {
        Seen { id: self.id, attempts: self.attempts, changed: self.changed }
    }
}

/// A change of a row's state.
pub(super) struct Change {
    /// What it must be like before.
    pub(super) seen: Seen,
    /// The states that it may have before.
    pub(super) from: &'static [State],
    pub(super) to: State,
    pub(super) at: UnixTime,
    pub(super) due: Option<UnixTime>,
    /// `None`: the note stays.
    pub(super) note: Option<Vec<u8>>,
    /// Whether it is the outcome of an attempt.
    pub(super) counts: bool,
}

/// The error of SQLite that stands for an error of the system.
pub(super) fn failed(_: io::Error) -> rusqlite::Error {
    let code = ffi::Error { code: ErrorCode::SystemIoFailure, extended_code: ffi::SQLITE_IOERR };
    rusqlite::Error::SqliteFailure(code, None)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The result of [`fit_keys`].
pub(super) enum Fitted {
    Key(QueueKey),
    /// The index has no key yet.
    New,
    /// It is sealed under another state key.
    Other,
}

/// Opens the key of the queue, and keeps it sealed under exactly the present state keys.
pub(super) fn fit_keys(connection: &mut Connection, keys: &Keys) -> rusqlite::Result<Fitted> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let kept: Vec<(KeyId, Vec<u8>)> = transaction
        .prepare("SELECT id, sealed FROM keys")?
        .query_map([], |row| Ok((KeyId(row.get(0)?), row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    if kept.is_empty() {
        return Ok(Fitted::New);
    }
    let opened = kept.iter().find_map(|(id, sealed)| QueueKey::open(keys.get(*id)?, sealed).ok());
    let Some(key) = opened else { return Ok(Fitted::Other) };
    keep_under(&transaction, keys, &key)?;
    transaction.commit()?;
    Ok(Fitted::Key(key))
}

/// Keeps a key that is in use sealed under exactly the present state keys.
pub(super) fn follow_keys(connection: &mut Connection, keys: &Keys, key: &QueueKey) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    keep_under(&transaction, keys, key)?;
    transaction.commit()
}

fn keep_under(transaction: &Transaction<'_>, keys: &Keys, key: &QueueKey) -> rusqlite::Result<()> {
    let kept: Vec<KeyId> = transaction
        .prepare("SELECT id FROM keys")?
        .query_map([], |row| Ok(KeyId(row.get(0)?)))?
        .collect::<Result<_, _>>()?;
    let present = keys.ids();
    for id in present.iter().filter(|id| !kept.contains(id)) {
        let sealed = keys.get(*id).and_then(|under| key.seal(under).ok());
        transaction.execute("INSERT INTO keys (id, sealed) VALUES (?1, ?2)", params![id.0, sealed])?;
    }
    // Somebody may have put a wrong key there, which is corrected again.
    if kept.iter().any(|id| present.contains(id)) {
        for id in kept.iter().filter(|id| !present.contains(id)) {
            transaction.execute("DELETE FROM keys WHERE id = ?1", [id.0])?;
        }
    }
    Ok(())
}

/// Gives an index its first key, unless another process was faster.
pub(super) fn found(connection: &mut Connection, keys: &Keys, key: &QueueKey) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if transaction.prepare("SELECT 1 FROM keys LIMIT 1")?.exists([])? {
        return Ok(());
    }
    keep_under(&transaction, keys, key)?;
    transaction.commit()
}

/// Adds a message, if the queue then has `size` octets at most and is not full of messages. Messages
/// that were sent do not count: see [`make_room`].
pub(super) fn insert(
    connection: &Connection,
    file: FileName,
    now: UnixTime,
    bytes: u64,
    size: u64,
    record: &[u8],
) -> rusqlite::Result<Option<QueueId>> {
    connection
        .query_row(
            "INSERT INTO messages (file, state, since, accepted_at, retry_from, due_at, bytes, attempts, record)
             SELECT ?1, 'waiting', ?2, ?2, ?2, ?2, ?3, 0, ?4
             WHERE (SELECT sum(bytes) <= ?5 - ?3 AND sum(messages) < ?6 FROM totals WHERE state <> 'sent')
             RETURNING id",
            params![file.0, whole(now.0), whole(bytes), record, whole(size), MOST_MESSAGES],
            |row| row.get::<_, i64>(0),
        )
        .optional()
        .map(|id| id.map(|id| QueueId(id.cast_unsigned())))
}

/// Removes the oldest messages that were sent, as far as the queue would be too large with them.
/// Returns their files.
pub(super) fn make_room(connection: &Connection, size: u64) -> rusqlite::Result<Vec<FileName>> {
    let is_over = "SELECT 1 WHERE (SELECT sum(bytes) > ?1 OR sum(messages) > ?2 FROM totals)";
    if !connection.prepare(is_over)?.exists(params![whole(size), MOST_MESSAGES])? {
        return Ok(Vec::new());
    }
    let mut rows = connection.prepare(
        "WITH others AS (SELECT sum(bytes) AS bytes, sum(messages) AS messages FROM totals WHERE state <> 'sent'),
              newer AS (SELECT id, sum(bytes) OVER later AS bytes, count(*) OVER later AS messages
                        FROM messages WHERE state = 'sent' WINDOW later AS (ORDER BY id DESC))
         DELETE FROM messages WHERE id IN (
             SELECT newer.id FROM newer, others
             WHERE newer.bytes + others.bytes > ?1 OR newer.messages + others.messages > ?2)
         RETURNING file",
    )?;
    rows.query_map(params![whole(size), MOST_MESSAGES], |row| row.get(0).map(FileName))?.collect()
}

/// Takes back a message that is not accepted. Returns its number if it is too late for that.
pub(super) fn withdraw(connection: &Connection, file: FileName) -> rusqlite::Result<Option<QueueId>> {
    connection.execute("DELETE FROM messages WHERE file = ?1 AND state = 'waiting'", [file.0])?;
    connection
        .query_row("SELECT id FROM messages WHERE file = ?1", [file.0], |row| row.get::<_, i64>(0))
        .optional()
        .map(|id| id.map(|id| QueueId(id.cast_unsigned())))
}

/// Whether there is a row for this file.
pub(super) fn has(connection: &Connection, file: FileName) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM messages WHERE file = ?1")?.exists([file.0])
}

pub(super) fn get(connection: &Connection, id: QueueId) -> rusqlite::Result<Option<Row>> {
    connection.prepare("SELECT * FROM messages WHERE id = ?1")?.query_row([whole(id.0)], Row::read).optional()
}

/// Reads the rows behind `?1` that have one of these states, in order, at most `?2`. That takes as long
/// as there are rows to return, however many others there are.
pub(super) fn list_sql(states: &[State]) -> String {
    // Each state has its part of the index in order, and SQLite would sort all of `state IN (...)`. The
    // words are ours.
    let of_state = |state: &State| {
        let name = state.name();
        format!("SELECT id FROM (SELECT id FROM messages WHERE state = '{name}' AND id > ?1 ORDER BY id LIMIT ?2)")
    };
    let parts: Vec<String> = states.iter().map(of_state).collect();
    format!("SELECT * FROM messages WHERE id IN ({}) ORDER BY id LIMIT ?2", parts.join(" UNION ALL "))
}

/// The rows behind `after` that have one of these states, in order.
pub(super) fn list(
    connection: &Connection,
    states: &[State],
    after: QueueId,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare(&list_sql(states))?.query_map(params![whole(after.0), limit], Row::read)?.collect()
}

/// Reads the rows behind the change `?1` and the row `?2` that wait or are looked for, at most `?3`. SQLite
/// would read all that wait.
pub(super) const CHANGED: &str = "
    SELECT * FROM messages INDEXED BY messages_by_change
    WHERE changed > 0 AND (changed, id) > (?1, ?2) AND state IN ('waiting', 'looking')
    ORDER BY changed, id LIMIT ?3";

/// The rows that wait or are looked for, and that a person has changed behind this act and row, in the
/// order of the acts.
pub(super) fn changed(connection: &Connection, (act, id): (u64, QueueId), limit: usize) -> rusqlite::Result<Vec<Row>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare(CHANGED)?.query_map(params![whole(act), whole(id.0), limit], Row::read)?.collect()
}

/// The rows behind `after` that wait for a person, and are in no report yet.
pub(super) fn unreported(connection: &Connection, after: QueueId, limit: usize) -> rusqlite::Result<Vec<Row>> {
    let sql = "SELECT * FROM messages WHERE unreported AND id > ?1 ORDER BY id LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare(sql)?.query_map(params![whole(after.0), limit], Row::read)?.collect()
}

/// Notes that these messages are in a report.
pub(super) fn reported(connection: &Connection, ids: &[QueueId]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("UPDATE messages SET unreported = 0 WHERE id = ?1")?;
    for id in ids {
        statement.execute([whole(id.0)])?;
    }
    Ok(())
}

/// The number of the last act of a person that let messages be tried again.
pub(super) fn acts(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT acts FROM queue", [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// All files that have a row, with its number and state.
pub(super) fn files(connection: &Connection) -> rusqlite::Result<Vec<(FileName, QueueId, State)>> {
    let mut rows = connection.prepare("SELECT file, id, state FROM messages")?;
    let rows = rows.query_map([], |row| {
        let state: String = row.get(2)?;
        let id = QueueId(row.get::<_, i64>(1)?.cast_unsigned());
        Ok((FileName(row.get(0)?), id, State::of_name(&state).unwrap_or(State::Unknown)))
    })?;
    rows.collect()
}

/// Replaces what is known about a message.
pub(super) fn set_record(connection: &Connection, id: QueueId, record: &[u8]) -> rusqlite::Result<()> {
    connection.execute("UPDATE messages SET record = ?2 WHERE id = ?1", params![whole(id.0), record]).map(drop)
}

/// Notes who was refused when a message was handed over; `None`: nobody.
pub(super) fn set_refused(connection: &Connection, id: QueueId, refused: Option<&[u8]>) -> rusqlite::Result<()> {
    // In most cases there is nothing to write.
    let sql = "UPDATE messages SET refused = ?2 WHERE id = ?1 AND refused IS NOT ?2";
    connection.execute(sql, params![whole(id.0), refused]).map(drop)
}

/// Changes the state of a message; false when it is not as it was seen, or its state is none of those
/// it may have.
pub(super) fn change(connection: &Connection, change: &Change) -> rusqlite::Result<bool> {
    let names: Vec<String> = change.from.iter().map(|state| format!("'{}'", state.name())).collect();
    let sql = format!(
        "UPDATE messages SET state = ?2, since = iif(state = ?2 OR state = 'sending' AND ?2 = 'looking', since, ?3),
             due_at = coalesce(?4, due_at), note = coalesce(?5, note),
             attempts = attempts + (?6 AND state IN ('waiting', 'sending')),
             unreported = ?2 IN ('failed', 'unknown')
         WHERE id = ?1 AND attempts = ?7 AND changed = ?8 AND state IN ({})",
        names.join(", ")
    );
    let Seen { id, attempts, changed } = change.seen;
    let due = change.due.map(|due| whole(due.0));
    let changed = connection.prepare(&sql)?.execute(params![
        whole(id.0),
        change.to.name(),
        whole(change.at.0),
        due,
        change.note,
        change.counts,
        attempts,
        // As it was read, also where the index is damaged: the message could never fail otherwise.
        changed.cast_signed()
    ])?;
    Ok(changed > 0)
}

/// Lets messages be tried again from the beginning. `None` stands for all that failed.
pub(super) fn retry(connection: &Connection, id: Option<QueueId>, now: UnixTime) -> rusqlite::Result<Vec<QueueId>> {
    let act: i64 = connection.query_row("SELECT acts + 1 FROM queue", [], |row| row.get(0))?;
    let sql = "UPDATE messages SET changed = ?3, unreported = 0, due_at = ?2, state = 'waiting', since = iif(state = 'waiting', since, ?2),
             retry_from = iif(state = 'waiting', retry_from, ?2), attempts = iif(state = 'waiting', attempts, 0)
         WHERE id = coalesce(?1, id) AND (state = 'failed' OR ?1 IS NOT NULL AND state IN ('waiting', 'looking', 'unknown'))
         RETURNING id";
    let mut rows = connection.prepare(sql)?;
    let ids = rows.query_map(params![id.map(|id| whole(id.0)), whole(now.0), act], |row| row.get::<_, i64>(0))?;
    let ids: Vec<_> = ids.map(|id| id.map(|id| QueueId(id.cast_unsigned()))).collect::<Result<_, _>>()?;
    if !ids.is_empty() {
        connection.execute("UPDATE queue SET acts = ?1", [act])?;
    }
    Ok(ids)
}

/// Removes the row of a message that is as it was seen. Returns its file.
pub(super) fn remove_seen(
    connection: &Connection,
    seen: Seen,
    states: &'static [State],
) -> rusqlite::Result<Option<FileName>> {
    match get(connection, seen.id)?.filter(|row| row.seen() == seen) {
        Some(_) => remove(connection, seen.id, states),
        None => Ok(None),
    }
}

/// Removes the row of a message that has one of these states. Returns its file.
pub(super) fn remove(
    connection: &Connection,
    id: QueueId,
    states: &'static [State],
) -> rusqlite::Result<Option<FileName>> {
    let names: Vec<String> = states.iter().map(|state| format!("'{}'", state.name())).collect();
    let sql = format!("DELETE FROM messages WHERE id = ?1 AND state IN ({}) RETURNING file", names.join(", "));
    connection.prepare(&sql)?.query_row([whole(id.0)], |row| row.get(0).map(FileName)).optional()
}

/// Removes messages that were sent before a time. Returns their files.
pub(super) fn remove_sent(connection: &Connection, before: UnixTime) -> rusqlite::Result<Vec<FileName>> {
    let mut rows = connection.prepare("DELETE FROM messages WHERE state = 'sent' AND since <= ?1 RETURNING file")?;
    rows.query_map([whole(before.0)], |row| row.get(0).map(FileName))?.collect()
}

/// Whatever was being handed over is to be looked up from now on.
pub(super) fn leave_sending(connection: &Connection, now: UnixTime) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE messages SET state = 'looking', due_at = ?1, attempts = attempts + 1
         WHERE state = 'sending'",
        [whole(now.0)],
    )
}

/// Notes when a message was handed over, by what its copy in Sent Items is known. Notes that no
/// open message can be mistaken for are removed.
pub(super) fn note_handed_over(
    connection: &Connection,
    id: QueueId,
    (copy, mailbox): ([u8; 32], &[u8]),
    at: UnixTime,
) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM handed_over
         WHERE at < (SELECT min(?1, coalesce(min(since), ?1)) - ?2 FROM messages WHERE state IN ('sending', 'looking'))",
        params![whole(at.0), SAME_TIME],
    )?;
    connection
        .execute(
            "REPLACE INTO handed_over (copy, id, at, mailbox) VALUES (?1, ?2, ?3, ?4)",
            params![copy, whole(id.0), whole(at.0), mailbox],
        )
        .map(drop)
}

/// A message that left: what stands for its copy, the mailbox, sealed, and when.
pub(super) type Left = ([u8; 32], Vec<u8>, UnixTime);

/// The messages that were handed over in the last minute. One that is being handed over counts as of
/// now, because nobody knows how long that took.
pub(super) fn last_minute(connection: &Connection, now: UnixTime) -> rusqlite::Result<Vec<Left>> {
    let mut rows = connection.prepare(
        "SELECT copy, mailbox, iif(state IS 'sending', ?1, at) AS at FROM handed_over LEFT JOIN messages USING (id)
         WHERE mailbox IS NOT NULL AND (at >= ?1 - ?2 OR state IS 'sending')",
    )?;
    let rows = rows.query_map(params![whole(now.0), MINUTE], |row| Ok((row.get(0)?, row.get(1)?, time(row, "at")?)))?;
    rows.collect()
}

/// Whether another message was handed over since shortly before this one whose copy looks the same.
pub(super) fn has_double(connection: &Connection, id: QueueId) -> rusqlite::Result<bool> {
    connection
        .prepare(
            "SELECT 1 FROM handed_over AS this JOIN handed_over AS other USING (copy)
             WHERE this.id = ?1 AND other.id <> ?1 AND other.at >= this.at - ?2",
        )?
        .exists(params![whole(id.0), SAME_TIME])
}

pub(super) fn totals(connection: &Connection) -> rusqlite::Result<Totals> {
    let mut totals = Totals::default();
    let mut rows = connection.prepare("SELECT state, messages, bytes FROM totals")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let total =
            Total { messages: row.get::<_, i64>(1)?.cast_unsigned(), bytes: row.get::<_, i64>(2)?.cast_unsigned() };
        for (_, of) in State::ALL.iter().zip(&mut totals.by_state).filter(|(state, _)| state.name() == name) {
            *of = total;
        }
    }
    let mut first = connection.prepare("SELECT accepted_at FROM messages WHERE state = ?1 ORDER BY id LIMIT 1")?;
    for state in [State::Waiting, State::Sending, State::Looking] {
        let found = first.query_row([state.name()], |row| time(row, "accepted_at")).optional()?;
        totals.oldest = totals.oldest.into_iter().chain(found).min();
    }
    Ok(totals)
}

/// Changes when another connection has written.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}
