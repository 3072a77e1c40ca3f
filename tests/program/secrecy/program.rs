//! The program as it is installed: in a directory of its own, with everything that it writes kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::directory::Directory;
use crate::common::wait::{PATIENCE, wait_for};

/// Everything that was written so far.
pub(crate) type Written = Arc<Mutex<Vec<u8>>>;

/// A directory that serves as working directory, home and place for temporary files. It is removed
/// at the end.
pub(crate) struct Place {
    directory: Directory,
    /// Files that the test itself has put there.
    given: BTreeSet<PathBuf>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: Directory::new(), given: BTreeSet::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn put(&mut self, name: &str, text: &str) {
        self.given.insert(self.directory.write(name, text));
    }

    /// Names and contents of all files that the program has made.
    pub(crate) fn made(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                // A socket, which a crash leaves behind, holds nothing.
                if path.is_dir() {
                    walk(&path, files);
                } else if path.is_file() {
                    files.push(path);
                }
            }
        }
        let mut files = Vec::new();
        walk(self.path(), &mut files);
        let made = files.into_iter().filter(|path| !self.given.contains(path));
        made.map(|path| {
            let content = std::fs::read(&path).unwrap();
            (path, content)
        })
        .collect()
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs(variables.iter().copied())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("TMPDIR", self.path())
            .env("RUST_BACKTRACE", "full")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end: exit code, and what it wrote to both streams.
    pub(crate) fn run(&self, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> (Option<i32>, Vec<u8>) {
        let mut child = self.command(arguments, variables).spawn().unwrap();
        // It may be gone before it has read anything.
        let _gone = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.code(), [output.stdout, output.stderr].concat())
    }

    /// Starts the service and waits until it is ready.
    pub(crate) fn serve(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Serving {
        let mut child = self.command(arguments, variables).spawn().unwrap();
        let written = Written::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![keep(stdout, Arc::clone(&written)), keep(stderr, Arc::clone(&written))];
        let mut serving = Serving { child, readers, written };
        wait_for("it is ready", || {
            assert!(serving.child.try_wait().unwrap().is_none(), "{}", serving.text());
            serving.says("ready").then_some(())
        });
        serving
    }
}

fn keep(stream: impl Read + Send + 'static, written: Written) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = BufReader::with_capacity(1 << 16, stream);
        while let Ok(read) = stream.fill_buf()
            && !read.is_empty()
        {
            written.lock().unwrap().extend_from_slice(read);
            let length = read.len();
            stream.consume(length);
        }
    })
}

/// The running service.
pub(crate) struct Serving {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    written: Written,
}

impl Serving {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    pub(crate) fn says(&self, words: &str) -> bool {
        self.text().contains(words)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The listeners' addresses, out of the log in either form.
    pub(crate) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        let value = |line: &str, key: &str| {
            let (_, rest) = line.split_once(&format!("{key}=")).or_else(|| line.split_once(&format!("\"{key}\":")))?;
            Some(rest.trim_start_matches('"').split(['"', ' ', ',']).next()?.to_owned())
        };
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains("listening"));
        lines.filter_map(|line| Some((value(line, "listener")?, value(line, "address")?.parse().ok()?))).collect()
    }

    /// Ends it by a signal; all that it has written.
    pub(crate) fn end(mut self, signal: Signal) -> Vec<u8> {
        let id = Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end: {}", self.text());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        std::mem::take(&mut *self.written.lock().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}
