//! Standard error. When it is connected to the journal of systemd, each line begins with its
//! priority (sd-daemon(3)), which the journal removes. Without it the journal takes all lines for
//! information.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};

use tracing::Level;

use super::journald::priority;

/// Whether standard error is connected to the journal: `JOURNAL_STREAM` names the device and the
/// inode of its file, so that nothing changes for lines that go elsewhere (systemd.exec(5)).
#[cfg(unix)]
pub fn is_journal() -> bool {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let file = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

/// Whether standard error is connected to the journal, which this system does not have.
#[cfg(not(unix))]
pub fn is_journal() -> bool {
    false
}

/// Returns what a line of `level` begins with in the journal.
pub(super) fn prefix(level: Level) -> String {
    format!("<{}>", priority(level))
}

/// Writes a text of one or more lines. Closed standard error is ignored.
pub fn write(level: Level, text: &str) {
    let prefix = if is_journal() { prefix(level) } else { String::new() };
    // One call, so that lines of others do not come in between.
    let lines: String = text.lines().map(|line| format!("{prefix}{line}\n")).collect();
    let _closed = io::stderr().write_all(lines.as_bytes());
}

/// Makes the report of a panic an error in the journal. Elsewhere it stays as Rust writes it.
pub fn mark_panics() {
    if !is_journal() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let mut text = format!("thread '{}' {panic}", thread.name().unwrap_or("unnamed"));
        // Taken if `RUST_BACKTRACE` asks for it.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("\n{backtrace}"));
        }
        write(Level::ERROR, &text);
    }));
}
