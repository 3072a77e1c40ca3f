//! The program, with a configuration as an operator would write it, and everything that it says.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::directory::Directory;
use crate::common::port::free_address;
use crate::common::wait::{wait_for, wait_or};

pub(crate) const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
pub(crate) const ALICE: &str = "alice@contoso.example";
pub(crate) const ALICES: &str = "correct-horse-battery";

/// A shell script that runs a command as systemd does whose standard error is connected to the
/// journal.
pub(crate) const IN_JOURNAL: &str =
    "JOURNAL_STREAM=$(stat --dereference --format %d:%i /dev/stderr) exec \"$0\" \"$@\"";

/// A Microsoft 365, and a directory with all that its Gatepost needs. The directory is removed at
/// the end.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    directory: Directory,
    pub(crate) imap: SocketAddr,
    pub(crate) smtp: SocketAddr,
}

impl World {
    pub(crate) async fn new() -> Self {
        let accounts = vec![SandboxAccount::new(ALICE, ALICES)];
        let sandbox = Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() }).await.unwrap();
        let world = Self { imap: free_address(), smtp: free_address(), sandbox, directory: Directory::new() };
        world.write("ca.pem", world.sandbox.ca_pem());
        world.configure("");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.file(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.directory.write(name, text);
    }

    /// A configuration with further lines of `limits`.
    pub(crate) fn configure(&self, limits: &str) {
        self.configure_with(limits, "");
    }

    /// The same with further listeners and sections, which begin at the margin.
    pub(crate) fn configure_with(&self, limits: &str, sections: &str) {
        let Self { sandbox, imap, smtp, .. } = self;
        let mut yaml = String::new();
        write!(
            yaml,
            "listeners:\n\
             \x20 imap: {{bind: '{imap}', upstream: 'localhost:{}'}}\n\
             \x20 smtp: {{bind: '{smtp}', upstream: 'localhost:{}'}}\n\
             microsoft: {{authority: 'https://localhost:{}/', tenant: contoso.example, client_id: {}, grant: password}}\n\
             accounts: [{{login: '*'}}]\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n\
             admin: {{socket: gatepost.sock}}\n\
             limits:\n  failure_delay: 0s\n{limits}\n{sections}",
            sandbox.imap().port(),
            sandbox.smtp().port(),
            sandbox.entra().port(),
            sandbox.public_client_id(),
        )
        .unwrap();
        self.write("proxy.yaml", &yaml);
    }

    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(GATEPOST, arguments).stdout(Stdio::piped()).output().unwrap()
    }

    /// Starts the service, and waits until it is ready.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        self.start_in(arguments, &[])
    }

    /// Starts the service, and waits for nothing.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Program {
        Program::start(self.command(GATEPOST, &[&["run"], arguments].concat()))
    }

    /// The same with standard error connected to the journal.
    pub(crate) fn begin_in_journal(&self) -> Program {
        Program::start(self.command("sh", &["-c", IN_JOURNAL, GATEPOST, "run"]))
    }

    /// Starts the service with variables of the environment, and waits until it is ready.
    pub(crate) fn start_in(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Program {
        let mut command = self.command(GATEPOST, &[&["run"], arguments].concat());
        command.envs(variables.iter().copied());
        Program::start(command).ready()
    }

    /// The same with one or two listening sockets as systemd hands them over: as standard input and
    /// output, until they are where they belong.
    pub(crate) fn activate(&self, sockets: Vec<(&str, OwnedFd)>, variables: &[(&str, &str)]) -> Program {
        self.activated(&[], sockets, variables).ready()
    }

    /// The same with arguments, and waits for nothing.
    pub(crate) fn activated(
        &self,
        arguments: &[&str],
        sockets: Vec<(&str, OwnedFd)>,
        variables: &[(&str, &str)],
    ) -> Program {
        let (count, names) = (sockets.len(), sockets.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(":"));
        let mut descriptors = sockets.into_iter().map(|(_, descriptor)| descriptor);
        let script = "exec 3<&0 4>&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ exec \"$0\" run \"$@\"";
        let mut command = self.command("sh", &[&["-c", script, GATEPOST], arguments].concat());
        command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names).envs(variables.iter().copied());
        if let Some(first) = descriptors.next() {
            command.stdin(first);
        }
        if let Some(second) = descriptors.next() {
            command.stdout(second);
        }
        assert!(descriptors.next().is_none(), "more than two sockets are not handed over");
        Program::start(command)
    }
}

/// A running Gatepost; it is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (log, errors) = (Arc::new(Mutex::new(String::new())), child.stderr.take().unwrap());
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    fn ready(mut self) -> Self {
        self.says(" ready version=");
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has this text.
    pub(crate) fn says(&mut self, text: &str) {
        wait_for(&format!("it says {text:?}"), || {
            let ended = self.child.try_wait().unwrap();
            let said = self.log().contains(text);
            assert!(said || ended.is_none(), "it ended with {ended:?} and has not said {text:?}\n{}", self.log());
            said.then_some(())
        });
    }

    /// Waits until the log has this text so many times.
    pub(crate) fn says_times(&mut self, text: &str, times: usize) {
        let log = std::cell::RefCell::new(String::new());
        let what = || {
            let log = log.borrow();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            format!("it says {text:?} {times} times, and not, last first: {last:#?}")
        };
        wait_or(what, || {
            log.replace(self.log());
            (log.borrow().matches(text).count() >= times).then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait_for("it ends", || self.child.try_wait().unwrap())
    }

    /// Waits for its end, and returns its exit code and what it said.
    pub(crate) fn failed(mut self) -> (Option<i32>, String) {
        let code = self.ended().code();
        (code, wait_for("what it said is read", || self.log().contains("not started").then(|| self.log())))
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Open files of the process; `None`: it hides them from its own user, and these tests do not
    /// run as root.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptors(&self) -> Option<usize> {
        match std::fs::read_dir(Path::new("/proc").join(self.pid().to_string()).join("fd")) {
            Err(error) if !rustix::process::geteuid().is_root() => {
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
                None
            }
            found => Some(found.unwrap().count()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- what Gatepost said ----\n{}", self.log());
        }
    }
}
