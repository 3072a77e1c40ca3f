//! SMTP submission (RFC 6409): both sides until the login, and the mail transactions that Gatepost
//! handles itself.

mod barred;
pub mod capabilities;
pub mod client_side;
mod command;
pub mod content;
pub mod envelope;
pub mod forward;
mod path;
pub mod refusal;
pub mod reply;
mod response;
pub mod submission;
mod tracker;
pub mod transaction;
pub mod upstream_side;

pub use barred::SmtpBar;
pub use envelope::Envelope;
pub use refusal::{RefusedCommand, Stage};
pub use reply::Reply;
pub use tracker::TransactionTracker;
