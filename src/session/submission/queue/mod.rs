//! Delivers the messages of the queue, at Microsoft's pace.
//!
//! `lanes` decides which message is tried next. `attempt` tries it over the ways that sessions use,
//! and `outcome` says what follows. `courier` runs the attempts and keeps what became of them, with the
//! connections of `spares`. `told` and `trouble` tell the log, and `report` tells an
//! administrator by mail.

mod attempt;
mod courier;
mod lanes;
mod outcome;
mod report;
mod spares;
mod told;
mod trouble;

pub use attempt::Present;
pub use courier::deliver;
