//! The configuration file, as an administrator writes it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use gatepost_config::environment::Environment;
use gatepost_config::load::load_text_for;
use gatepost_config::problem::{Place, Problem, Problems};
use gatepost_config::{Config, Purpose};

/// A secret. Nothing that is said about a configuration may hold it.
const SECRET: &str = "hunter2hunter";

/// Beginnings of a configuration behind which a secret is written.
const BEFORE: [&str; 12] = [
    "",
    "microsoft:\n  client_secret: ",
    "microsoft: {client_secret: ",
    "microsoft:\n  client_secert: \"",
    "microsoft:\n  client_secret: |\n    ",
    "microsoft:\n  client_secret:\n    - {file: s}\n    - '",
    "forward_proxy:\n  url: http://proxy.example:3128\n  username: u\n  password: ",
    "forward_proxy: {url: http://u:",
    "accounts:\n  - login: a@contoso.com\n    client_secret: [",
    "listeners: {smtp: {bind: 127.0.0.1:1587}}\nadmin:\n  token: ",
    "microsoft:\n  client_secret: {expires: 2027-01-31, value: ",
    "\u{feff}microsoft:\r\n  client_secret: >-\r\n    ",
];

/// Characters that begin no plain text in YAML, and others that may begin a secret.
const FIRST: [&str; 16] = ["", "&", "*", "!", "%", "@", "`", "#", "|", ">", "-", "?", "'", "\"", "<", "x #"];

/// The first two octets choose what is before the text: nothing, or a secret and what precedes it.
pub fn check(data: &[u8]) {
    let Some((&[choice, more], rest)) = data.split_first_chunk() else { return };
    let rest = String::from_utf8_lossy(rest);
    let before = BEFORE[usize::from(choice.wrapping_sub(b'0')) % BEFORE.len()];
    let first = FIRST[usize::from(more.wrapping_sub(b'0')) % FIRST.len()];
    let text = match before {
        "" => rest.clone().into_owned(),
        _ => format!("{before}{first}{SECRET}{rest}"),
    };
    // Who writes the secret elsewhere, or a part of it, shows it.
    let hides = !rest.contains("hunter");
    let mut accepted = Vec::new();
    for purpose in [Purpose::Service, Purpose::Check, Purpose::Store] {
        let read = read(purpose, &text);
        match &read {
            Ok(config) => accept(config, &text, hides),
            Err(problems) => refuse(problems, &text, hides),
        }
        accepted.push(read.is_ok());
    }
    assert!(!accepted[0] || accepted[2], "the service needs more than a command that opens the store");
}

fn read(purpose: Purpose, text: &str) -> Result<Config, Problems> {
    load_text_for(purpose, Some((Path::new("proxy.yaml"), text)), &[], &BTreeMap::new(), &Outside)
}

fn accept(config: &Config, text: &str, hides: bool) {
    for finding in &config.findings {
        tell(&finding.problem, text, hides);
    }
    for note in &config.notes {
        assert!(!hides || !note.contains(SECRET), "a note has the secret");
        assert!(!note.chars().any(char::is_control), "{note:?} is no line");
    }
    assert!(!hides || !format!("{config:?}").contains(SECRET), "the configuration shows its secret");
}

fn refuse(problems: &Problems, text: &str, hides: bool) {
    assert!(problems.iter().next().is_some(), "refused for no reason");
    assert!(problems.iter().is_sorted_by_key(|problem| &problem.place), "not in the order of the file");
    for problem in problems {
        tell(problem, text, hides);
    }
    let again = read(Purpose::Service, text);
    assert!(again.is_err() || !problems.to_string().is_empty());
}

/// What is said about a place has one line and no secret, and the place is in the text.
fn tell(problem: &Problem, text: &str, hides: bool) {
    let line = problem.to_line();
    assert!(!line.chars().any(char::is_control), "{line:?} is no line");
    assert!(!problem.reason.is_empty() && !problem.hint.is_empty());
    let shown = problem.to_string();
    assert!(!hides || !shown.contains(SECRET), "a mistake shows the secret:\n{shown}");
    let Place::File { line, column, start, end } = problem.place else {
        return assert_eq!(problem.place, Place::Nowhere, "no other layer was given");
    };
    assert!(line >= 1 && column >= 1);
    assert!(start <= end && text.get(start..end).is_some(), "the place {start}..{end} is not in the text");
    let excerpt = problem.excerpt.as_deref().unwrap_or("\n");
    assert!(excerpt.ends_with('\n') && excerpt.lines().count() <= 3);
    assert!(!excerpt.chars().any(|c| c.is_control() && c != '\n'), "{excerpt:?} has control characters");
}

/// A system with a secret in each place, and nothing else.
struct Outside;

impl Environment for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "SECRET").then(|| SECRET.to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("s") => Ok(SECRET.into()),
            Some("c") => Ok(include_bytes!("../../tests/pkcs12/certificate.pem").to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn world_readable(&self, path: &Path) -> bool {
        path.as_os_str() == "s"
    }

    fn run(&self, command: &[String], _hidden: &[String]) -> Result<Vec<u8>, String> {
        match command.first().map(String::as_str) {
            Some("print") => Ok(format!("{SECRET}\n").into_bytes()),
            _ => Err("it failed (exit status: 1)".to_owned()),
        }
    }
}
