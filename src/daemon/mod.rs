//! The running service: its listeners, its configurations one after the other, and its end.
//! [`Control`] is the handle on it.

pub(crate) mod certificates;
pub mod control;
pub(crate) mod deliveries;
pub(crate) mod devices;
pub(crate) mod drain;
mod error;
pub(crate) mod generation;
#[cfg(unix)]
mod handover;
pub mod inherited;
pub(crate) mod listeners;
pub mod phase;
mod reload;
pub mod renewal;
pub(crate) mod running;
#[cfg(unix)]
pub(crate) mod sendmail;
pub mod supervision;
#[cfg(unix)]
pub mod take_over;
pub(crate) mod watch_files;

pub use control::Control;
pub use error::StartError;
pub use inherited::Inherited;
pub use running::{Source, Stop};
