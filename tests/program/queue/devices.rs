//! Devices that send messages, and remember what they were told.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::world::{ARCHIVE, mailbox, source};
use crate::common::wait::PATIENCE;

/// What a device knows of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// 250: Gatepost has it.
    Accepted,
    /// It was refused, or the connection ended before the final dot left.
    NotTaken(String),
    /// The connection ended behind the final dot.
    Open,
}

/// A message, each with a Message-ID of its own: a device that sends the same text again after it
/// was not told sends another message.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) message_id: String,
    pub(crate) told: Told,
}

/// A connection of a device.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) async fn open(device: u8, server: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((IpAddr::from(source(device)), 0).into())?;
        let mut connection = Self(BufReader::new(timeout(PATIENCE, socket.connect(server)).await??));
        connection.hear("220 ").await?;
        connection.ask("EHLO device.example", "250 ").await?;
        Ok(connection)
    }

    /// The last line of a reply, which begins with `usual`; any other is an error.
    async fn hear(&mut self, usual: &str) -> io::Result<String> {
        loop {
            let mut line = String::new();
            timeout(PATIENCE, self.0.read_line(&mut line)).await??;
            match line.get(3..4) {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some("-") => {}
                Some(_) if line.starts_with(usual) => return Ok(line),
                Some(_) => return Err(io::Error::other(line)),
            }
        }
    }

    async fn ask(&mut self, line: &str, usual: &str) -> io::Result<String> {
        timeout(PATIENCE, self.0.write_all(format!("{line}\r\n").as_bytes())).await??;
        self.hear(usual).await
    }

    /// Sends a message up to its final dot.
    pub(crate) async fn begin(&mut self, device: u8, message_id: &str, padding: usize) -> io::Result<()> {
        self.begin_to(&[ARCHIVE], device, message_id, padding).await
    }

    /// The same for other recipients.
    pub(crate) async fn begin_to(
        &mut self,
        recipients: &[&str],
        device: u8,
        message_id: &str,
        padding: usize,
    ) -> io::Result<()> {
        let sender = mailbox(device);
        self.ask(&format!("MAIL FROM:<{sender}>"), "250 ").await?;
        for recipient in recipients {
            self.ask(&format!("RCPT TO:<{recipient}>"), "250 ").await?;
        }
        self.ask("DATA", "354 ").await?;
        let head = format!("From: {sender}\r\nTo: {ARCHIVE}\r\nMessage-ID: {message_id}\r\nSubject: scan\r\n\r\n");
        timeout(PATIENCE, self.0.write_all(head.as_bytes())).await??;
        self.go_on(padding).await
    }

    /// Sends so many octets of a message, in whole lines.
    pub(crate) async fn go_on(&mut self, octets: usize) -> io::Result<()> {
        let line = [[b'x'; 70].as_slice(), b"\r\n"].concat();
        timeout(PATIENCE, self.0.write_all(&line.repeat(octets.div_ceil(line.len())))).await?
    }

    pub(crate) async fn end(&mut self) -> Told {
        let reply = async {
            timeout(PATIENCE, self.0.write_all(b".\r\n")).await??;
            self.hear("").await
        };
        match reply.await {
            Ok(line) if line.starts_with("250 ") => Told::Accepted,
            Ok(line) => Told::NotTaken(line),
            Err(_) => Told::Open,
        }
    }
}

/// Sends one message on a connection of its own.
pub(crate) async fn send(device: u8, server: SocketAddr, message_id: &str, octets: usize) -> Told {
    let begun = async {
        let mut connection = Connection::open(device, server).await?;
        connection.begin(device, message_id, octets).await?;
        io::Result::Ok(connection)
    };
    match begun.await {
        Ok(mut connection) => connection.end().await,
        Err(error) => Told::NotTaken(error.to_string()),
    }
}

/// Sends so many messages, one after the other, as a device with patience does: what was not
/// accepted is sent again, as another message. All attempts.
pub(crate) async fn send_all(device: u8, server: SocketAddr, messages: usize) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for message in 0..messages {
        for attempt in 0.. {
            let message_id = format!("<{message}.{attempt}.{device}@devices.example>");
            // Most are short; some have more than one segment of a sealed file.
            let octets = if message % 10 == 9 { 150_000 } else { 500 };
            let told = send(device, server, &message_id, octets).await;
            let is_accepted = told == Told::Accepted;
            attempts.push(Attempt { message_id, told });
            if is_accepted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    attempts
}
