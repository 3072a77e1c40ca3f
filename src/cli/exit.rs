//! The exit codes of the commands.

/// The command succeeded.
pub const DONE: u8 = 0;
/// It failed; standard error says why.
pub const FAILED: u8 = 1;
/// The command line is wrong; clap exits with it by itself.
pub const USAGE: u8 = 2;
/// The configuration is wrong; standard error names every mistake.
pub const CONFIGURATION: u8 = 3;
