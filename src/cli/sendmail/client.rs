//! Hands a message over to the running service, by SMTP over its Unix socket.

use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::dsn::Reports;
use super::letter::Letter;
use super::outcome::{Code, NotSent};
use gatepost_core::clock::Clock;
use gatepost_core::system_error::Plain;
use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mail::smtp::forward::Forward;
use gatepost_proto::mail::smtp::transaction::{Body, Mail, Recipient};

/// How long a service is waited for that is just being started again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(200);
/// Time limit for its greeting.
const GREETING: Duration = Duration::from_secs(10);
/// Time limit for a reply. The service may wait for the mailbox's turn, and for Microsoft as long as
/// RFC 5321 §4.5.3.2.6 asks for; its own limits are shorter.
const REPLY: Duration = Duration::from_secs(30 * 60);
/// Time limit for the service to take a piece of the message.
const PIECE: Duration = Duration::from_secs(10 * 60);
/// Most octets of a piece.
const PIECE_OCTETS: usize = 64 * 1024;

/// Who sends to whom.
#[derive(Debug)]
pub(super) struct Envelope {
    /// `None`: the mailbox of the service. Empty: `<>`.
    pub(super) sender: Option<String>,
    pub(super) recipients: Vec<String>,
    /// For servers that offer DSN. Others get nothing of it.
    pub(super) reports: Reports,
}

/// A connection to the service.
struct Connection {
    stream: UnixStream,
    machine: Forward,
}

/// A failure, and whether the service may take the message a moment later.
struct Failed {
    not_sent: NotSent,
    may_pass: bool,
}

/// Hands a message over. Nothing is sent unless every recipient is accepted. If the service ends
/// before the message does, as at a restart, the next one gets it.
///
/// # Errors
/// Why the message was not taken.
pub(super) async fn hand_over(
    socket: &Path,
    envelope: &Envelope,
    letter: &mut Letter,
    full_name: Option<&str>,
) -> Result<(), NotSent> {
    let mut end = None;
    loop {
        match attempt(socket, envelope, letter, full_name).await {
            Ok(()) => return Ok(()),
            Err(failed) => {
                let end = *end.get_or_insert_with(|| Instant::now() + PATIENCE);
                if !failed.may_pass || Instant::now() >= end {
                    return Err(failed.not_sent);
                }
            }
        }
        sleep(PAUSE).await;
    }
}

async fn attempt(
    socket: &Path,
    envelope: &Envelope,
    letter: &mut Letter,
    full_name: Option<&str>,
) -> Result<(), Failed> {
    let mut service = Connection::open(socket).await?;
    let greeting =
        timeout(GREETING, service.asked(None)).await.map_err(|_| broken(&io::ErrorKind::TimedOut.into()))??;
    let mailbox = mailbox_in(&greeting)
        .ok_or_else(|| NotSent::new(Code::TempFail, format_args!("`{}` is not Gatepost's socket", socket.display())))?;
    service.machine.introduce("localhost");
    let extensions = service.asked(None).await?;
    service.machine.learn(&extensions);
    let (content, octets) = letter.finished(&mailbox, full_name, Clock::system().unix_time())?;
    let sender = match &envelope.sender {
        None => Some(mailbox.clone()),
        Some(sender) => Some(sender.clone()).filter(|sender| !sender.is_empty()),
    };
    let smtputf8 = !sender.iter().chain(&envelope.recipients).all(|address| address.is_ascii());
    let mail =
        Mail { sender, size: Some(octets), body: Some(Body::EightBit), smtputf8, dsn: envelope.reports.of_message() };
    service.machine.mail(&mail);
    service.asked(None).await?;
    for address in &envelope.recipients {
        service.machine.recipient(&Recipient { address: address.clone(), dsn: envelope.reports.of_recipient() });
        service.asked(Some(address)).await?;
    }
    service.machine.data();
    service.asked(None).await?;
    service.send(content).await?;
    service.machine.end();
    match service.reply().await {
        Ok(reply) if reply.class() == 2 => {}
        Ok(reply) => return Err(NotSent::of_message(&reply).into()),
        Err(error) => {
            return Err(NotSent::new(
                Code::TempFail,
                format_args!(
                    "message status unknown: the connection to the service broke behind the message ({}). Its log may say \
                     whether the message was sent",
                    Plain(&error)
                ),
            )
            .into());
        }
    }
    service.machine.quit();
    // The message is taken, whatever happens now.
    let _goodbye = timeout(GREETING, service.reply()).await;
    Ok(())
}

