//! The settings of the log, and whether the process confines itself.

use std::path::PathBuf;

/// The settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines look, and where they go.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
    /// The audit log of login decisions and administrative actions.
    pub audit: Option<AuditLog>,
}

/// The destination of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// Lines appended to a file.
    File(PathBuf),
    /// The journal of systemd.
    Journal,
}

/// Forms of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
    /// Entries of the journal of systemd, each with its fields.
    Journal,
}

/// Whether the process blocks the files, servers and system calls that it does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confine {
    /// As far as the system supports it.
    #[default]
    Try,
    /// Completely, or the service does not start.
    Require,
    /// Not at all.
    Off,
}
