//! Mail programs of a few lines.

use std::io;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::wait::PATIENCE;
use crate::life::program::{ALICE, ALICES};

/// A connection with lines.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and hears the greeting.
    pub(crate) async fn greeted(address: SocketAddr) -> io::Result<Self> {
        let mut client = Self(BufReader::new(TcpStream::connect(address).await?));
        let greeting = client.line().await?;
        if greeting.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(client) }
    }

    /// An IMAP session of Alice's.
    pub(crate) async fn imap(address: SocketAddr) -> Self {
        let mut client = Self::greeted(address).await.unwrap();
        let reply = client.ask(&format!("a LOGIN {ALICE} \"{ALICES}\""), "a ").await.unwrap();
        assert!(reply.starts_with("a OK"), "{reply}");
        client
    }

    /// An SMTP session of this user's, with Alice's password.
    pub(crate) async fn smtp(address: SocketAddr, user: &str) -> Self {
        let mut client = Self::greeted(address).await.unwrap();
        client.ask("EHLO client.example", "250 ").await.unwrap();
        let plain = STANDARD.encode(format!("\0{user}\0{ALICES}"));
        let reply = client.ask(&format!("AUTH PLAIN {plain}"), "").await.unwrap();
        assert!(reply.starts_with("235 "), "{reply}");
        client
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.0.write_all(octets)).await?
    }

    pub(crate) async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await??;
        Ok(line)
    }

    /// Says a line and hears until one begins with `end`, which is the result.
    pub(crate) async fn ask(&mut self, line: &str, end: &str) -> io::Result<String> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.starts_with(end) {
                return Ok(line);
            }
        }
    }

    /// The mailbox answers.
    pub(crate) async fn works(&mut self) {
        let reply = self.ask("n NOOP", "n ").await.unwrap();
        assert!(reply.starts_with("n OK"), "{reply}");
    }

    /// Waits in IDLE.
    pub(crate) async fn idle(&mut self) {
        self.ask("s SELECT INBOX", "s OK").await.unwrap();
        self.ask("i IDLE", "+").await.unwrap();
    }

    /// All that still comes.
    pub(crate) async fn rest(&mut self) -> io::Result<String> {
        timeout(PATIENCE, self.last_words()).await?
    }

    /// The same, however long it takes until it comes: for whoever has much to do before that.
    pub(crate) async fn last_words(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).await?;
        Ok(rest)
    }
}
