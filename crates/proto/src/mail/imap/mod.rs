//! IMAP (RFC 3501, RFC 9051) up to the login, from both sides.

pub mod capabilities;
pub mod client_side;
mod command;
mod response;
pub mod upstream_side;
