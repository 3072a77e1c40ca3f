//! Delivers the messages of the queue, at Microsoft's pace.
//!
//! `lanes` decides which message is tried next, with what `mailbox` knows of each. `courier` runs the
//! attempts: `news` finds what is new, `task` performs what the lanes give, and `ends` decides what
//! follows. `attempt` tries a message over the ways that sessions use, with the connections of
//! `spares`, and `outcome` says what that came to. `told` and `trouble` tell the log, and `reporting`
//! tells an administrator by mail, with a `report`.

mod attempt;
mod courier;
mod ends;
mod lanes;
mod mailbox;
mod news;
mod notes;
mod outcome;
mod report;
mod reporting;
mod spares;
mod task;
mod told;
mod trouble;

pub use attempt::Present;
pub use courier::deliver;
