//! Devices that send messages, many on one connection.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::bail;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// The mailbox of a device.
pub(crate) fn mailbox(device: u8) -> String {
    format!("device{device}@contoso.example")
}

/// The address of a device.
pub(crate) fn source(device: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, device)
}

/// A connection of a device.
pub(crate) struct Device {
    stream: BufReader<TcpStream>,
    number: u8,
}

impl Device {
    /// Connects from the address of the device.
    pub(crate) async fn connect(number: u8, server: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source(number), 0).into())?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let mut device = Self { stream: BufReader::new(stream), number };
        device.hear("220 ").await?;
        device.ask("EHLO device.example\r\n", "250 ").await?;
        Ok(device)
    }

    /// Sends a message with a body of so many bytes.
    pub(crate) async fn send(&mut self, message_id: &str, body: usize) -> anyhow::Result<()> {
        let sender = mailbox(self.number);
        self.ask(&format!("MAIL FROM:<{sender}>\r\n"), "250 ").await?;
        self.ask("RCPT TO:<archive@fabrikam.example>\r\n", "250 ").await?;
        self.ask("DATA\r\n", "354 ").await?;
        let head = format!("From: {sender}\r\nTo: archive@fabrikam.example\r\nMessage-ID: {message_id}\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        let line = [[b'x'; 74].as_slice(), b"\r\n"].concat();
        let lines = line.repeat(1 << 10);
        let mut left = body.next_multiple_of(line.len());
        while left > 0 {
            let piece = left.min(lines.len());
            self.stream.write_all(&lines[..piece]).await?;
            left -= piece;
        }
        self.ask(".\r\n", "250 ").await
    }

    async fn ask(&mut self, line: &str, usual: &str) -> anyhow::Result<()> {
        self.stream.write_all(line.as_bytes()).await?;
        self.hear(usual).await
    }

    async fn hear(&mut self, usual: &str) -> anyhow::Result<()> {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await?;
            match line.get(3..4) {
                Some("-") => {}
                Some(_) if line.starts_with(usual) => return Ok(()),
                _ => bail!("`{usual}` was expected: {line:?}"),
            }
        }
    }
}
