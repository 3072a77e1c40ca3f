//! The access of the configuration to the system: variables, files, and the output of commands.
//! Nothing else of it uses the system, so that a fuzzer or a test can replace it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::directory::{self, DirectoryState};
use super::files::{Files, is_stream, read_file};
use super::sockets::{self, Holder};
use super::value::quoted;
use super::{meeting, user};
use gatepost_core::clock::Clock;
use gatepost_core::system_error::Plain;

/// Prefix of the environment variables that belong to the configuration.
pub(super) const PREFIX: &str = "GATEPOST__";

/// How long a secret's command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

/// Most octets taken from a secret's file or command.
const SECRET_BYTES: u64 = 64 * 1024;

/// The configuration that the unit `gatepost.service` reads.
const OF_UNIT: &str = "/etc/gatepost/proxy.yaml";

/// Where systemd puts the credentials of its units (systemd.exec(5), "Credentials").
pub(super) const CREDENTIALS: &str = "/run/credentials";

/// The unit whose credentials commands use.
const UNIT: &str = "gatepost.service";

/// The system, as the check uses it. A fuzzer or a test replaces it.
pub trait Environment {
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

    /// True when there is such a directory.
    fn is_directory(&self, _path: &Path) -> bool {
        false
    }

    /// True when the unit `gatepost.service` reads this configuration.
    fn is_of_unit(&self, file: &Path) -> bool {
        file == Path::new(OF_UNIT)
    }

    /// The directory with the credentials of the running service, for other processes.
    fn credentials_of_unit(&self) -> PathBuf {
        Path::new(CREDENTIALS).join(UNIT)
    }

    /// The directory as this process sees it; `None`: it is absent, or cannot be looked at.
    fn directory(&self, _path: &Path) -> Option<DirectoryState> {
        None
    }

    /// True when this process may create the directory, with those above it.
    fn may_create(&self, _path: &Path) -> bool {
        true
    }

    /// The id of the user that runs this process.
    fn own_user(&self) -> u32 {
        0
    }

    /// The id of the user that the unit `gatepost.service` runs as, if this machine has it.
    fn user_of_service(&self) -> Option<u32> {
        None
    }

    /// The id of the user with this name, if this machine has it.
    fn user_id(&self, _name: &str) -> Option<u32> {
        None
    }

    /// The name of a user.
    fn user(&self, id: u32) -> String {
        id.to_string()
    }

    /// True when this machine has the address.
    fn has_address(&self, _address: IpAddr) -> bool {
        true
    }

    /// True when this process may listen on the port.
    fn may_bind(&self, _port: u16) -> bool {
        true
    }

    /// Who listens on the address. `service` are the sockets at which the running service answers.
    fn holder(&self, _address: SocketAddr, _service: &[PathBuf]) -> Option<Holder> {
        None
    }

    /// Where a service meets its commands if nothing else gives it a socket. The first place is this
    /// process's own, if it is the service. With `others`, root gets those of the owner of the file too.
    fn meeting_places(&self, _file: Option<&Path>, _others: bool) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What a command writes to its standard output, at most 64 KiB. It does not see the
    /// environment variables `hidden`, nor those that are part of the configuration.
    ///
    /// # Errors
    /// A sentence: it could not be started, failed, or took over ten seconds.
    fn run(&self, command: &[String], hidden: &[String]) -> Result<Vec<u8>, String>;
}

/// Records which files were read and whether commands were run.
pub(super) struct Recording<'a> {
    outside: &'a dyn Environment,
    files: RefCell<BTreeSet<PathBuf>>,
    commands: Cell<bool>,
}

impl<'a> Recording<'a> {
    pub(super) fn new(outside: &'a dyn Environment) -> Self {
        Self { outside, files: RefCell::default(), commands: Cell::new(false) }
    }

    /// The files that were read, and whether commands were run.
    pub(super) fn finish(self) -> (Vec<PathBuf>, bool) {
        (self.files.into_inner().into_iter().collect(), self.commands.get())
    }
}

impl Environment for Recording<'_> {
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

    fn is_directory(&self, path: &Path) -> bool {
        self.outside.is_directory(path)
    }

    fn is_of_unit(&self, file: &Path) -> bool {
        self.outside.is_of_unit(file)
    }

    fn credentials_of_unit(&self) -> PathBuf {
        self.outside.credentials_of_unit()
    }

    fn directory(&self, path: &Path) -> Option<DirectoryState> {
        self.outside.directory(path)
    }

    fn may_create(&self, path: &Path) -> bool {
        self.outside.may_create(path)
    }

    fn own_user(&self) -> u32 {
        self.outside.own_user()
    }

    fn user_of_service(&self) -> Option<u32> {
        self.outside.user_of_service()
    }

    fn user_id(&self, name: &str) -> Option<u32> {
        self.outside.user_id(name)
    }

    fn user(&self, id: u32) -> String {
        self.outside.user(id)
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.outside.has_address(address)
    }

    fn may_bind(&self, port: u16) -> bool {
        self.outside.may_bind(port)
    }

    fn holder(&self, address: SocketAddr, service: &[PathBuf]) -> Option<Holder> {
        self.outside.holder(address, service)
    }

    fn meeting_places(&self, file: Option<&Path>, others: bool) -> Vec<PathBuf> {
        self.outside.meeting_places(file, others)
    }

    fn run(&self, command: &[String], hidden: &[String]) -> Result<Vec<u8>, String> {
        self.commands.set(true);
        self.outside.run(command, hidden)
    }
}

/// The real system.
pub(super) struct System {
    pub(super) variables: BTreeMap<String, String>,
    /// The files that were read through it.
    pub(super) files: RefCell<Files>,
}

