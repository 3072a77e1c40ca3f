//! Reads raw values as typed ones, and collects mistakes instead of stopping at the first.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Value, ValueKind};

use super::environment::{self, Environment};
use super::finding::{Finding, Severity};
use super::hidden_key;
use super::problem::{Place, Problem};
use super::purpose::{Purpose, Secret};
use super::raw::{self, Layer, Span, Table};
use super::reference::{Key, Kind, ROOT};
use super::render;
use super::value::{self, ValueError, either, nearest, quoted};
use gatepost_core::system_error::Plain;

static WHOLE: Kind = Kind::Block(ROOT);

/// The kind of a value about which the reference says nothing, because it is wrong.
static UNKNOWN: Kind = Kind::Either(&[]);

/// The variable with the service's directory of credentials (systemd.exec(5), "Credentials").
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The configuration as it was written, merged.
pub(super) struct Document {
    /// Name of the file and its text, when there is one.
    pub(super) file: Option<(String, String)>,
    /// Directory that relative paths start from.
    pub(super) directory: PathBuf,
    /// All layers, merged.
    pub(super) merged: Layer,
}

/// The state that all readers share: the document, the system, and the mistakes so far.
pub(super) struct Context<'a> {
    pub(super) document: &'a Document,
    pub(super) outside: &'a dyn Environment,
    purpose: Purpose,
    problems: RefCell<Vec<Problem>>,
    notes: RefCell<Vec<String>>,
    findings: RefCell<Vec<Finding>>,
    /// Keys of secrets that only the running service has.
    elsewhere: RefCell<Vec<String>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(document: &'a Document, outside: &'a dyn Environment, purpose: Purpose) -> Self {
        Self {
            document,
            outside,
            purpose,
            problems: RefCell::default(),
            notes: RefCell::default(),
            findings: RefCell::default(),
            elsewhere: RefCell::default(),
        }
    }

    /// Whether the configuration is read for this purpose, or for one that needs more.
    pub(super) fn is_for(&self, purpose: Purpose) -> bool {
        self.purpose >= purpose
    }

    /// Whether the unit `gatepost.service` reads this configuration.
    pub(super) fn is_of_unit(&self) -> bool {
        self.document.file.as_ref().is_some_and(|(name, _)| self.outside.is_of_unit(name.as_ref()))
    }

    /// The path of a systemd credential. `None`: the service has none. Commands outside of the
    /// service's environment use the directory of its unit, which may be absent or closed to them.
    pub(super) fn credential(&self, name: &str) -> Option<PathBuf> {
        let of_unit = || (self.purpose < Purpose::Service).then(|| self.outside.credentials_of_unit());
        self.given_credentials().or_else(of_unit).map(|directory| directory.join(name))
    }

    fn given_credentials(&self) -> Option<PathBuf> {
        self.outside.variable(CREDENTIALS).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Whether the file is a credential of the service, and this process is a command beside it.
    pub(super) fn is_elsewhere(&self, path: &Path) -> bool {
        self.purpose < Purpose::Service
            && self.given_credentials().is_none()
            && path.starts_with(environment::CREDENTIALS)
    }

    /// The outermost section.
    pub(super) fn root(&'a self) -> Section<'a> {
        Section::new(self, String::new(), Some(&self.document.merged.values), &WHOLE)
    }

    pub(super) fn problem(&self, place: Place, key: &str, reason: impl Into<String>, hint: impl Into<String>) {
        let problem = self.as_problem(place, key, reason, hint);
        self.problems.borrow_mut().push(problem);
    }

    fn as_problem(&self, place: Place, key: &str, reason: impl Into<String>, hint: impl Into<String>) -> Problem {
        let file = self.document.file.as_ref();
        Problem {
            excerpt: file.and_then(|(_, text)| render::excerpt(text, &place, &self.document.merged.masked)),
            file: file.map(|(name, _)| name.clone()),
            place,
            key: hidden_key::shown(key).into_owned(),
            reason: reason.into(),
            hint: hint.into(),
        }
    }

    /// Adds a note about something that works but should be known.
    pub(super) fn note(&self, note: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Adds something that the service accepts, and that will not work or may not.
    fn find(&self, severity: Severity, problem: Problem) {
        let (finding, mut findings) = (Finding { severity, problem }, self.findings.borrow_mut());
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// Reads something that a sign-in on the command line can go without: then `None` if it cannot be
    /// read, and nothing is reported.
    pub(super) fn unless_sign_in<T>(&self, read: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
        let before = self.problems.borrow().len();
        let value = read();
        if value.is_none() && self.purpose == Purpose::SignIn {
            self.problems.borrow_mut().truncate(before);
            return None;
        }
        Some(value)
    }

    /// Whether a check reads the configuration.
    pub(super) fn is_check(&self) -> bool {
        self.purpose == Purpose::Check
    }

    /// Returns the mistakes, the notes and the findings.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<String>, Vec<Finding>) {
        let elsewhere = self.elsewhere.into_inner();
        let mut notes = self.notes.into_inner();
        if !elsewhere.is_empty() {
            notes.push(format!(
                "not checked here, because only the running service has them: `{}`. To check them, run this command while the \
                 service runs, as its user or as root",
                elsewhere.join("`, `")
            ));
        }
        let mut findings = self.findings.into_inner();
        findings.sort_by(|a, b| a.problem.place.cmp(&b.problem.place).then_with(|| a.problem.key.cmp(&b.problem.key)));
        (self.problems.into_inner(), notes, findings)
    }

    fn spot(&self, path: &str) -> Option<&Span> {
        self.document.merged.spots.get(path)
    }

    /// A path of the configuration. Relative ones start at the directory of its file.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.document.directory.join(Path::new(text))
    }
}

/// A table that is being read. It has only keys of the [reference](super::reference), and remembers
/// which of them were read, so that unknown ones can be reported at the end.
#[derive(Clone)]
pub(super) struct Section<'a> {
    context: &'a Context<'a>,
    path: String,
    table: Option<&'a Table>,
    kind: &'static Kind,
    /// Whether the value is not a table, which has been reported. Then missing keys are not
    /// reported.
    unreadable: bool,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    fn new(context: &'a Context<'a>, path: String, table: Option<&'a Table>, kind: &'static Kind) -> Self {
        Self { context, path, table, kind, unreadable: false, known: RefCell::default() }
    }

    /// The value under a key; `None` when it is absent or empty, or when the reference has no such
    /// key.
    pub(super) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        let kind = &self.key(key)?.kind;
        self.known.borrow_mut().push(key);
        let value = self.table?.get(key)?;
        (value.kind != ValueKind::Nil).then(|| self.node(key, value, kind))
    }

    fn key(&self, key: &'static str) -> Option<&'static Key> {
        let found = self.kind.block().and_then(|block| block.key(key));
        debug_assert!(found.is_some(), "the reference has no key `{key}` at `{}`", self.path);
        found
    }

    /// True when the key is written, even without a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The section under a key; an empty one when it is absent.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        match self.get(key) {
            Some(node) => node.section(),
            None => {
                let kind = self.key(key).map_or(&UNKNOWN, |key| &key.kind);
                Section::new(self.context, raw::join(&self.path, key), None, kind)
            }
        }
    }

    /// Every entry, whatever its key, in the order of the file.
    pub(super) fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        let kind = if let Kind::Map(item) = self.kind { item } else { &UNKNOWN };
        let entries = self.table.into_iter().flatten();
        entries.map(|(key, value)| (key.as_str(), self.node(key, value, kind))).collect()
    }

    fn node(&self, key: &str, value: &'a Value, kind: &'static Kind) -> Node<'a> {
        Node { context: self.context, path: raw::join(&self.path, key), value, kind }
    }

    /// Reports that a key is missing, at the section that should hold it.
    pub(super) fn missing(&self, key: &str, why: &str, hint: impl Into<String>) {
        if self.unreadable {
            return;
        }
        self.context.problem(self.place(), &raw::join(&self.path, key), format!("`{key}` is missing{why}"), hint);
    }

    /// True when the section holds no key, and nothing else either.
    pub(super) fn is_empty(&self) -> bool {
        !self.unreadable && self.table.is_none_or(Table::is_empty)
    }

    /// Reports something about the section itself.
    pub(super) fn problem(&self, reason: impl Into<String>, hint: impl Into<String>) {
        self.context.problem(self.place(), &self.path, reason, hint);
    }

    /// Reports something about the section itself that the service accepts.
    pub(super) fn find(&self, severity: Severity, reason: impl Into<String>, hint: impl Into<String>) {
        self.context.find(severity, self.as_problem(reason, hint));
    }

    /// A problem of the section itself, not reported yet.
    pub(super) fn as_problem(&self, reason: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.context.as_problem(self.place(), &self.path, reason, hint)
    }

    pub(super) fn place(&self) -> Place {
        self.place_of_key(&self.path)
    }

    fn place_of_key(&self, path: &str) -> Place {
        self.context.spot(path).map_or(Place::Nowhere, |spot| spot.key.clone())
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn context(&self) -> &'a Context<'a> {
        self.context
    }

    /// The keys that were read.
    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<&'static str> {
        self.known.borrow().clone()
    }

    /// Reports every key that was not read.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            if known.contains(&key.as_str()) {
                continue;
            }
            let hint = match former_name(key).filter(|name| known.contains(name)).or_else(|| nearest(key, &known)) {
                Some(name) => format!("did you mean `{name}`?"),
                None => {
                    let mut names = known.clone();
                    names.sort_unstable();
                    names.dedup();
                    match names.len() {
                        0..=16 => format!("the keys here are {}", names.join(", ")),
                        _ => "`proxy.example.yaml` shows every key".to_owned(),
                    }
                }
            };
            let path = raw::join(&self.path, key);
            let (reason, hint) = match hidden_key::is_hidden(&path) {
                true => (
                    "a key here is not a known one".to_owned(),
                    format!(
                        "if a value is meant, put it in quotes: YAML reads `{{x}}` and `x:` as keys. Otherwise, {hint}"
                    ),
                ),
                false => (format!("{} is not a known key", quoted(key)), hint),
            };
            self.context.problem(self.place_of_key(&path), &path, reason, hint);
        }
    }
}

