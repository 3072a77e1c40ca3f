//! The audit log: one JSON object a line for each login decision, each end of a session and each
//! action of an administrator. It is written to a file of its own or to the journal of systemd.
//!
//! A thread of its own writes it, so that no session waits for a disk. Lines that find the queue
//! full are counted, and the count is written as soon as there is room. So missing lines are always
//! reported. A file that was moved away (by logrotate) is created again at the next line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::Serialize;
use serde_json::{Map, Value};

use super::journald::{self, Journal, SOCKET};
use super::log::harmless;
use gatepost_config::AuditLog;
use gatepost_core::cause::Cause;
use gatepost_core::clock::Clock;
use gatepost_core::system_error::Plain;

/// Lines that may wait for the disk.
const QUEUE: usize = 8_192;

/// The event that reports lines that were lost.
const LOST: &str = "lost";

/// The log's name in the journal.
const IDENTIFIER: &str = "gatepost-audit";

/// An event. Absent values are left out of the line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry<'a> {
    /// `login`, `session`, `admin` or `credential`.
    pub event: &'static str,
    /// `accepted`, `refused`, `ended`; for an action of an administrator, what was done.
    pub outcome: &'static str,
    /// The cause: a short fixed word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The listener's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub listener: &'a str,
    /// The listener's protocol.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub protocol: &'a str,
    /// The client's address and port.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub peer: &'a str,
    /// The session's name, as in the log and in what the client was told.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub session: &'a str,
    /// The account.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub account: &'a str,
    /// The device password, by id and name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub device: &'a str,
    /// Who acted: `command-line`, `page`, or another trigger.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub by: &'a str,
    /// One sentence for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: &'a str,
    /// The duration of a session, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Octets from the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Octets to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

#[derive(Serialize)]
struct Lost {
    time: String,
    event: &'static str,
    lines: u64,
    message: &'static str,
}

/// The audit log. Its copies share one writer.
#[derive(Clone, Debug)]
pub struct Audit {
    queue: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
    clock: Clock,
}

/// Why the audit log cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log to {place}: {}. Gatepost admin: correct `log.audit`", Plain(.source))]
pub struct AuditError {
    place: String,
    source: io::Error,
}

impl Audit {
    /// Opens the log and starts its thread, which ends when the last copy is dropped and everything
    /// is written.
    ///
    /// # Errors
    /// [`AuditError`]: the file cannot be written, or the journal is absent.
    pub fn start(to: &AuditLog, clock: Clock) -> Result<Self, AuditError> {
        let begun = Writer::open(to).and_then(|writer| {
            let (queue, lines) = sync_channel(QUEUE);
            let lost = Arc::new(AtomicU64::new(0));
            let counted = (Arc::clone(&lost), clock.clone());
            thread::Builder::new()
                .name("gatepost-audit".to_owned())
                .spawn(move || write(&lines, writer, &counted.0, &counted.1))?;
            Ok(Self { queue, lost, clock })
        });
        begun.map_err(|source| AuditError { place: place(to), source })
    }

    /// Queues an entry for writing. Never waits.
    pub fn record(&self, entry: &Entry<'_>) {
        let line = Line { time: self.clock.unix_time().rfc3339(), entry };
        // Texts and numbers always have a JSON form.
        let Ok(mut line) = serde_json::to_vec(&line) else { return };
        line.push(b'\n');
        if self.queue.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes one entry and waits for it. For commands, which end right afterwards.
///
/// # Errors
/// [`AuditError`].
pub fn record_once(to: &AuditLog, entry: &Entry<'_>) -> Result<(), AuditError> {
    let line = Line { time: Clock::system().unix_time().rfc3339(), entry };
    let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut line| {
        line.push(b'\n');
        Writer::open(to)?.write(&line)
    });
    written.map_err(|source| AuditError { place: place(to), source })
}

fn place(to: &AuditLog) -> String {
    match to {
        AuditLog::File(path) => format!("`{}`", path.display()),
        AuditLog::Journal => "the journal".to_owned(),
    }
}

/// Writes lines until all senders are gone. A failing disk is logged once, and once more when it
/// works again.
fn write(lines: &Receiver<Vec<u8>>, mut writer: Writer, lost: &AtomicU64, clock: &Clock) {
    let mut failing = false;
    while let Ok(line) = lines.recv() {
        let mut written = writer.write(&line);
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 && written.is_ok() {
            let note = Lost {
                time: clock.unix_time().rfc3339(),
                event: LOST,
                lines: missing,
                message: "so many lines could not be written",
            };
            if let Ok(mut note) = serde_json::to_vec(&note) {
                note.push(b'\n');
                written = writer.write(&note);
            }
        }
        match written {
            Ok(()) if std::mem::take(&mut failing) => tracing::info!("the audit log is written again"),
            Ok(()) => {}
            Err(error) => {
                lost.fetch_add(missing.saturating_add(1), Ordering::Relaxed);
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(
                        "the audit log cannot be written, lines are being lost: {}. Gatepost admin: check the disk or the \
                         journal that `log.audit` names",
                        Plain(&error)
                    );
                }
            }
        }
    }
}

enum Writer {
    File { path: PathBuf, file: File },
    Journal(Journal),
}

impl Writer {
    fn open(to: &AuditLog) -> io::Result<Self> {
        Ok(match to {
            AuditLog::File(path) => Self::File { file: open(path)?, path: path.clone() },
            AuditLog::Journal => Self::Journal(Journal::open(Path::new(SOCKET)).map_err(io::Error::other)?),
        })
    }