impl System {
    pub(super) fn new(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let utf8 = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { variables: environment.into_iter().filter_map(utf8).collect(), files: RefCell::default() }
    }

    /// True when a variable belongs to the configuration itself.
    pub(super) fn is_layer(&self) -> bool {
        self.variables.keys().any(|name| name.starts_with(PREFIX))
    }
}

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = read_file(path);
        // A descriptor can be read only once.
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

    fn is_writable_directory(&self, path: &Path) -> bool {
        directory::is_writable(path)
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn is_of_unit(&self, file: &Path) -> bool {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        file == Path::new(OF_UNIT) || real(file).is_some_and(|file| real(Path::new(OF_UNIT)) == Some(file))
    }

    fn credentials_of_unit(&self) -> PathBuf {
        credentials_of_unit(Path::new(CREDENTIALS))
    }

    fn directory(&self, path: &Path) -> Option<DirectoryState> {
        DirectoryState::of(path)
    }

    fn may_create(&self, path: &Path) -> bool {
        directory::may_create(path)
    }

    fn own_user(&self) -> u32 {
        user::own()
    }

    fn user_of_service(&self) -> Option<u32> {
        user::id_of(user::OF_SERVICE)
    }

    fn user_id(&self, name: &str) -> Option<u32> {
        user::id_of(name)
    }

    fn user(&self, id: u32) -> String {
        user::name(id)
    }

    fn has_address(&self, address: IpAddr) -> bool {
        sockets::has_address(address)
    }

    fn may_bind(&self, port: u16) -> bool {
        sockets::may_bind(port)
    }

    fn holder(&self, address: SocketAddr, service: &[PathBuf]) -> Option<Holder> {
        sockets::holder(address, service)
    }

    fn meeting_places(&self, file: Option<&Path>, others: bool) -> Vec<PathBuf> {
        meeting::places(file, self.variable("XDG_RUNTIME_DIR").as_deref(), others)
    }

    fn run(&self, command: &[String], hidden: &[String]) -> Result<Vec<u8>, String> {
        run_command(command, hidden)
    }
}

/// The credentials of the unit below `root`. While only an instance of the template
/// `gatepost@.service` runs, those of the instance.
fn credentials_of_unit(root: &Path) -> PathBuf {
    let unit = root.join(UNIT);
    if unit.is_dir() {
        return unit;
    }
    let is_instance = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with("gatepost@") && name.ends_with(".service"))
    };
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_instance).min().unwrap_or(unit)
}

/// What a command writes to its standard output, at most 64 KiB, within ten seconds. It does not
/// see the environment variables `hidden`, nor those that are part of the configuration.
///
/// # Errors
/// A sentence.
pub fn run_command(command: &[String], hidden: &[String]) -> Result<Vec<u8>, String> {
    run_command_within(command, hidden, COMMAND_DEADLINE)
}

/// As [`run_command`], with a deadline of its own.
///
/// # Errors
/// As for [`run_command`].
pub fn run_command_within(command: &[String], hidden: &[String], deadline: Duration) -> Result<Vec<u8>, String> {
    let Some((program, arguments)) = command.split_first() else { return Err("no command is named".to_owned()) };
    let clock = Clock::system();
    let started = clock.now();
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
        .map_err(|error| format!("{} cannot be started: {}", quoted(program), Plain(&error)))?;
    let Some(stdout) = child.stdout.take() else { return Err("its output cannot be read".to_owned()) };

    // A thread reads the output, because a command that never closes it must not block the start.
    let (send, receive) = mpsc::channel();
    let reader = std::thread::Builder::new().name("secret-command".to_owned()).spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(SECRET_BYTES + 1).read_to_end(&mut output).map(|_| output);
        // The receiver is gone when the deadline has passed.
        let _ = send.send(read);
    });
    let output = match reader {
        Ok(_) => receive.recv_timeout(deadline),
        Err(error) => return Err(format!("its output cannot be read: {}", Plain(&error))),
    };
    let too_long = matches!(&output, Ok(Ok(output)) if output.len() as u64 > SECRET_BYTES);
    let status = if output.is_err() || too_long {
        end(&mut child)
    } else {
        wait(&mut child, || clock.now().since(started) < deadline)
    };
    let status = status.map_err(|error| format!("its end cannot be awaited: {}", Plain(&error)))?;
    match (output, status) {
        (Err(_), _) | (_, None) if !too_long => Err(format!("it took longer than {} seconds", deadline.as_secs())),
        (Ok(Err(error)), _) => Err(format!("its output cannot be read: {}", Plain(&error))),
        _ if too_long => Err("it wrote more than 64 KiB".to_owned()),
        (Ok(Ok(output)), Some(status)) if status.success() => Ok(output),
        (_, Some(status)) => Err(format!("it failed ({status})")),
        (_, None) => Err("it was ended".to_owned()),
    }
}

/// Waits for a command that has closed its output, and ends it at the deadline. `None` when it had
/// to be ended.
fn wait(child: &mut Child, in_time: impl Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    while in_time() {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    end(child)
}

fn end(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    // It may have ended already.
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
    fn credentials_are_those_of_the_unit_or_of_an_instance() {
        let root = tempfile::tempdir().unwrap();
        let found = || credentials_of_unit(root.path()).file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(found(), "gatepost.service");
        for (made, expected) in [
            ("postfix.service", "gatepost.service"),
            ("gatepost@b.service", "gatepost@b.service"),
            ("gatepost@a.service", "gatepost@a.service"),
            ("gatepost.service", "gatepost.service"),
        ] {
            std::fs::create_dir(root.path().join(made)).unwrap();
            assert_eq!(found(), expected, "{made}");
        }
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
