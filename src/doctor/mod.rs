//! `gatepost doctor`: walks the way of a client for each account and listener, and says what would
//! fail, why, and what to do.
//!
//! [`Facts`] are what is examined: the running service, or a configuration without one. [`examine`]
//! walks through all sections and stops nowhere. It uses the service's own parts, so that the words
//! of a failure are those of a client's login. It tells an [`Event`] for each [`Step`]. `compare`
//! adds what only the comparison of several mailboxes and protocols shows. `render` shows the steps
//! to people. [`at_start()`] says which accounts would fail at once.

mod accounts;
mod at_start;
mod clients;
mod compare;
mod configuration;
mod destinations;
mod entra;
mod facts;
mod from_address;
mod host;
mod in_order;
mod listeners;
mod mailboxes;
mod network;
mod order;
mod permissions;
#[cfg(unix)]
mod programs;
mod render;
mod report;
mod slots;
mod step;
mod walk;

pub(crate) use at_start::at_start;
pub(crate) use facts::Facts;
pub(crate) use order::{Order, Recipient};
pub(crate) use render::{Block, closing, heading};
pub(crate) use slots::Slots;
pub(crate) use step::{Event, Outcome, Section, Step, Summary};
pub(crate) use walk::examine;
