//! What commands write. All of it goes through [`write()`].

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};

use tracing::Level;

use super::exit::{CONFIGURATION, DONE, FAILED};
use gatepost_config::problem::Problems;
use gatepost_config::suggestion;
use gatepost_core::system_error::Plain;
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
    let _unseen = write(io::stdout().lock(), suggestion::complete(&format!("{line}\n")));
}

/// Writes a line to standard error, which in the journal is an error.
pub(super) fn complain(line: impl Display) {
    stderr::write(Level::ERROR, &suggestion::complete(&format!("{line}\n")));
}

/// Writes the result of a command to standard output, and returns the exit code. The commands that
/// it suggests are completed, except in JSON.
pub(super) fn result(text: impl Display) -> u8 {
    let text = text.to_string();
    let is_json = text.starts_with(['{', '[']);
    let shown = if is_json { Cow::Borrowed(text.as_str()) } else { suggestion::complete(&text) };
    match write(io::stdout().lock(), shown) {
        Ok(()) => DONE,
        Err(error) => failed(format_args!("standard output cannot be written: {}", Plain(&error))),
    }
}

/// Returns an error and its causes as one text. A cause that an outer error tells already is left
/// out, and errors of the system are told in plain words.
pub(super) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let words = match cause.downcast_ref::<io::Error>() {
            Some(error) => Plain(error).to_string(),
            None => cause.to_string(),
        };
        if text.is_empty() {
            text = words;
        } else if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_is_told_once_and_in_plain_words() {
        let denied = || io::Error::from_raw_os_error(13);
        let nested = Err::<(), _>(denied()).context("cannot read `x`").unwrap_err();
        assert_eq!(told(&nested), "cannot read `x`: permission denied");
        let doubled = Err::<(), _>(denied()).context("cannot read `x`: permission denied").unwrap_err();
        assert_eq!(told(&doubled), "cannot read `x`: permission denied");
    }
}