    /// Writes one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File { path, file } => {
                if moved(path, file) {
                    *file = open(path)?;
                }
                file.write_all(line)
            }
            Self::Journal(journal) => journal.send(&journal_entry(line)?),
        }
    }
}

/// Returns a line as an entry of the journal: the object is the message, and its values are fields
/// as well, in the form in which the log has them.
fn journal_entry(line: &[u8]) -> io::Result<journald::Entry> {
    let object: Map<String, Value> = serde_json::from_slice(line)?;
    let is = |name: &str, word: &str| object.get(name).is_some_and(|value| value == word);
    let priority = if is("event", LOST) {
        journald::WARNING
    } else if is("event", "admin") || is("outcome", "refused") {
        journald::NOTICE
    } else {
        journald::INFO
    };
    let mut entry = journald::Entry::new(IDENTIFIER, priority);
    for (name, value) in &object {
        match value {
            // The journal has a time of its own, and the message is for people.
            _ if ["time", "message"].contains(&name.as_str()) => {}
            Value::String(text) => entry.field(name, &harmless(text)),
            other => entry.field(name, &other.to_string()),
        }
    }
    Ok(entry.message(str::from_utf8(line).map_err(io::Error::other)?.trim_end()))
}

/// Opens the file for appending. A new file is private to its owner, because it shows who uses
/// which mailbox.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Whether `path` is no longer the file that is open.
#[cfg(unix)]
fn moved(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(open)) => (there.dev(), there.ino()) != (open.dev(), open.ino()),
        (Err(_), _) => true,
        _ => false,
    }
}

#[cfg(not(unix))]
fn moved(path: &Path, _: &File) -> bool {
    !path.exists()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    #[cfg(unix)]
    use crate::journald::fake::Fake;

    fn lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(Instant::now() < deadline, "{} of {count} lines", lines.len());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn entry(account: &str) -> Entry<'_> {
        Entry { event: "login", outcome: "refused", cause: Some(Cause::WrongPassword), account, ..Entry::default() }
    }

    #[test]
    fn a_line_is_one_object_whatever_the_names_hold_and_absent_values_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = Audit::start(&AuditLog::File(path.clone()), Clock::manual()).unwrap();
        audit.record(&entry("a\"\n{\u{1b}[31m@contoso.example"));
        let lines = lines(&path, 1);
        assert_eq!(lines[0]["account"], "a\"\n{\u{1b}[31m@contoso.example");
        assert_eq!((&lines[0]["event"], &lines[0]["cause"]), (&"login".into(), &"wrong-password".into()));
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert!(lines[0].get("peer").is_none() && lines[0].get("bytes_sent").is_none());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("audit.jsonl"), directory.path().join("audit.jsonl.1"));
        let audit = Audit::start(&AuditLog::File(path.clone()), Clock::manual()).unwrap();
        audit.record(&entry("first"));
        lines(&path, 1);
        std::fs::rename(&path, &old).unwrap();
        audit.record(&entry("second"));
        assert_eq!(lines(&path, 1)[0]["account"], "second");
        assert_eq!(lines(&old, 1)[0]["account"], "first");
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted_in_the_log_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = Audit::start(&AuditLog::File(path.clone()), Clock::manual()).unwrap();
        audit.lost.store(3, Ordering::Relaxed);
        audit.record(&entry("after"));
        let lines = lines(&path, 2);
        assert_eq!(
            (&lines[0]["account"], &lines[1]["event"], &lines[1]["lines"]),
            (&"after".into(), &"lost".into(), &3.into())
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_entry_of_the_journal_is_the_object_with_its_values_as_fields() {
        let fake = Fake::new();
        let mut writer = Writer::Journal(Journal::open(&fake.path).unwrap());
        let mut written = |entry: &Entry<'_>| {
            let line = serde_json::to_vec(&Line { time: "2026-01-01T00:00:00Z".to_owned(), entry }).unwrap();
            writer.write(&[&line[..], b"\n"].concat()).unwrap();
            fake.lines()
        };
        let ended = Entry { event: "session", outcome: "ended", duration_ms: Some(12), ..Entry::default() };
        let lines = written(&ended);
        assert!(lines.contains(&"PRIORITY=6".to_owned()) && lines.contains(&"GATEPOST_DURATION_MS=12".to_owned()));
        let made = Entry { event: "admin", outcome: "password-made", ..Entry::default() };
        assert!(written(&made).contains(&"PRIORITY=5".to_owned()));

        let lines = written(&Entry { message: "no\nsuch", ..entry("a\n_UID=0") });
        let (message, fields) = lines.split_last().unwrap();
        assert_eq!(
            fields,
            [
                "SYSLOG_IDENTIFIER=gatepost-audit",
                "PRIORITY=5",
                r"GATEPOST_ACCOUNT=a\n_UID=0",
                "GATEPOST_CAUSE=wrong-password",
                "GATEPOST_EVENT=login",
                "GATEPOST_OUTCOME=refused",
            ]
        );
        let object: Value = serde_json::from_str(message.strip_prefix("MESSAGE=").unwrap()).unwrap();
        assert_eq!((&object["account"], &object["message"]), (&"a\n_UID=0".into(), &"no\nsuch".into()));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Audit::start(&AuditLog::File("/nowhere/audit.jsonl".into()), Clock::manual()).unwrap_err();
        assert!(error.to_string().contains("`/nowhere/audit.jsonl`") && error.to_string().contains("`log.audit`"));
    }
}
