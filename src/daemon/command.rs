//! The socket on which other processes of this machine tell the service what to do: `gatepost reload`, and the Gatepost
//! that takes over from it. It lies beside `admin.socket`, belongs to the service's own user, and nobody else is heard.
//!
//! A command is one line. `reload` and `unlock LOGIN` are answered by one octet and a text ([`Answer`]), `take-over` by the
//! listening sockets (`handover`); the process that took them says `serving` once it accepts connections, and this process
//! begins to drain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::control::Control;
use super::error::StartError;
use super::handover;
use super::inherited::Inherited;
use super::phase::NotReloaded;
use crate::system::local_socket::LocalSocket;
use gatepost_core::account::{LOGIN_NAME_OCTETS, LoginName};

/// Longest command, in octets.
const COMMAND_BYTES: usize = 32 + LOGIN_NAME_OCTETS;

/// Longest text of an answer.
const ANSWER_BYTES: u64 = 1024 * 1024;

/// How long the other process may take for a step that needs nothing but its attention.
const STEP: Duration = Duration::from_secs(10);

/// How long it may take to begin to serve after it has the sockets: it opens its store meanwhile.
const START: Duration = Duration::from_secs(120);

/// How long an answer may take: at a reload secrets may come from commands.
const ANSWER: Duration = Duration::from_secs(120);

const RELOAD_COMMAND: &str = "reload";
/// Behind it comes the login.
const UNLOCK: &str = "unlock ";
const TAKE_OVER: &str = "take-over";
const SERVING: &str = "serving";

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done(String),
    /// It could not be done.
    Failed(String),
    /// The configuration has mistakes.
    Mistakes(String),
}

/// Where the socket is.
pub fn path(admin_socket: &Path) -> PathBuf {
    let mut path = admin_socket.as_os_str().to_owned();
    path.push(".control");
    path.into()
}

/// The socket, listening; its file is removed with it.
#[derive(Debug)]
pub struct CommandSocket {
    socket: LocalSocket,
    /// One process at a time takes over.
    taking_over: Arc<Semaphore>,
}

