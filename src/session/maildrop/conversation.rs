//! A POP3 session after its login: fetches from Graph what the client asks for.

use std::sync::Arc;

use tokio::time::timeout;

use super::inbox::Inbox;
use super::mailbox::{Deleted, Mailbox};
use crate::graph::messages::Unserved;
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use crate::session::registry::SessionGuard;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::pop3::transaction::{MaildropEvent, Transaction, Trouble};

/// Octets of a message that pass through the machine at a time.
const PIECE: usize = 16 * 1_024;
/// Size of the buffer for what a client sends.
const READ_OCTETS: usize = 1_024;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client sent QUIT.
    Quit,
    /// The client left without QUIT.
    ClientEnded,
    /// The client's connection broke.
    ClientBroke,
    /// `limits.pop3_idle` has passed.
    Idle,
    /// The client does not read what it asked for (`limits.write_stall`).
    Stalled,
    /// A message broke off. The connection must be cut, so that the client does not take the
    /// message for complete.
    MessageBroke,
}

impl End {
    /// Why, in the word for the log.
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Quit => Cause::Quit,
            Self::ClientEnded => Cause::ClientEnded,
            Self::ClientBroke => Cause::ClientBroke,
            Self::Idle => Cause::Idle,
            Self::Stalled => Cause::Stalled,
            Self::MessageBroke => Cause::MessageBroke,
        }
    }
}