/// The names of Gatepost's keys in other products.
fn former_name(key: &str) -> Option<&'static str> {
    Some(match key.to_lowercase().replace('_', "-").as_str() {
        "tenant-authority" => "authority",
        "directory-id" | "tenant-id" => "tenant",
        "application-id" | "app-id" => "client_id",
        "token-expiry-margin-time" => "token_expiry_margin",
        "secret" | "client-secret-value" => "client_secret",
        "listen" | "port" | "address" | "host" => "bind",
        "cert" | "certificate-path" | "local-certificate-path" => "certificate",
        "key" | "local-key-path" => "private_key",
        "ssl" | "security" => "tls",
        "server" | "remote" | "server-address" => "upstream",
        "user" | "email" => "login",
        "proxy" | "http-proxy" | "https-proxy" => "forward_proxy",
        _ => return None,
    })
}

/// A value that is being read.
#[derive(Clone)]
pub(super) struct Node<'a> {
    context: &'a Context<'a>,
    path: String,
    value: &'a Value,
    kind: &'static Kind,
}

impl<'a> Node<'a> {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn context(&self) -> &'a Context<'a> {
        self.context
    }

    pub(super) fn place(&self) -> Place {
        self.context.spot(&self.path).map_or_else(|| self.nearest_place(), |spot| spot.value.clone())
    }

