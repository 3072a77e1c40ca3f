//! How the process logs, and whether it confines itself.

use std::path::PathBuf;

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
    /// Where login decisions and administrative acts are recorded as well.
    pub audit: Option<AuditLog>,
}

/// Where the audit log goes.
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
}

/// Whether the process gives up what it does not need (files, servers, system calls).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confine {
    /// As far as the system can.
    #[default]
    Try,
    /// All of it, or no start.
    Require,
    /// Not at all.
    Off,
}
