//! A service that runs beside the commands of a test, and a mail program that logs in to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Child;

use crate::common::wait::{PATIENCE, wait_until};

/// A running service; ended at the end.
pub(crate) struct Service(Child);

impl Service {
    /// Waits until it listens.
    pub(crate) fn listening(child: Child, port: u16) -> Self {
        let service = Self(child);
        wait_until("it listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        service
    }
}

#[cfg(unix)]
impl Service {
    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An IMAP session, when the password opens one, and the reply without its tag.
pub(crate) fn log_in(port: u16, user: &str, password: &str) -> (BufReader<TcpStream>, String) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    write!(stream.get_mut(), "a LOGIN {user} \"{password}\"\r\n").unwrap();
    let mut line = String::new();
    while !line.starts_with("a ") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "closed");
    }
    (stream, line[2..].to_owned())
}

/// The word behind `password` in the settings that are shown to whoever sets up a mail program.
pub(crate) fn shown(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("  password    "));
    line.unwrap_or_else(|| panic!("no password: {text}")).to_owned()
}