    /// The place of the enclosing value, for a value without a place of its own, as in a list from
    /// the environment.
    fn nearest_place(&self) -> Place {
        let mut path = self.path.as_str();
        while let Some(at) = path.rfind(['.', '[']) {
            path = path.get(..at).unwrap_or_default();
            if let Some(spot) = self.context.spot(path) {
                return spot.value.clone();
            }
        }
        Place::Nowhere
    }

    pub(super) fn problem(&self, reason: impl Into<String>, hint: impl Into<String>) {
        self.context.problem(self.place(), &self.path, reason, hint);
    }

    /// Reports something that the service accepts, and that will not work or may not.
    pub(super) fn find(&self, severity: Severity, reason: impl Into<String>, hint: impl Into<String>) {
        self.context.find(severity, self.context.as_problem(self.place(), &self.path, reason, hint));
    }

    /// Reports a file that [`Environment::read`] could not read. `hint` is for every reason except that the file is too long.
    pub(super) fn unreadable(&self, path: &Path, error: &io::Error, hint: &str) {
        let hint = match error.kind() {
            io::ErrorKind::FileTooLarge => "name the right file, or shorten this one",
            io::ErrorKind::PermissionDenied => {
                &format!("make it readable for user {}", self.context.outside.user(self.context.outside.own_user()))
            }
            _ => hint,
        };
        self.problem(format!("`{}` cannot be read: {}", path.display(), Plain(error)), hint);
    }

    /// The content of a file that `needed_for` and everything beyond it needs. A check notes a
    /// credential that only the running service can read.
    pub(super) fn content(&self, path: &Path, needed_for: Purpose, hint: &str) -> Option<Secret<Vec<u8>>> {
        let context = self.context;
        if !context.is_for(needed_for) {
            return Some(Secret::NotRead);
        }
        let error = match context.outside.read(path) {
            Ok(content) => return Some(Secret::Read(content)),
            Err(error) => error,
        };
        if !context.is_elsewhere(path) {
            self.unreadable(path, &error, hint);
        } else if context.purpose == Purpose::Check {
            self.note_elsewhere();
            return Some(Secret::NotRead);
        } else {
            let hint = "only the running service has it: run this command while the service runs, as its user";
            self.unreadable(path, &error, hint);
        }
        None
    }

