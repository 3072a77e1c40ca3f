//! A message under way: its state, and the delivery that sends it on.

use tokio::sync::SemaphorePermit;

use super::exchange::Exchange;
use super::header::HeaderGate;
use super::refused;
use crate::graph::{NotSent, Sent};
use crate::session::submission::delivery::Admitted;
use gatepost_core::failure::Failure;
use gatepost_proto::mail::smtp::{Envelope, Reply};

/// A message under way.
pub(super) struct Message<'a> {
    pub(super) admitted: Admitted,
    pub(super) envelope: Envelope,
    pub(super) way: Delivery<'a>,
    pub(super) gate: Option<HeaderGate>,
    /// Octets received so far.
    pub(super) octets: u64,
    /// Why it will not be sent, if so.
    pub(super) refused: Option<Reply>,
}

/// How it is sent on.
pub(super) enum Delivery<'a> {
    /// It is sent on as it arrives.
    Smtp {
        exchange: Box<Exchange>,
        /// The server awaits content.
        begun: bool,
    },
    /// It is collected in memory.
    Graph { collected: Vec<u8>, _room: Option<SemaphorePermit<'a>> },
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
                Err(Ok(reply)) => self.give_up(reply),
                Err(Err(error)) => self.give_up(refused::broke(&error)),
            },
            // The machine enforces the size limit. A changed header adds little to it.
            Delivery::Graph { collected, .. } => collected.extend_from_slice(piece),
            Delivery::Lost => {}
        }
    }

    /// Gives the message up. What was already sent is discarded with the connection.
    pub(super) fn give_up(&mut self, reply: Reply) {
        self.way = Delivery::Lost;
        self.refused = Some(reply);
    }
}
