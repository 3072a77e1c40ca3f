//! pop3

pub mod client_side;
pub mod upstream_side;