/// Connects to the service, for a program that speaks SMTP itself.
///
/// # Errors
/// The service is not there.
pub(super) async fn connect(socket: &Path) -> Result<StdUnixStream, NotSent> {
    let end = Instant::now() + PATIENCE;
    let stream = loop {
        match Connection::open(socket).await {
            Ok(Connection { stream, .. }) => break stream,
            Err(failed) if !failed.may_pass || Instant::now() >= end => return Err(failed.not_sent),
            Err(_) => sleep(PAUSE).await,
        }
    };
    let waiting = stream.into_std().and_then(|stream| stream.set_nonblocking(false).map(|()| stream));
    waiting.map_err(|error| broken(&error).not_sent)
}

impl Connection {
    async fn open(socket: &Path) -> Result<Self, Failed> {
        let error = match timeout(GREETING, UnixStream::connect(socket)).await {
            Ok(Ok(stream)) => return Ok(Self { stream, machine: Forward::without_login() }),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        let place = socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            let why = format_args!(
                "message not sent: this user cannot reach the socket `{place}`. Gatepost admin: let others pass its \
                 directory (`RuntimeDirectoryMode=0711` in the systemd unit)"
            );
            return Err(NotSent::new(Code::NoPerm, why).into());
        }
        let why = format_args!(
            "message not sent: no service listens at `{place}` ({}). Gatepost admin: start Gatepost, and check that its \
             configuration has `sendmail`. If it listens elsewhere, name the socket in GATEPOST_SENDMAIL_SOCKET",
            Plain(&error)
        );
        Err(Failed { not_sent: NotSent::new(Code::TempFail, why), may_pass: true })
    }

    /// Sends what is pending, and returns the positive reply.
    async fn asked(&mut self, recipient: Option<&str>) -> Result<Reply, Failed> {
        let reply = self.reply().await.map_err(|error| broken(&error))?;
        // 421 ends the session: the service stops, or is replaced.
        let may_pass = reply.code() == 421;
        if reply.is_positive() {
            Ok(reply)
        } else {
            Err(Failed { not_sent: NotSent::refused(&reply, recipient), may_pass })
        }
    }

    async fn send(&mut self, mut content: impl Read) -> Result<(), Failed> {
        let mut piece = vec![0; PIECE_OCTETS];
        loop {
            let read = content
                .read(&mut piece)
                .map_err(|error| NotSent::of_system("message not sent: it cannot be read again", &error))?;
            if read == 0 {
                return Ok(());
            }
            self.machine.content(piece.get(..read).unwrap_or_default());
            if let Err(error) = self.flush().await {
                // The service may have said why before it closed the connection.
                return Err(match timeout(GREETING, self.received()).await {
                    Ok(Ok(reply)) if !reply.is_positive() => NotSent::refused(&reply, None).into(),
                    _ => broken(&error),
                });
            }
        }
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        self.flush().await?;
        timeout(REPLY, self.received()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn received(&mut self) -> io::Result<Reply> {
        let mut buffer = [0; 1_024];
        loop {
            let reply = self.machine.poll_reply().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(reply) = reply {
                return Ok(reply);
            }
            match self.stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.machine.handle_input(buffer.get(..read).unwrap_or_default()),
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Some(output) = self.machine.poll_output() else { return Ok(()) };
        timeout(PIECE, self.stream.write_all(&output)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// The connection broke before the end of the message, so it was not sent.
fn broken(error: &io::Error) -> Failed {
    let not_sent = NotSent::of_system("message not sent: the connection to the service broke", error);
    Failed { not_sent, may_pass: true }
}

impl From<NotSent> for Failed {
    fn from(not_sent: NotSent) -> Self {
        Self { not_sent, may_pass: false }
    }
}

/// The mailbox that the service names in its greeting.
fn mailbox_in(greeting: &Reply) -> Option<String> {
    let words = String::from_utf8(greeting.words()).ok()?;
    let (_, rest) = words.split_once('<')?;
    let (mailbox, _) = rest.split_once('>')?;
    Some(mailbox.to_owned())
}
