//! The queue: messages that were accepted for a mailbox and wait for their delivery.
//!
//! A directory holds the index (`index.sqlite`), one sealed file a message (`messages/`), and the
//! lock of the one process that delivers (`courier.lock`). Service and command line use it at the
//! same time, as they do the store.
//!
//! [`MessageWriter::commit`] returns when the file, its name and its row in the index are on the
//! disk. A message is handed over at most once by itself: [`Courier::hand_over`] is durable before
//! the step that cannot be taken back, and a message that a crash left behind it is
//! [`State::Looking`], never [`State::Waiting`].
//!
//! Without the state key the directory shows only how many messages there are, how long they are,
//! and when they came.

mod courier;
mod error;
mod index;
mod key;
mod layout;
mod message;
mod points;
mod shared;
mod spool;
mod writer;

pub use courier::Courier;
pub use error::QueueError;
pub use message::{
    Acted, Entry, NewMessage, Note, Outcome, Pending, QueueId, Recipient, Refused, Seen, State, Total, Totals,
};
#[cfg(any(test, feature = "testing"))]
pub use points::{Faults, Point};
pub(super) use spool::follow_key;
pub use spool::{Queue, Revision};
pub use writer::{MessageWriter, Reservation};

#[cfg(test)]
mod tests;
