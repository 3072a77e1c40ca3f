//! `gatepost queue`: the messages that wait in the queue, possibly beside a running service.

mod act;
mod context;
mod export;
mod list;
mod show;

pub use act::{discard, retry};
pub use export::export;
pub use list::list;
pub use show::show;
