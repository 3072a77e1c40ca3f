//! A conversation in lines over a connection that is signed in: one command, its reply.

use std::io;

use tokio::time::{Instant, timeout_at};

use gatepost_net::stream::Stream;

/// Longest line without its end, and most lines of a reply.
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
            let end = self.received.iter().position(|octet| *octet == b'\n');
            // It may have arrived without its end, or with half of it.
            if end.unwrap_or(self.received.len()) > LINE_OCTETS + 1 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the reply is too long"));
            }
            if let Some(end) = end {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
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

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A deadline that a silent server lets pass.
    pub(in super::super) fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    /// Lets `client` talk to a server that sends these replies, each after a command or a message,
    /// and then closes. Returns the outcome, and the lines that the server got.
    pub(in super::super) async fn ask<F: Future>(
        replies: &[&str],
        client: impl FnOnce(Talk) -> F,
    ) -> (F::Output, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let serve = async move {
            let (from, mut to) = server.split();
            let mut lines = BufReader::new(from).lines();
            let mut said = Vec::new();
            let mut is_message = false;
            for reply in replies {
                while let Some(line) = lines.next_line().await.unwrap() {
                    said.push(line);
                    if !is_message || said.last().is_some_and(|line| line == ".") {
                        break;
                    }
                }
                is_message = reply.starts_with("354");
                // The client may have left.
                let _gone = to.write_all(format!("{reply}\r\n").as_bytes()).await;
            }
            if replies.is_empty() {
                said.extend(lines.next_line().await.unwrap());
            }
            said
        };
        let end = Instant::now() + Duration::from_secs(60);
        let talk = Talk::new(Stream::Plain(socket.into()), Vec::new(), end);
        tokio::join!(client(talk), serve)
    }

    #[tokio::test]
    async fn a_reply_is_read_to_its_last_line_and_no_further() {
        let many = |count: usize| vec!["line"; count].join("\r\n");
        let read = async |mut talk: Talk| {
            talk.say("go").await.unwrap();
            talk.reply(|line| line == "end").await
        };
        let (lines, _) = ask(&["one\r\ntwo\r\nend\r\nnext"], read).await;
        assert_eq!(lines.unwrap(), ["one", "two", "end"]);
        let (lines, _) = ask(&[&format!("{}\r\nend", many(LINES - 1))], read).await;
        assert_eq!(lines.unwrap().len(), LINES);
        let (lines, _) = ask(&[&format!("{}\r\nend", many(LINES))], read).await;
        assert_eq!(lines.unwrap_err().to_string(), "the reply has too many lines");
        let long = "x".repeat(3 * LINE_OCTETS);
        let (lines, _) = ask(&[&long], read).await;
        assert_eq!(lines.unwrap_err().to_string(), "a line of the reply is too long");
        let (lines, _) = ask(&[&format!("{}\r\nend", "x".repeat(LINE_OCTETS - 100))], read).await;
        assert_eq!(lines.unwrap().len(), 2);
        let (lines, _) = ask(&["no end"], read).await;
        assert_eq!(lines.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_arrived_before_is_read_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut talk = Talk::new(Stream::Plain(socket.into()), b"before\r\nbe".to_vec(), soon());
        assert_eq!(talk.reply(|_| true).await.unwrap(), ["before"]);
        assert_eq!(talk.reply(|_| true).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_line_may_have_as_many_octets_as_it_may_and_no_more() {
        for (octets, is_taken) in [(LINE_OCTETS, true), (LINE_OCTETS + 1, false)] {
            let line = vec![b'x'; octets];
            let whole = [&line, &b"\r\n"[..]].concat();
            for arrived in [line, whole] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (mut server, _) = listener.accept().await.unwrap();
                server.write_all(b"\r\n").await.unwrap();
                let end = Instant::now() + Duration::from_secs(60);
                let mut talk = Talk::new(Stream::Plain(socket.into()), arrived, end);
                assert_eq!(talk.reply(|_| true).await.is_ok(), is_taken, "{octets}");
            }
        }
    }
}
