//! POP3 (RFC 1939): up to the login from both sides, and the whole of a session for a maildrop that Gatepost serves itself.

pub mod capabilities;
pub mod client_side;
mod command;
mod content;
pub mod maildrop;
mod response;
pub mod transaction;
pub mod upstream_side;
