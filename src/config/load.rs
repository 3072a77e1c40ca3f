//! From files, environment and command line to a checked [`Config`].
//!
//! Later layers win: the file, then `GATEPOST__LISTENERS__SMTP__BIND=…`, then `--set listeners.smtp.bind=…`. Tables are
//! merged, lists are replaced. This is the only part of the configuration that touches the system, through
//! [`Surroundings`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::files::Files;
use super::model::Config;
use super::problem::{Place, Problem, Problems};
use super::raw::{self, Layer, TEXT_BYTES, TEXT_LIMIT};
use super::reader::Document;
use super::value::quoted;
use super::{check, render};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "proxy.yaml";

/// What an environment variable of the second layer begins with.
const PREFIX: &str = "GATEPOST__";

/// How long a secret's command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

/// Most octets taken from a secret's file or command.
const SECRET_BYTES: u64 = 64 * 1024;

/// What the check may ask of the system; a fuzzer or a test answers itself.
pub trait Surroundings {
    /// An environment variable, when it is set and UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file's content, at most 1 MiB.
    ///
    /// # Errors
    /// As the system reports them; a larger file is [`io::ErrorKind::FileTooLarge`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// True when everybody on this machine may read the file.
    fn world_readable(&self, path: &Path) -> bool;

    /// True when the directory exists and this process may write into it.
    fn is_writable_directory(&self, _path: &Path) -> bool {
        false
    }

    /// What a command writes to its standard output, at most 64 KiB. It does not see the environment variables `hidden`,
    /// nor those that are part of the configuration.
    ///
    /// # Errors
    /// A sentence: it could not be started, failed, or took over ten seconds.
    fn run(&self, command: &[String], hidden: &[String]) -> Result<Vec<u8>, String>;
}

/// Reads, merges and checks the configuration.
///
/// `path` is the file of `-c`; without it `proxy.yaml` is read, which may be absent when the environment or `overrides`
/// (key path and value of each `--set`) give something. `environment` is the process's, usually
/// [`std::env::vars_os`].
///
/// # Errors
/// Every mistake, with place and hint.
pub fn load(
    path: Option<&Path>,
    overrides: &[(String, String)],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, Problems> {
    load_noting(path, overrides, environment).config
}

/// A configuration, and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// What was read, or every mistake in it.
    pub config: Result<Config, Problems>,
    /// All files that had a part in it, as they were.
    pub files: Files,
}

/// The same, with the files that have to be watched.
pub fn load_noting(
    path: Option<&Path>,
    overrides: &[(String, String)],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Loaded {
    let system = System::new(environment);
    let config = load_from(path, overrides, &system);
    Loaded { config, files: system.files.into_inner() }
}

fn load_from(path: Option<&Path>, overrides: &[(String, String)], system: &System) -> Result<Config, Problems> {
    let file = match (path, Path::new(DEFAULT_FILE)) {
        (None, default) if !default.exists() && (!overrides.is_empty() || system.is_layer()) => None,
        (None, default) => Some(default),
        (Some(path), _) => Some(path),
    };
    let text = file.map(|path| read_text(path, system).map(|text| (path, text))).transpose()?;
    load_text(text.as_ref().map(|(path, text)| (*path, text.as_str())), overrides, &system.variables, system)
}

/// The same, from text already read; nothing but `outside` is touched. For tests, fuzzing and the embedded demonstration.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    file: Option<(&Path, &str)>,
    overrides: &[(String, String)],
    variables: &BTreeMap<String, String>,
    outside: &dyn Surroundings,
) -> Result<Config, Problems> {
    let mut early = Vec::new();
    let mut layers = Vec::new();
    let name = file.map(|(path, _)| path.display().to_string());
    if let Some((_, text)) = file {
        match Layer::from_yaml(text) {
            Ok(layer) => layers.push(layer),
            Err(error) => {
                return Err(Problem {
                    excerpt: render::excerpt_of_unread(text, &error.place),
                    file: name,
                    place: error.place,
                    key: String::new(),
                    reason: error.message,
                    hint: error.hint.into(),
                }
                .into());
            }
        }
    }
    layers.push(environment_layer(variables, &mut early));
    layers.push(flag_layer(overrides, &mut early));
    let merged =
        raw::merge(&layers).map_err(|error| whole(name.clone(), error.to_string(), "remove the last override"))?;
    let directory = file.and_then(|(path, _)| path.parent()).map(Path::to_path_buf).unwrap_or_default();
    let document = Document { file: name.zip(file.map(|(_, text)| text.to_owned())), directory, merged };
    let recording = Recording::new(outside);
    let mut config = check::check(&document, &recording, early)?;
    (config.files, config.runs_commands) = recording.finish();
    config.files.extend(file.map(|(path, _)| path.to_path_buf()));
    Ok(config)
}

