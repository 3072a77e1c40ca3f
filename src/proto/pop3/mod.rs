//! pop3

pub mod client_side;
mod response;
pub mod upstream_side;
