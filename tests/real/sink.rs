//! Where Dovecot's submission service hands its messages to: an SMTP server that keeps them octet
//! for octet.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::process::wait_for;

/// A message that has arrived.
#[derive(Clone)]
pub(crate) struct Arrived {
    pub(crate) from: String,
    pub(crate) recipients: Vec<String>,
    /// Without the dots of RFC 5321 §4.5.2; begins with the trace headers that Dovecot put in
    /// front.
    pub(crate) data: Vec<u8>,
}

/// The server, as long as its runtime lives.
pub(crate) struct Sink {
    pub(crate) port: u16,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Sink {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let arrived = Arc::<Mutex<Vec<Arrived>>>::default();
        let shared = Arc::clone(&arrived);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let arrived = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &arrived).await {
                        eprintln!("smtp sink: {error}");
                    }
                });
            }
        });
        Self { port, arrived }
    }

    /// Takes the first message from `sender`, once it has arrived. Tests use a sender of their own.
    pub(crate) fn take(&self, sender: &str) -> Arrived {
        wait_for(&format!("message from {sender}"), || {
            let mut arrived = self.arrived.lock().unwrap();
            let index = arrived.iter().position(|message| message.from == sender)?;
            // In their order: a sender may have several under way.
            Some(arrived.remove(index))
        })
    }
}

async fn converse(stream: TcpStream, arrived: &Mutex<Vec<Arrived>>) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::with_capacity(256 * 1024, input);
    output.write_all(b"220 sink ESMTP\r\n").await?;
    let mut envelope = Arrived { from: String::new(), recipients: Vec::new(), data: Vec::new() };
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 67108864",
            "MAIL" => {
                envelope = Arrived { from: path(line), recipients: Vec::new(), data: Vec::new() };
                "250 2.1.0 ok"
            }
            "RCPT" => {
                envelope.recipients.push(path(line));
                "250 2.1.5 ok"
            }
            "DATA" => {
                output.write_all(b"354 go on\r\n").await?;
                envelope.data = data(&mut input).await?;
                arrived.lock().unwrap().push(envelope.clone());
                "250 2.0.0 kept"
            }
            "RSET" | "NOOP" => "250 2.0.0 ok",
            "QUIT" => {
                output.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 5.5.1 not here",
        };
        output.write_all(reply.as_bytes()).await?;
        output.write_all(b"\r\n").await?;
    }
}

/// The address between the angle brackets.
fn path(line: &str) -> String {
    let from = line.find('<').map_or(line.len(), |at| at + 1);
    let to = line.find('>').unwrap_or(line.len());
    line.get(from..to).unwrap_or_default().to_owned()
}

async fn data(input: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::Error::other("ended within a message"));
        }
        if line == b".\r\n" {
            return Ok(data);
        }
        data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
