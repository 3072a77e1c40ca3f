//! A message under way: its state, and the delivery that sends it on.

use tokio::sync::SemaphorePermit;

use super::collected::Collected;
use super::exchange::Exchange;
use super::header::HeaderGate;
use super::queued::Queued;
use super::refused::{self, Refused};
use crate::graph::{NotSent, Sent};
use crate::session::mail_refusal::MailRefusal;
use crate::session::submission::delivery::Admitted;
use gatepost_core::account::MailAddress;
use gatepost_core::failure::Failure;
use gatepost_proto::mail::smtp::transaction::{Mail, Recipient};
use gatepost_proto::mail::smtp::{Envelope, Reply, Stage};

/// A message under way.
pub(super) struct Message<'a> {
    pub(super) envelope: Envelope,
    pub(super) way: Delivery<'a>,
    pub(super) gate: Option<HeaderGate>,
    /// Octets received so far.
    pub(super) octets: u64,
    /// Why it will not be sent, if so.
    pub(super) refused: Option<Refused>,
}

/// How it is sent on.
pub(super) enum Delivery<'a> {
    /// The header decides which mailbox sends it. Until then it is not begun.
    Undecided { mail: Mail, recipients: Vec<Recipient> },
    /// It is sent on as it arrives.
    Smtp {
        admitted: Admitted,
        exchange: Box<Exchange>,
        /// The server awaits content.
        begun: bool,
    },
    /// It is collected.
    Graph { admitted: Admitted, collected: Box<Collected>, room: Option<SemaphorePermit<'a>> },
    /// It is written to the disk.
    Queue(Box<Queued<'a>>),
    /// The connection is lost.
    Lost,
}

/// What became of a message, for the client and for the log.
pub(super) struct Verdict {
    pub(super) reply: Reply,
    pub(super) failure: Option<Failure>,
    /// See [`Sent::remark`].
    pub(super) remark: String,
    /// See [`Sent::loss`].
    pub(super) loss: Option<Failure>,
}

impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        Self { reply, failure: None, remark: String::new(), loss: None }
    }
}

impl From<Refused> for Verdict {
    fn from(Refused { reply, failure }: Refused) -> Self {
        Self { failure: Some(failure), ..reply.into() }
    }
}

impl From<Sent> for Verdict {
    fn from(Sent { reply, remark, loss }: Sent) -> Self {
        Self { reply, failure: None, remark, loss }
    }
}

impl From<NotSent> for Verdict {
    fn from(NotSent { reply, failure, .. }: NotSent) -> Self {
        Self { failure: Some(failure), ..reply.into() }
    }
}

impl Message<'_> {
    /// Sends a piece of it on.
    pub(super) async fn carry(&mut self, piece: &[u8]) {
        match &mut self.way {
            Delivery::Smtp { exchange, .. } => match exchange.content(piece).await {
                Ok(()) => {}
                // The server refused it before the end, for example because it is too large.
                Err(Ok(reply)) => {
                    let refused = self.refused_by_exchange(Stage::Content, &reply, None);
                    self.give_up(refused);
                }
                Err(Err(error)) => self.give_up(refused::broke(&error)),
            },
            Delivery::Graph { collected, .. } => {
                if let Err(refused) = collected.write(piece).await {
                    self.give_up(refused);
                }
            }
            Delivery::Queue(queued) => {
                if let Err(refused) = queued.content(piece).await {
                    self.give_up(refused);
                }
            }
            Delivery::Undecided { .. } | Delivery::Lost => {}
        }
    }

    /// Returns the mailbox that sends it, once that is known.
    pub(super) fn mailbox(&self) -> Option<MailAddress> {
        match &self.way {
            Delivery::Smtp { admitted, .. } | Delivery::Graph { admitted, .. } => Some(admitted.bearer.user.clone()),
            Delivery::Queue(queued) => Some(queued.mailbox.clone()),
            Delivery::Undecided { .. } | Delivery::Lost => None,
        }
    }

    /// Gives the message up. What was already sent is discarded with the connection.
    pub(super) fn give_up(&mut self, refused: Refused) {
        self.way = Delivery::Lost;
        self.refused = Some(refused);
    }

    /// Returns the refusal of a command or of the message by Exchange Online.
    pub(super) fn refused_by_exchange(&self, stage: Stage, reply: &Reply, recipient: Option<&str>) -> Refused {
        let mailbox = self.mailbox();
        refused::by_exchange(MailRefusal {
            stage,
            reply,
            mailbox: mailbox.as_ref().map_or("", MailAddress::as_str),
            sender: self.envelope.sender.as_deref(),
            recipient,
        })
    }
}

/// The reply to a sender that Microsoft judges later.
pub(super) fn sender_ok() -> Reply {
    Reply::new(250, [1, 0], "Sender OK")
}

/// The reply to a recipient that Microsoft judges later.
pub(super) fn recipient_ok() -> Reply {
    Reply::new(250, [1, 5], "Recipient OK")
}

/// The reply that asks for the message.
pub(super) fn go_on() -> Reply {
    Reply::plain(354, "Send the message, and end it with a dot on a separate line")
}
