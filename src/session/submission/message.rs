//! A message under way: where it has got to, and what carries it.

use tokio::sync::SemaphorePermit;

use super::exchange::Exchange;
use super::header::HeaderGate;
use super::refused;
use crate::session::submission::delivery::Admitted;
use gatepost_proto::mail::smtp::{Envelope, Reply};

/// A message under way.
pub(super) struct Message<'a> {
    pub(super) admitted: Admitted,
    pub(super) envelope: Envelope,
    pub(super) way: Delivery<'a>,
    pub(super) gate: Option<HeaderGate>,
    /// So many octets have come in.
    pub(super) octets: u64,
    /// It will not go out, and this is why.
    pub(super) refused: Option<Reply>,
}

/// What carries it.
pub(super) enum Delivery<'a> {
    /// It goes out as it comes in.
    Smtp {
        exchange: Box<Exchange>,
        /// The server awaits content.
        begun: bool,
    },
    /// It is collected.
    Graph { collected: Vec<u8>, _room: Option<SemaphorePermit<'a>> },
    /// The connection is gone.
    Lost,
}

impl Message<'_> {
    /// Hands a piece of it on.
    pub(super) async fn carry(&mut self, piece: &[u8]) {
        match &mut self.way {
            Delivery::Smtp { exchange, .. } => match exchange.content(piece).await {
                Ok(()) => {}
                // It has told why before the end: a message too large, say.
                Err(Ok(reply)) => self.give_up(reply),
                Err(Err(error)) => self.give_up(refused::broke(&error)),
            },
            // The machine sees to its bound; what a header grows by is little.
            Delivery::Graph { collected, .. } => collected.extend_from_slice(piece),
            Delivery::Lost => {}
        }
    }

    /// It will not go out; whatever has gone of it goes with the connection.
    pub(super) fn give_up(&mut self, reply: Reply) {
        self.way = Delivery::Lost;
        self.refused = Some(reply);
    }
}
