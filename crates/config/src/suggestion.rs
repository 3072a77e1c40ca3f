//! Commands that messages suggest, completed so that they work where the reader stands.
//!
//! Messages are written where their facts are known, as `gatepost login alice@contoso.com`. What
//! shows them passes each text through [`complete()`], which adds `-c FILE` if the configuration was
//! named on the command line.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

/// The commands that read a configuration.
const COMMANDS: [&str; 10] =
    ["run", "reload", "check", "doctor", "login", "logout", "status", "password", "account", "queue"];

/// `state` is also a word of sentences, and has one command only.
const ROTATE: &str = "state rotate-key";

/// This has no configuration.
const HASH: &str = "password hash";

/// The name of the program.
const PROGRAM: &str = "gatepost ";

/// How this process was called.
#[derive(Debug, Default)]
struct Called {
    /// `-c` and the file, if one was named.
    flag: Option<String>,
    /// The arguments, for [`SAME`].
    arguments: Option<String>,
    is_service: bool,
}

static CALLED: OnceLock<Called> = OnceLock::new();

/// What stands for the command line of this process in messages.
const SAME: &str = "gatepost …";

/// Notes how this process was called: the file of `-c`, the arguments behind the program's name, and
/// whether it is the service. Only the first call counts.
pub fn called(file: Option<&Path>, arguments: Vec<String>, is_service: bool) {
    // Relative paths would lead elsewhere from another directory.
    let file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    let flag = file.map(|file| format!("-c {}", quoted(&file.display().to_string())));
    let arguments: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
    let arguments = (!arguments.is_empty()).then(|| arguments.join(" "));
    // A second call would be of a test.
    let _second = CALLED.set(Called { flag, arguments, is_service });
}

/// Whether this process is the service, and not a command beside it.
pub fn is_service() -> bool {
    CALLED.get().is_some_and(|called| called.is_service)
}

/// Completes the suggested commands in a text: those in backticks, such as `gatepost status`.
pub fn complete(text: &str) -> Cow<'_, str> {
    match CALLED.get() {
        Some(called) => called.complete(text),
        None => Cow::Borrowed(text),
    }
}

/// Completes a single command: all of `text`.
pub fn command(text: &str) -> String {
    let called = CALLED.get().and_then(|called| called.flag.as_deref());
    match called.filter(|_| takes_configuration(text)) {
        Some(flag) => format!("{text} {flag}"),
        None => text.to_owned(),
    }
}

impl Called {
    fn complete<'t>(&self, text: &'t str) -> Cow<'t, str> {
        // Most lines have none.
        if !text.contains(PROGRAM) {
            return Cow::Borrowed(text);
        }
        let mut completed = String::with_capacity(text.len());
        // The odd parts are in backticks.
        for (index, part) in text.split('`').enumerate() {
            if index > 0 {
                completed.push('`');
            }
            match (part.strip_suffix(SAME), &self.arguments, &self.flag) {
                (Some(before), Some(arguments), _) if index % 2 == 1 => {
                    completed.push_str(before);
                    completed.push_str(PROGRAM);
                    completed.push_str(arguments);
                }
                (_, _, Some(flag)) if index % 2 == 1 && takes_configuration(part) => {
                    completed.push_str(part);
                    completed.push(' ');
                    completed.push_str(flag);
                }
                _ => completed.push_str(part),
            }
        }
        Cow::Owned(completed)
    }
}

/// Whether this is a command that reads a configuration, and does not name one yet.
fn takes_configuration(text: &str) -> bool {
    let arguments = match text.strip_prefix(PROGRAM) {
        Some(arguments) => arguments,
        // `sudo -u gatepost gatepost status`
        None => match text.rsplit_once(" gatepost ") {
            Some((before, arguments)) if before.starts_with("sudo ") => arguments,
            _ => return false,
        },
    };
    let mut words = arguments.split(' ');
    let is_command = words.next().is_some_and(|word| COMMANDS.contains(&word)) || arguments.starts_with(ROTATE);
    is_command
        && !arguments.starts_with(HASH)
        && !words.any(|word| matches!(word, "-c" | "--config" | "--socket") || word.starts_with("--config="))
}

/// Returns a word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:=@%+,~".contains(&b) || !b.is_ascii();
    if !word.is_empty() && !word.starts_with('~') && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(flag: Option<&str>) -> Called {
        Called { flag: flag.map(str::to_owned), arguments: Some("password list".to_owned()), is_service: false }
    }

    #[test]
    fn a_suggested_command_names_the_configuration() {
        let called = called(Some("-c /srv/x.yaml"));
        for (text, expected) in [
            ("run `gatepost login a@b`, please", "run `gatepost login a@b -c /srv/x.yaml`, please"),
            (
                "`gatepost status` and `gatepost reload`",
                "`gatepost status -c /srv/x.yaml` and `gatepost reload -c /srv/x.yaml`",
            ),
            ("`sudo -u gatepost gatepost status`", "`sudo -u gatepost gatepost status -c /srv/x.yaml`"),
            ("`sudo -u gatepost gatepost …`", "`sudo -u gatepost gatepost password list`"),
            ("`gatepost state rotate-key`", "`gatepost state rotate-key -c /srv/x.yaml`"),
        ] {
            assert_eq!(called.complete(text), expected);
        }
        for text in [
            "gatepost status",
            "`gatepost cert`",
            "`gatepost password hash`",
            "`gatepost demo`",
            "`gatepost status -c y.yaml`",
            "`gatepost status --socket /run/s`",
            "the user `gatepost` runs `gatepost`",
            "`cat gatepost status`",
            "a ` alone and gatepost login",
        ] {
            assert_eq!(called.complete(text), text);
        }
    }

    #[test]
    fn without_a_named_file_a_command_stays_as_it_is() {
        assert_eq!(called(None).complete("`gatepost login a@b`"), "`gatepost login a@b`");
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_split_it() {
        for (word, expected) in [
            ("/a/b.yaml", "/a/b.yaml"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("~x", "'~x'"),
            ("a;b", "'a;b'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
