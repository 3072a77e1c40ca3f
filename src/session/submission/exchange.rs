//! A connection to Exchange Online, signed in to a mailbox, that takes one message after another.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::session::mailbox_slots::MailboxPermit;
use gatepost_config::Limits;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::Authenticated;
use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mail::smtp::forward::Forward;
use gatepost_proto::mail::smtp::transaction::{Mail, Recipient};

/// Time limit for the reply to a command (RFC 5321 §4.5.3.2).
const REPLY: Duration = Duration::from_secs(5 * 60);
/// A command is done, or a message is taken (RFC 5321 §4.2.1).
const DONE: RangeInclusive<u16> = 200..=299;
/// The content may come. Only this asks for it (RFC 5321 §4.3.2).
const GO_ON: RangeInclusive<u16> = 354..=354;
/// How long to wait for the server's reply when it no longer reads.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A signed-in connection. It counts among the sessions of its mailbox.
///
/// A command returns the reply that does what was asked, or a refusal. Any other says nothing about
/// the message, and is an error: who answers out of turn is not talked to any longer.
pub(super) struct Exchange {
    stream: Stream,
    forward: Forward,
    write_stall: Duration,
    verdict: Duration,
    place: MailboxPermit,
}

impl Exchange {
    pub(super) fn new(stream: Stream, authenticated: Authenticated, place: MailboxPermit, limits: &Limits) -> Self {
        Self {
            stream,
            forward: Forward::new(authenticated),
            write_stall: limits.write_stall,
            verdict: limits.smtp_verdict,
            place,
        }
    }

    /// Begins a message.
    pub(super) async fn mail(&mut self, mail: &Mail) -> io::Result<Reply> {
        self.forward.mail(mail);
        self.answered(DONE, REPLY).await
    }

    /// Names a recipient.
    pub(super) async fn recipient(&mut self, recipient: &Recipient) -> io::Result<Reply> {
        self.forward.recipient(recipient);
        self.answered(DONE, REPLY).await
    }

    /// Asks to send the message.
    pub(super) async fn data(&mut self) -> io::Result<Reply> {
        self.forward.data();
        self.answered(GO_ON, REPLY).await
    }

    /// Forgets a message of which nothing has been sent.
    pub(super) async fn reset(&mut self) -> io::Result<Reply> {
        self.forward.reset();
        self.answered(DONE, REPLY).await
    }

    /// Sends a piece of the message.
    ///
    /// # Errors
    /// The server's final reply, if it sent one, or what broke.
    pub(super) async fn content(&mut self, piece: &[u8]) -> Result<(), Result<Reply, io::Error>> {
        self.forward.content(piece);
        match self.flush().await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Otherwise, the rest of the piece would have to go before anything is read.
                self.stream.stop_writing();
                Err(match timeout(LAST_WORDS, self.read_reply()).await {
                    Ok(Ok(reply)) if !reply.is_positive() => Ok(reply),
                    _ => Err(error),
                })
            }
        }
    }

    /// Returns what has come from the server before the end of the message: its final reply, or that
    /// the connection broke. It then has no message.
    pub(super) async fn has_ended(&mut self) -> Option<io::Result<Reply>> {
        timeout(Duration::ZERO, self.read_reply()).await.ok()
    }

    /// Ends the message, and waits for its final reply.
    pub(super) async fn end(&mut self) -> io::Result<Reply> {
        self.forward.end();
        self.answered(DONE, self.verdict).await
    }

    /// Notes whether the connection is kept without a message. It may then have to yield at once,
    /// because the client does not notice.
    pub(super) fn is_spare(&mut self, spare: bool) {
        self.place.rests(spare.then(Instant::now));
    }

    /// Waits until another session of the mailbox needs the place of this one, which is spare.
    pub(super) fn asked_to_yield(&self) -> impl Future<Output = ()> + Send + use<> {
        self.place.asked_to_yield()
    }

    /// Sends QUIT and closes the connection.
    pub(super) async fn quit(mut self) {
        self.forward.quit();
        let goodbye = async {
            // The server may be gone already, which does not matter here.
            let _gone = self.flush().await;
            self.stream.end().await;
        };
        let _late = timeout(LAST_WORDS, goodbye).await;
    }

    async fn answered(&mut self, positive: RangeInclusive<u16>, within: Duration) -> io::Result<Reply> {
        self.flush().await?;
        let reply = timeout(within, self.read_reply()).await.map_err(|_| late("no reply in time"))??;
        if reply.is_positive() && !positive.contains(&reply.code()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the server answered with {} out of turn", reply.code()),
            ));
        }
        Ok(reply)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Some(output) = self.forward.poll_output() else { return Ok(()) };
        timeout(self.write_stall, self.stream.write(&output)).await.map_err(|_| late("what was sent was not taken"))?
    }

    async fn read_reply(&mut self) -> io::Result<Reply> {
        let mut buffer = [0; 1_024];
        loop {
            let reply = self.forward.poll_reply().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(reply) = reply {
                return Ok(reply);
            }
            match self.stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.forward.handle_input(&buffer[..read]),
            }
        }
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
