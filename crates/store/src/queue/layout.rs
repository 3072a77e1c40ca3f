//! The tables of the index of a queue.

use crate::database::Layout;

/// The present format, and how an earlier one becomes it.
pub(super) const LAYOUT: Layout = Layout {
    format: 2,
    marker: "queue",
    setting: "queue.directory",
    remedy: "Restore the whole directory from a backup, or move it away to begin with an empty queue",
    schema: "
    CREATE TABLE queue (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        acts INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    INSERT INTO queue (id, format) VALUES (1, 2);
    CREATE TABLE keys (id BLOB PRIMARY KEY, sealed BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        file BLOB NOT NULL UNIQUE,
        state TEXT NOT NULL,
        since INTEGER NOT NULL,
        accepted_at INTEGER NOT NULL,
        retry_from INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        record BLOB NOT NULL,
        note BLOB,
        changed INTEGER NOT NULL DEFAULT 0,
        unreported INTEGER NOT NULL DEFAULT 0,
        refused BLOB
    ) STRICT;
    CREATE INDEX messages_by_state ON messages (state, id);
    CREATE INDEX messages_by_change ON messages (changed, id) WHERE changed > 0;
    CREATE INDEX messages_unreported ON messages (id) WHERE unreported;
    CREATE TABLE handed_over (
        copy BLOB NOT NULL,
        id INTEGER NOT NULL,
        at INTEGER NOT NULL,
        mailbox BLOB,
        PRIMARY KEY (copy, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE totals (state TEXT PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO totals VALUES
        ('waiting', 0, 0), ('sending', 0, 0), ('looking', 0, 0), ('failed', 0, 0), ('unknown', 0, 0), ('sent', 0, 0);
    CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
        UPDATE totals SET messages = messages + 1, bytes = bytes + new.bytes WHERE state = new.state;
    END;
    CREATE TRIGGER message_removed AFTER DELETE ON messages BEGIN
        UPDATE totals SET messages = messages - 1, bytes = bytes - old.bytes WHERE state = old.state;
    END;
    CREATE TRIGGER message_moved AFTER UPDATE OF state ON messages BEGIN
        UPDATE totals SET messages = messages - 1, bytes = bytes - old.bytes WHERE state = old.state;
        UPDATE totals SET messages = messages + 1, bytes = bytes + new.bytes WHERE state = new.state;
    END;
",
    upgrades: &["
    ALTER TABLE queue ADD COLUMN acts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE messages ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX messages_by_change ON messages (changed, id) WHERE changed > 0;
    ALTER TABLE messages ADD COLUMN unreported INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX messages_unreported ON messages (id) WHERE unreported;
    ALTER TABLE messages ADD COLUMN refused BLOB;
    ALTER TABLE handed_over ADD COLUMN mailbox BLOB;
    UPDATE queue SET format = 2;
"],
};
