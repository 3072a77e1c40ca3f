//! POP3 (RFC 1939): both sides until the login, and whole sessions for a maildrop that Gatepost
//! serves itself.

pub mod capabilities;
pub mod client_side;
mod command;
mod content;
pub mod maildrop;
mod response;
pub mod transaction;
pub mod upstream_side;