    /// Notes that only the running service has the secret here.
    fn note_elsewhere(&self) {
        let key = [".credential", ".file"].iter().find_map(|source| self.path.strip_suffix(source));
        let key = key.unwrap_or(&self.path).to_owned();
        let mut elsewhere = self.context.elsewhere.borrow_mut();
        if !elsewhere.contains(&key) {
            elsewhere.push(key);
        }
    }

    pub(super) fn wrong(&self, wrong: ValueError) {
        self.problem(wrong.reason, wrong.hint);
    }

    /// The text, when the value is text.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        if let ValueKind::String(text) = &self.value.kind { Some(text) } else { None }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value.kind, ValueKind::Table(_))
    }

    /// The text; anything else is reported.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.value.kind {
            ValueKind::String(text) if text.is_empty() => {
                self.problem("the value is empty", "write a value, or remove the key");
                None
            }
            ValueKind::String(text) => Some(text),
            kind => {
                self.problem(
                    format!("one value is expected here, not {}", kind_name(kind)),
                    "write one value behind the key",
                );
                None
            }
        }
    }

    /// Reads the text; a refusal is reported.
    pub(super) fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, ValueError>) -> Option<T> {
        read(self.text()?).map_err(|wrong| self.wrong(wrong)).ok()
    }

    /// A whole number within the bounds that the reference has.
    pub(super) fn count(&self) -> Option<u64> {
        let (least, most) = self.kind.number().unwrap_or_default();
        let or = self.kind.words().map_or_else(String::new, |words| format!(", or {}", either(words)));
        self.read(|text| {
            value::count(text, &(least..=most)).map_err(|wrong| ValueError { hint: wrong.hint + &or, ..wrong })
        })
    }

    /// A size in bytes within the bounds that the reference has.
    pub(super) fn size(&self) -> Option<u64> {
        let (least, most) = self.kind.number().unwrap_or_default();
        self.read(|text| value::size(text, &(least..=most)))
    }

    /// A time within the bounds that the reference has.
    pub(super) fn time(&self) -> Option<Duration> {
        let (least, most) = self.kind.time().unwrap_or_default();
        self.read(|text| value::duration(text, &(least..=most)))
    }

    /// The items of a list. A single value counts as a list of one.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        let kind = self.kind.item().unwrap_or(&UNKNOWN);
        match &self.value.kind {
            ValueKind::Array(items) => {
                let item = |(index, value)| Node {
                    context: self.context,
                    path: format!("{}[{index}]", self.path),
                    value,
                    kind,
                };
                items.iter().enumerate().map(item).collect()
            }
            _ => vec![Node { kind, ..self.clone() }],
        }
    }

    /// The items of a list; anything else is reported.
    pub(super) fn list(&self) -> Option<Vec<Node<'a>>> {
        if let ValueKind::Array(_) = self.value.kind {
            return Some(self.items());
        }
        let kind = kind_name(&self.value.kind);
        self.problem(format!("a list is expected here, not {kind}"), "write each entry on its own line behind `- `");
        None
    }

    /// True for a list without items.
    pub(super) fn list_is_empty(&self) -> bool {
        matches!(&self.value.kind, ValueKind::Array(items) if items.is_empty())
    }

    /// Reads each item and reports every refusal. One refusal makes the whole list unreadable.
    pub(super) fn read_each<T>(&self, read: impl Fn(&str) -> Result<T, ValueError>) -> Option<Vec<T>> {
        let read: Vec<Option<T>> = self.items().iter().map(|item| item.read(&read)).collect();
        read.into_iter().collect()
    }

    /// The table; anything else is reported and read as an empty one.
    pub(super) fn section(&self) -> Section<'a> {
        let mut section = Section::new(self.context, self.path.clone(), None, self.kind);
        match &self.value.kind {
            ValueKind::Table(table) => section.table = Some(table),
            ValueKind::Nil => {}
            kind => {
                section.unreadable = true;
                self.problem(
                    format!("keys with values are expected here, not {}", kind_name(kind)),
                    "write the keys below, each on its own line and further to the right",
                );
            }
        }
        section
    }
}

fn kind_name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Table(_) => "keys with values",
        ValueKind::Array(_) => "a list",
        _ => "one value",
    }
}
