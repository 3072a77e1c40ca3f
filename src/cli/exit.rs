//! The exit codes of the commands.

/// The command succeeded.
pub const DONE: u8 = 0;
/// It failed; standard error says why.
pub const FAILED: u8 = 1;
/// The command line is wrong; clap exits with it by itself.
pub const USAGE: u8 = 2;
/// The configuration is wrong; standard error names every mistake.
pub const CONFIGURATION: u8 = 3;

/// What the codes mean, for help texts: of all commands that have no words of their own.
pub(super) const CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 wrong configuration.";
/// Of commands that read no configuration.
pub(super) const WITHOUT_CONFIGURATION: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line.";
/// Of `run`.
pub(super) const OF_RUN: &str = "Exit codes: 0 stopped, 1 not started, 2 wrong command line, 3 wrong configuration, or less confinement than required.";
/// Of `reload`.
pub(super) const OF_RELOAD: &str = "Exit codes: 0 new configuration in use, 1 failed, 2 wrong command line, 3 wrong configuration, the old one stays in use.";
/// Of `check`.
pub(super) const OF_CHECK: &str = "Exit codes: 0 no problem found, 1 something cannot work, 2 wrong command line, \
                                   3 wrong configuration.";
/// Of `doctor`.
pub(super) const OF_DOCTOR: &str =
    "Exit codes: 0 no problem found, 1 problem found, 2 wrong command line, 3 wrong configuration.";
/// Of `status`.
#[cfg(unix)]
pub(super) const OF_STATUS: &str = "Exit codes: 0 done (with --ready: ready), 1 no service, or not ready, 2 wrong command line, 3 wrong configuration.";
/// Of `sendmail`.
#[cfg(unix)]
pub(super) const OF_SENDMAIL: &str = "Exit codes (sysexits.h): 0 taken, 64 wrong command line, 65 wrong message, 67 no such recipient, 69 refused, \
                                      70 fault of the command, 75 not now, 77 not allowed.";
/// Of `import`.
pub(super) const OF_IMPORT: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 something is missing, so that `gatepost check` refuses the result.";
/// Of `setup`.
pub(super) const OF_SETUP: &str = "Exit codes: 0 done (with --graph-token: and no problem found), 1 failed, 2 an answer is missing or wrong, 3 wrong configuration.";