impl CommandSocket {
    /// Binds the socket, in the place of one that another process has left behind or still has.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: LocalSocket::bind(path)?, taking_over: Arc::new(Semaphore::new(1)) })
    }

    /// Hears commands for the service of `control`. Never returns.
    ///
    /// # Cancel safety
    /// May be dropped at any time; commands under way are given up.
    pub async fn serve(self, control: Control) {
        let mut commands = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_ended) = commands.join_next() => continue,
            };
            match accepted {
                Ok(Some(stream)) => {
                    let (control, taking_over) = (control.clone(), Arc::clone(&self.taking_over));
                    commands.spawn(async move {
                        if let Err(error) = obey(stream, control, &taking_over).await {
                            tracing::debug!("a command was given up: {error}");
                        }
                    });
                }
                Ok(None) => tracing::warn!("another user of this machine tried to give Gatepost a command"),
                Err(error) => {
                    tracing::warn!("cannot hear commands for now: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn obey(mut stream: UnixStream, control: Control, taking_over: &Semaphore) -> io::Result<()> {
    match step(line(&mut stream)).await?.as_str() {
        RELOAD_COMMAND => {
            let (code, text) = match control.reload().await {
                Ok(reloaded) => {
                    let notes = reloaded.notes.iter().map(|note| format!("\nnote: {note}"));
                    (b'+', std::iter::once(reloaded.to_string()).chain(notes).collect())
                }
                Err(error @ NotReloaded::Mistakes(..)) => (b'!', error.to_string()),
                Err(error @ NotReloaded::Start(StartError::AccountWithoutPassword(_))) => (b'!', error.to_string()),
                Err(error) => (b'-', error.to_string()),
            };
            step(answer(stream, code, &text)).await
        }
        TAKE_OVER => {
            let Ok(alone) = taking_over.try_acquire() else {
                tracing::warn!("a second Gatepost wants to take over at the same time, and is given nothing");
                return Ok(());
            };
            let sockets = control.sockets();
            tracing::info!(sockets = sockets.len(), "another Gatepost takes over, and is given the listening sockets");
            step(handover::hand_over(&mut stream, &sockets)).await?;
            drop(sockets);
            let said = timeout(START, line(&mut stream)).await;
            if !matches!(&said, Ok(Ok(word)) if word == SERVING) {
                tracing::warn!("the other Gatepost did not begin to serve; this one goes on");
                return Ok(());
            }
            tracing::info!("the other Gatepost serves; this one stops");
            control.supersede();
            // There is nothing left to take over.
            alone.forget();
            // The other one waits for it, but does not need it.
            let _gone = step(stream.write_u8(b'+')).await;
            Ok(())
        }
        other => match other.strip_prefix(UNLOCK).map(LoginName::parse) {
            Some(Ok(login)) => {
                let by = format!("command-line (uid {})", stream.peer_cred()?.uid());
                let (code, text) = match control.shared().authenticator.unlock(&login).await {
                    Ok(unlocked) => {
                        let told = unlocked.to_string();
                        control.journal().act_by(&by, "account-unlocked", unlocked.login.as_str(), &told);
                        (b'+', told)
                    }
                    Err(error) => (b'-', error.to_string()),
                };
                step(answer(stream, code, &text)).await
            }
            _ => {
                tracing::debug!(command = other, "an unknown command");
                Ok(())
            }
        },
    }
}

async fn answer(mut stream: UnixStream, code: u8, text: &str) -> io::Result<()> {
    stream.write_u8(code).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// A line without its end.
async fn line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ if line.len() >= COMMAND_BYTES => return Err(io::ErrorKind::InvalidData.into()),
            octet => line.push(octet),
        }
    }
}

async fn step<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(STEP, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn say(path: &Path, command: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    Ok(stream)
}

/// Tells the service behind `path` to reload.
///
/// # Errors
/// There is none, or it does not answer in time.
pub async fn ask_to_reload(path: &Path) -> io::Result<Answer> {
    ask(path, RELOAD_COMMAND).await
}

/// Tells the service behind `path` to unlock an account.
///
/// # Errors
/// There is none, or it does not answer in time.
pub async fn ask_to_unlock(path: &Path, login: &LoginName) -> io::Result<Answer> {
    ask(path, &format!("{UNLOCK}{login}")).await
}

async fn ask(path: &Path, command: &str) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = step(say(path, command)).await?;
        let code = stream.read_u8().await?;
        let mut text = String::new();
        stream.take(ANSWER_BYTES).read_to_string(&mut text).await?;
        match code {
            b'+' => Ok(Answer::Done(text)),
            b'!' => Ok(Answer::Mistakes(text)),
            b'-' => Ok(Answer::Failed(text)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it answered something else than Gatepost does")),
        }
    };
    timeout(ANSWER, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The process from which the sockets came; it still serves.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// Gets the listening sockets of the service behind `path`.
///
/// # Errors
/// There is none, or it does not hand them over in time.
pub async fn take_over(path: &Path) -> io::Result<(Inherited, Predecessor)> {
    step(async {
        let mut stream = say(path, TAKE_OVER).await?;
        let inherited = handover::take_over(&mut stream).await?;
        Ok((inherited, Predecessor(stream)))
    })
    .await
}

impl Predecessor {
    /// This process accepts connections: the other one lets nobody in any longer, and ends when its sessions have.
    ///
    /// # Errors
    /// It did not hear it; it may have ended meanwhile.
    pub async fn relieve(mut self) -> io::Result<()> {
        step(async {
            self.0.write_all(format!("{SERVING}\n").as_bytes()).await?;
            self.0.read_u8().await.map(drop)
        })
        .await
    }
}
