//! Programs that a test starts: in the foreground, in a directory of the test, ended by process id.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use crate::common::directory::Directory;
pub(crate) use crate::common::port::free_port;
use crate::common::wait::PATIENCE;
pub(crate) use crate::common::wait::wait_for;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it prints goes to `log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: PathBuf) -> Self {
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("start {name} ({error}); `tests/run` installs what is missing"));
        Self { name, child, log }
    }

    /// Waits until it listens on a port of 127.0.0.1.
    pub(crate) fn wait_for_port(&mut self, port: u16) {
        self.wait_for_address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }

    /// Waits until it listens.
    pub(crate) fn wait_for_address(&mut self, address: SocketAddr) {
        self.wait_until(&format!("listen on {address}"), || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        });
    }

    /// Waits until it does what it should.
    pub(crate) fn wait_until(&mut self, what: &str, does: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !does() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status} instead of serving\n{}", self.name, self.log());
            }
            assert!(Instant::now() < deadline, "{} does not {what}\n{}", self.name, self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything it has printed.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it with SIGTERM and tells how it ended; with SIGKILL when it does not obey.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        let id = self.child.id().to_string();
        let _ = Command::new("sh").args(["-c", r#"kill -TERM "$1""#, "sh", &id]).status();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(60);
            let tail: Vec<&str> = log.lines().skip(from).collect();
            eprintln!("---- last lines of {} ----\n{}", self.name, tail.join("\n"));
        }
    }
}

/// What a client did.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    /// Panics with the client's own words unless it succeeded.
    pub(crate) fn expect_success(self, what: &str) -> Self {
        let stdout = String::from_utf8_lossy(&self.stdout);
        assert!(self.status.success(), "{what}: {}\n{stdout}\n{}", self.status, self.stderr);
        self
    }
}

/// Runs a client to its end. Its output goes through files, so that no full pipe can stop it.
pub(crate) fn run(command: &mut Command) -> Finished {
    let directory = Directory::new();
    let (out, err) = (directory.path().join("out"), directory.path().join("err"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("start {:?} ({error}); `tests/run` installs what is missing", command.get_program())
        });
    let deadline = Instant::now() + PATIENCE;
    let (status, in_time) = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break (status, true);
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            break (child.wait().unwrap(), false);
        }
        thread::sleep(Duration::from_millis(5));
    };
    let stdout = fs::read(out).unwrap();
    let stderr = String::from_utf8_lossy(&fs::read(err).unwrap()).into_owned();
    assert!(in_time, "{command:?} did not end in {PATIENCE:?}\n{}\n{stderr}", String::from_utf8_lossy(&stdout));
    Finished { status, stdout, stderr }
}

/// Whether the tests run as root, in which case servers must drop it.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}