/// A client and the maildrop that it has opened.
pub(super) struct Conversation<'a> {
    shared: &'a SessionContext,
    subject: &'a ConnectionInfo,
    whose: &'a SessionUser,
    live: &'a SessionGuard,
    stream: Stream,
    machine: Transaction,
    mailbox: Arc<Mailbox>,
    inbox: Inbox,
    sent: u64,
    received: u64,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        shared: &'a SessionContext,
        service: &'a ListenerState,
        subject: &'a ConnectionInfo,
        (whose, live): (&'a SessionUser, &'a SessionGuard),
        stream: Stream,
        mailbox: Arc<Mailbox>,
        inbox: Inbox,
    ) -> Self {
        let machine = Transaction::new(service.listener.bare_lf, Arc::clone(&subject.session));
        Self { shared, subject, whose, live, stream, machine, mailbox, inbox, sent: 0, received: 0 }
    }

    /// Returns the octets from the client, and to it.
    pub(super) fn octets(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    /// Runs until the session ends. `leftovers` is what the client sent after its login.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the connection for [`Conversation::finish`]. Nothing is deleted
    /// unless QUIT was being carried out.
    pub(super) async fn run(&mut self, leftovers: Vec<u8>) -> End {
        self.take(&leftovers);
        drop(leftovers);
        loop {
            let Err(end) = self.go_on().await else { continue };
            self.finish().await;
            return end;
        }
    }

    /// Ends the connection in order. In the middle of a message it is only cut, when this is
    /// dropped, so that the client does not take the message for complete.
    pub(super) async fn finish(&mut self) {
        if !self.machine.is_sending() {
            self.stream.end().await;
        }
    }

    /// Handles the next event.
    async fn go_on(&mut self) -> Result<(), End> {
        self.write().await?;
        match self.machine.poll_event() {
            None => self.read().await?,
            Some(MaildropEvent::List) => match self.list().await {
                Ok(()) => {
                    let maildrop = self.inbox.maildrop();
                    self.machine.listed(maildrop);
                }
                Err(unserved) => self.refuse(Unserved::Failed(unserved.into_failure())),
            },
            Some(MaildropEvent::Content { number }) => self.send(number).await?,
            Some(MaildropEvent::Update(numbers)) => {
                let left = self.delete(&numbers).await;
                self.machine.updated(left);
            }
            Some(MaildropEvent::Close) => return Err(End::Quit),
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), End> {
        let mut buffer = [0; READ_OCTETS];
        match timeout(self.shared.limits.pop3_idle, self.stream.read(&mut buffer)).await {
            Ok(Ok(0)) => Err(End::ClientEnded),
            Ok(Ok(read)) => {
                self.take(buffer.get(..read).unwrap_or_default());
                Ok(())
            }
            Ok(Err(_)) => Err(End::ClientBroke),
            Err(_) => Err(End::Idle),
        }
    }

    fn take(&mut self, input: &[u8]) {
        self.sent += input.len() as u64;
        self.machine.handle_input(input);
    }

    async fn write(&mut self) -> Result<(), End> {
        while let Some(output) = self.machine.poll_output() {
            match timeout(self.shared.limits.write_stall, self.stream.write(&output)).await {
                Ok(Ok(())) => {
                    self.received += output.len() as u64;
                    self.live.moved(self.sent, self.received);
                }
                Ok(Err(_)) => return Err(End::ClientBroke),
                Err(_) => return Err(End::Stalled),
            }
        }
        Ok(())
    }

    /// Completes the list. If it fails, what was fetched stays.
    async fn list(&mut self) -> Result<(), Unserved> {
        while let Some(page) = self.mailbox.list_more(&self.inbox).await? {
            self.inbox.add(page);
        }
        if self.inbox.is_cut() {
            let most = self.shared.limits.maildrop_messages;
            tracing::warn!(
                session = &*self.subject.session,
                listener = &*self.subject.listener,
                account = &*self.whose.account,
                "the Inbox has more messages than the {most} oldest, which are shown. Gatepost admin: raise `limits.maildrop_messages`, or have the client delete what it has fetched"
            );
        }
        Ok(())
    }

    async fn send(&mut self, number: u32) -> Result<(), End> {
        let mailbox = Arc::clone(&self.mailbox);
        let download = match self.inbox.id(number) {
            Some(id) => mailbox.message(id).await,
            None => Err(Unserved::Gone),
        };
        let mut download = match download {
            Ok(download) => download,
            Err(unserved) => {
                self.refuse(unserved);
                return Ok(());
            }
        };
        self.machine.begin_content();
        while self.machine.wants_content() {
            match download.content.next().await {
                Ok(None) => break,
                Ok(Some(octets)) => {
                    for piece in octets.chunks(PIECE) {
                        self.machine.content(piece);
                        self.write().await?;
                    }
                }
                Err(failure) => {
                    self.log(&failure);
                    return Err(End::MessageBroke);
                }
            }
        }
        let cut = !self.machine.wants_content();
        self.machine.end_content();
        self.write().await?;
        if cut {
            download.content.discard().await;
        }
        Ok(())
    }

    fn refuse(&mut self, unserved: Unserved) {
        let trouble = match unserved {
            Unserved::Gone => Trouble::Gone,
            Unserved::TokenRefused(failure) | Unserved::Failed(failure) => {
                self.log(&failure);
                match failure.refusal {
                    Refusal::ContactAdmin | Refusal::NotAuthorized | Refusal::InvalidCredentials => Trouble::Permanent,
                    Refusal::Unavailable | Refusal::Limit | Refusal::ServerBug => Trouble::Temporary,
                }
            }
        };
        self.machine.refuse(trouble);
    }

    fn log(&self, failure: &Failure) {
        self.shared.journal.degraded(Protocol::Pop3, self.subject, self.whose, failure);
    }

    /// Deletes messages. Returns how many remain that should have been deleted.
    async fn delete(&self, numbers: &[u32]) -> usize {
        let ids = numbers.iter().filter_map(|number| self.inbox.id(*number)).map(Box::from);
        let Deleted { left, failure } = self.mailbox.delete(ids).await;
        if let Some(failure) = failure {
            self.log(&failure);
        }
        tracing::info!(
            session = &*self.subject.session,
            listener = &*self.subject.listener,
            account = &*self.whose.account,
            deleted = numbers.len() - left,
            left,
            "messages were deleted, as the client wished"
        );
        left
    }
}
