//! What commands write. All of it goes through [`write()`].

use std::fmt::Display;
use std::io::{self, Write};

use tracing::Level;

use super::exit::{CONFIGURATION, DONE, FAILED};
use gatepost_config::problem::Problems;
use gatepost_telemetry::stderr;

/// Writes a text at once. A reader that has gone, as in `gatepost check | head -4`, is no failure:
/// the rest is for nobody, and the command goes on.
///
/// # Errors
/// As the system reports them, such as a full disk.
pub(super) fn write(mut to: impl Write, text: impl Display) -> io::Result<()> {
    match write!(to, "{text}").and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Shows a person a line on standard output.
pub(super) fn show(line: impl Display) {
    // If it cannot be shown, the person sees that.
    let _unseen = write(io::stdout().lock(), format_args!("{line}\n"));
}

/// Writes a line to standard error, which in the journal is an error.
pub(super) fn complain(line: impl Display) {
    stderr::write(Level::ERROR, &format!("{line}\n"));
}

/// Writes the result of a command to standard output, and returns the exit code.
pub(super) fn result(text: impl Display) -> u8 {
    match write(io::stdout().lock(), text) {
        Ok(()) => DONE,
        Err(error) => failed(format_args!("standard output cannot be written: {error}")),
    }
}

/// Says why a command failed, and returns the exit code.
pub(super) fn failed(why: impl Display) -> u8 {
    complain(format_args!("gatepost: {why}"));
    FAILED
}

/// Writes the mistakes of a configuration to standard error, and returns the exit code.
pub fn report(problems: &Problems) -> u8 {
    complain(problems);
    CONFIGURATION
}
