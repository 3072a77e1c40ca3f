//! The mailbox behind the proxies: IMAP as far as a login and IDLE need it, over implicit TLS, and
//! two commands of its own that move bytes (`DOWN n`, `UP n`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::wire::{CHUNK_BYTES, Wire};

const CAPABILITIES: &str =
    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";

/// In IDLE, a client hears of something new so often.
const NEWS: Duration = Duration::from_secs(30);

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let acceptor = acceptor.clone();
                // How a session ends is the load generator's to notice.
                tokio::spawn(async move { session(stream, acceptor).await.ok() });
            }
            // Out of descriptors: the load generator fails in the same moment and says so.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn session(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    stream.get_mut().1.set_buffer_limit(Some(2 * CHUNK_BYTES));
    let mut wire = Wire::new(stream);
    wire.send(format!("* OK [CAPABILITY {CAPABILITIES}] The service is ready.\r\n").as_bytes()).await?;
    loop {
        let line = match wire.line().await {
            Ok(line) => String::from_utf8_lossy(line).into_owned(),
            Err(_) => return wire.finish().await,
        };
        let mut words = line.splitn(4, ' ');
        let (tag, command) = (words.next().unwrap_or("*"), words.next().unwrap_or(""));
        let count = words.next().and_then(|word| word.parse::<u64>().ok());
        let untagged = match command.to_ascii_uppercase().as_str() {
            "DOWN" => {
                wire.fill(count.unwrap_or(0)).await?;
                continue;
            }
            "UP" => {
                wire.discard(count.unwrap_or(0)).await?;
                String::new()
            }
            "AUTHENTICATE" => {
                // With SASL-IR the response is on the line; without, it comes after an empty
                // challenge.
                if words.next().is_none() {
                    wire.send(b"+ \r\n").await?;
                    wire.line().await?;
                }
                String::new()
            }
            "IDLE" => {
                wire.send(b"+ idling\r\n").await?;
                loop {
                    match timeout(NEWS, wire.line()).await {
                        // `DONE`, whatever it says.
                        Ok(line) => {
                            line?;
                            break;
                        }
                        Err(_) => wire.send(b"* 1 EXISTS\r\n").await?,
                    }
                }
                String::new()
            }
            "CAPABILITY" => format!("* CAPABILITY {CAPABILITIES}\r\n"),
            "NAMESPACE" => "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n".to_owned(),
            "LOGOUT" => {
                wire.send(format!("* BYE Logging out\r\n{tag} OK LOGOUT completed\r\n").as_bytes()).await?;
                wire.finish().await?;
                wire.drain().await;
                return Ok(());
            }
            _ => String::new(),
        };
        wire.send(format!("{untagged}{tag} OK {command} completed\r\n").as_bytes()).await?;
    }
}