/// Remembers what was asked of the surroundings.
struct Recording<'a> {
    outside: &'a dyn Surroundings,
    files: RefCell<BTreeSet<PathBuf>>,
    commands: Cell<bool>,
}

impl<'a> Recording<'a> {
    fn new(outside: &'a dyn Surroundings) -> Self {
        Self { outside, files: RefCell::default(), commands: Cell::new(false) }
    }

    /// The files that were read, and whether commands were run.
    fn finish(self) -> (Vec<PathBuf>, bool) {
        (self.files.into_inner().into_iter().collect(), self.commands.get())
    }
}

impl Surroundings for Recording<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.outside.variable(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.borrow_mut().insert(path.to_path_buf());
        self.outside.read(path)
    }

    fn world_readable(&self, path: &Path) -> bool {
        self.outside.world_readable(path)
    }

    fn is_writable_directory(&self, path: &Path) -> bool {
        self.outside.is_writable_directory(path)
    }

    fn run(&self, command: &[String], hidden: &[String]) -> Result<Vec<u8>, String> {
        self.commands.set(true);
        self.outside.run(command, hidden)
    }
}

fn path_is_default(path: &Path) -> bool {
    path == Path::new(DEFAULT_FILE)
}

fn whole(file: Option<String>, reason: impl Into<String>, hint: impl Into<String>) -> Problems {
    Problem { file, place: Place::Nowhere, key: String::new(), reason: reason.into(), hint: hint.into(), excerpt: None }
        .into()
}

fn read_text(path: &Path, system: &System) -> Result<String, Problems> {
    let (name, default) = (Some(path.display().to_string()), path_is_default(path));
    let bytes = system.read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let other = if default { ", name another file with `-c`" } else { "" };
            whole(
                name.clone(),
                "there is no such file",
                format!("copy `proxy.example.yaml` to it and fill in your tenant{other}, or see `gatepost demo` first"),
            )
        }
        kind => whole(
            name.clone(),
            format!("the file cannot be read: {error}"),
            match kind {
                io::ErrorKind::FileTooLarge => "shorten it",
                _ => "make it readable for the user that runs Gatepost",
            },
        ),
    })?;
    let text = String::from_utf8(bytes);
    text.map_err(|_| whole(name, "the file is not UTF-8", "save it as UTF-8"))
}

fn environment_layer(variables: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let path = path.to_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        let place = Place::Environment(name.clone());
        if keys.iter().any(|key| key.is_empty()) || keys.len() > 8 {
            problems.push(layer_problem(
                place,
                "the name does not say which key is meant",
                "join the keys of the path by two underscores, as in `GATEPOST__LISTENERS__SMTP__BIND`",
            ));
        } else {
            layer.set(&keys, value, &place);
        }
    }
    layer
}

fn flag_layer(overrides: &[(String, String)], problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for (path, value) in overrides {
        let keys: Vec<&str> = path.split('.').collect();
        let place = Place::Flag(path.chars().filter(|c| !c.is_control()).take(200).collect());
        if keys.iter().any(|key| key.is_empty()) || keys.len() > 8 {
            problems.push(layer_problem(
                place,
                "the path does not say which key is meant",
                "join the keys by a dot, as in `--set listeners.smtp.bind=127.0.0.1:1587`",
            ));
        } else {
            layer.set(&keys, value, &place);
        }
    }
    layer
}

fn layer_problem(place: Place, reason: &str, hint: &str) -> Problem {
    Problem { file: None, place, key: String::new(), reason: reason.into(), hint: hint.into(), excerpt: None }
}

/// The real system.
struct System {
    variables: BTreeMap<String, String>,
    /// What was read through it.
    files: RefCell<Files>,
}

impl System {
    fn new(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let utf8 = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { variables: environment.into_iter().filter_map(utf8).collect(), files: RefCell::default() }
    }

    /// True when some variable belongs to the configuration itself.
    fn is_layer(&self) -> bool {
        self.variables.keys().any(|name| name.starts_with(PREFIX))
    }
}

impl Surroundings for System {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = read_file(path);
        // What a descriptor gave once, it does not give again.
        if !is_stream(path) {
            self.files.borrow_mut().note(path, &content);
        }
        content
    }

    #[cfg(unix)]
    fn world_readable(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
    }

    #[cfg(not(unix))]
    fn world_readable(&self, _path: &Path) -> bool {
        false
    }

    #[cfg(unix)]
    fn is_writable_directory(&self, path: &Path) -> bool {
        use rustix::fs::{Access, access};
        path.is_dir() && access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    }

    fn run(&self, command: &[String], hidden: &[String]) -> Result<Vec<u8>, String> {
        run_command(command, hidden)
    }
}

pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = TEXT_BYTES as u64;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() && !is_stream(path) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {TEXT_LIMIT}")));
    }
    Ok(bytes)
}

