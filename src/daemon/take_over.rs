//! One Gatepost takes over from another: the messages on the stream between them, before and after
//! the listening sockets themselves (`handover`).
//!
//! The newer process says `begin` once nothing else reads the stream, because reading ahead would
//! lose the descriptors in it. It gets the sockets, and says `serving` once it accepts connections.
//! The older process then begins to drain, and confirms that with one octet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::control::Control;
use super::handover;
use super::inherited::Inherited;

/// Longest message, in octets.
const WORD_BYTES: usize = 32;

/// Time limit of the other process for a step that needs no work.
pub const STEP: Duration = Duration::from_secs(10);

/// Time limit for it to serve after it has the sockets. It opens its store meanwhile.
const START: Duration = Duration::from_secs(120);

const BEGIN: &str = "begin";
const SERVING: &str = "serving";

/// The right to take over from this process. One other process has it at a time.
pub struct TakeOver {
    control: Control,
    alone: OwnedSemaphorePermit,
}

/// Why no process can take over.
#[derive(Debug, thiserror::Error)]
pub enum NotHandedOver {
    /// Another process does so.
    #[error("another Gatepost is already taking over")]
    Busy,
    /// systemd opens sockets for this process, and would start it again when it ends.
    #[error(
        "the running service has sockets of systemd socket units ({}), and systemd starts that service again after a \
         take-over. Restart it instead (`systemctl restart`), or disable the socket units",
        .0.join(", ")
    )]
    SocketUnits(Vec<Arc<str>>),
}

impl TakeOver {
    /// Returns the right.
    ///
    /// # Errors
    /// See [`NotHandedOver`].
    pub fn of(control: &Control) -> Result<Self, NotHandedOver> {
        let units = control.unit_names();
        if !units.is_empty() {
            return Err(NotHandedOver::SocketUnits(units));
        }
        let alone = control.0.taking_over.clone().try_acquire_owned().map_err(|_| NotHandedOver::Busy)?;
        Ok(Self { control: control.clone(), alone })
    }

    /// Hands the listening sockets over on `stream`, and drains once the other process serves.
    /// `ahead` is what was already read from the stream. Each wait for the other process has a
    /// deadline.
    ///
    /// # Errors
    /// The other process went away, or sent nothing in time. This process continues.
    pub async fn serve(self, ahead: &[u8], mut stream: UnixStream) -> io::Result<()> {
        let Self { control, alone } = self;
        if step(word(&mut ahead.chain(&mut stream))).await? != BEGIN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let sockets = control.sockets();
        tracing::info!(sockets = sockets.len(), "another Gatepost takes over, and is given the listening sockets");
        step(handover::hand_over(&mut stream, &sockets)).await?;
        drop(sockets);
        let said = timeout(START, word(&mut stream)).await;
        if !matches!(&said, Ok(Ok(word)) if word == SERVING) {
            tracing::warn!("the other Gatepost did not start to serve, so this one continues");
            return Ok(());
        }
        tracing::info!("the other Gatepost serves now, so this one stops");
        control.supersede();
        // Never released, because nothing is left to take over.
        alone.forget();
        // The other process waits for this octet, but does not need it.
        let _gone = step(stream.write_u8(b'+')).await;
        Ok(())
    }
}

/// Reads a line, without its end.
async fn word(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ if line.len() >= WORD_BYTES => return Err(io::ErrorKind::InvalidData.into()),
            octet => line.push(octet),
        }
    }
}

async fn step<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(STEP, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The process that the sockets came from. It still serves.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// Gets the listening sockets of the process at the other end of `stream`.
///
/// # Errors
/// The other process does not hand them over in time.
pub async fn take_over(mut stream: UnixStream) -> io::Result<(Inherited, Predecessor)> {
    step(async {
        stream.write_all(format!("{BEGIN}\n").as_bytes()).await?;
        let inherited = handover::take_over(&mut stream).await?;
        Ok((inherited, Predecessor(stream)))
    })
    .await
}

impl Predecessor {
    /// Tells the other process that this one accepts connections. It then accepts none, and ends
    /// when its sessions have ended.
    ///
    /// # Errors
    /// The other process did not confirm it. It may have ended meanwhile.
    pub async fn relieve(mut self) -> io::Result<()> {
        step(async {
            self.0.write_all(format!("{SERVING}\n").as_bytes()).await?;
            self.0.read_u8().await.map(drop)
        })
        .await
    }
}
