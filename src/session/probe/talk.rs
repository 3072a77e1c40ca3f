//! A conversation in lines over a connection that is signed in: one command, its reply.

use std::io;

use tokio::time::{Instant, timeout_at};

use gatepost_net::stream::Stream;

/// Longest line, and most lines of a reply.
const LINE_OCTETS: usize = 8_192;
const LINES: usize = 100;

/// A conversation.
pub(super) struct Talk {
    stream: Stream,
    received: Vec<u8>,
    deadline: Instant,
}

impl Talk {
    /// Continues on a connection on which these octets have arrived. All of it ends at `deadline`.
    pub(super) fn new(stream: Stream, received: Vec<u8>, deadline: Instant) -> Self {
        Self { stream, received, deadline }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// The connection broke, or the command was not taken in time.
    pub(super) async fn say(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{line}\r\n");
        timeout_at(self.deadline, self.stream.write(line.as_bytes())).await.map_err(|_| late())?
    }

    /// Returns lines up to the one that `is_last` accepts, without their ends.
    ///
    /// # Errors
    /// The connection broke, no reply came in time, or it is too long.
    pub(super) async fn reply(&mut self, is_last: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        while lines.len() < LINES {
            let line = self.line().await?;
            let last = is_last(&line);
            lines.push(line);
            if last {
                return Ok(lines);
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the reply has too many lines"))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut buffer = [0; 1_024];
        loop {
            if let Some(end) = self.received.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.received.len() > LINE_OCTETS {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the reply is too long"));
            }
            match timeout_at(self.deadline, self.stream.read(&mut buffer)).await.map_err(|_| late())?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.received.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Says goodbye and closes the connection.
    pub(super) async fn end(mut self, goodbye: &str) {
        let leaving = async {
            // The server may be gone already, which does not matter here.
            let _gone = self.say(goodbye).await;
            self.stream.end().await;
        };
        leaving.await;
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}