/// A descriptor that the caller handed over (`/dev/stdin`, `/dev/fd/63` of a shell's `<(…)`) may be read, too.
fn is_stream(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc/self/fd")
}

/// What a command writes to its standard output, at most 64 KiB, within ten seconds. It does not see the environment
/// variables `hidden`, nor those that are part of the configuration.
///
/// # Errors
/// A sentence.
pub(crate) fn run_command(command: &[String], hidden: &[String]) -> Result<Vec<u8>, String> {
    run_command_within(command, hidden, COMMAND_DEADLINE)
}

fn run_command_within(command: &[String], hidden: &[String], deadline: Duration) -> Result<Vec<u8>, String> {
    let Some((program, arguments)) = command.split_first() else { return Err("no command is named".to_owned()) };
    let started = Instant::now();
    let mut prepared = Command::new(program);
    let is_hidden = |name: &OsString| match name.to_str() {
        Some(name) => name.starts_with(PREFIX) || hidden.iter().any(|hidden| hidden == name),
        None => false,
    };
    for name in std::env::vars_os().map(|(name, _)| name).filter(is_hidden) {
        prepared.env_remove(name);
    }
    let mut child = prepared
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", quoted(program)))?;
    let Some(stdout) = child.stdout.take() else { return Err("its output cannot be read".to_owned()) };

    // The output is read aside, because a command that never closes it must not hold the start up.
    let (send, receive) = mpsc::channel();
    let reader = std::thread::Builder::new().name("secret-command".to_owned()).spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(SECRET_BYTES + 1).read_to_end(&mut output).map(|_| output);
        // Nobody listens any more when the deadline has passed.
        let _ = send.send(read);
    });
    let output = match reader {
        Ok(_) => receive.recv_timeout(deadline),
        Err(error) => return Err(format!("its output cannot be read: {error}")),
    };
    let too_long = matches!(&output, Ok(Ok(output)) if output.len() as u64 > SECRET_BYTES);
    let status = if output.is_err() || too_long { end(&mut child) } else { wait(&mut child, started, deadline) };
    let status = status.map_err(|error| format!("its end cannot be awaited: {error}"))?;
    match (output, status) {
        (Err(_), _) | (_, None) if !too_long => Err(format!("it took longer than {} seconds", deadline.as_secs())),
        (Ok(Err(error)), _) => Err(format!("its output cannot be read: {error}")),
        _ if too_long => Err("it wrote more than 64 KiB".to_owned()),
        (Ok(Ok(output)), Some(status)) if status.success() => Ok(output),
        (_, Some(status)) => Err(format!("it failed ({status})")),
        (_, None) => Err("it was ended".to_owned()),
    }
}

/// Waits for a command that has closed its output; one that lingers is ended. `None` when it was.
fn wait(child: &mut Child, started: Instant, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    while started.elapsed() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    end(child)
}

fn end(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    // It may be gone already; then there is nothing to end.
    let _ = child.kill();
    child.wait().map(|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, deadline: Duration) -> Result<Vec<u8>, String> {
        run_command_within(&["sh".into(), "-c".into(), script.into()], &[], deadline)
    }

    #[test]
    fn a_command_gives_its_output() {
        assert_eq!(sh("echo hunter2", COMMAND_DEADLINE), Ok(b"hunter2\n".to_vec()));
    }

    #[test]
    fn a_command_sees_the_environment_but_for_what_is_hidden_from_it() {
        let seen = |hidden: &[String]| {
            let script = "printf %s ${CARGO_MANIFEST_DIR+seen}".to_owned();
            run_command(&["sh".into(), "-c".into(), script], hidden)
        };
        assert_eq!(seen(&[]), Ok(b"seen".to_vec()));
        assert_eq!(seen(&["CARGO_MANIFEST_DIR".into(), "a=b".into(), String::new()]), Ok(Vec::new()));
    }

    #[test]
    fn a_command_that_fails_lingers_or_floods_gives_a_reason() {
        assert_eq!(sh("exit 3", COMMAND_DEADLINE), Err("it failed (exit status: 3)".to_owned()));
        assert_eq!(sh("exec cat /dev/zero", COMMAND_DEADLINE), Err("it wrote more than 64 KiB".to_owned()));
        assert_eq!(sh("exec tail -f /dev/null", Duration::ZERO), Err("it took longer than 0 seconds".to_owned()));
        assert_eq!(
            sh("exec >/dev/null; exec tail -f /dev/null", Duration::from_millis(200)),
            Err("it took longer than 0 seconds".to_owned())
        );
        let missing = run_command(&["/nonexistent/program".into()], &[]).unwrap_err();
        assert!(missing.starts_with("`/nonexistent/program` cannot be started"), "{missing}");
    }
}
