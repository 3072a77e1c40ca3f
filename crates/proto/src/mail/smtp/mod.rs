//! SMTP submission (RFC 6409): from both sides up to the login, and the mail transactions that Gatepost takes itself.

pub mod capabilities;
pub mod client_side;
mod command;
pub mod content;
pub mod envelope;
pub mod forward;
mod path;
pub mod reply;
mod response;
pub mod submission;
pub mod transaction;
pub mod upstream_side;

pub use envelope::Envelope;
pub use reply::Reply;
