//! A message under way: its state, and the delivery that sends it on.

use tokio::sync::SemaphorePermit;

use super::exchange::Exchange;
use super::header::HeaderGate;
use super::refused::{self, Refused};
use crate::session::submission::delivery::Admitted;
use gatepost_proto::mail::smtp::Envelope;

/// A message under way.
pub(super) struct Message<'a> {
    pub(super) admitted: Admitted,
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
    pub(super) fn give_up(&mut self, refused: impl Into<Refused>) {
        self.way = Delivery::Lost;
        self.refused = Some(refused.into());
    }
}
