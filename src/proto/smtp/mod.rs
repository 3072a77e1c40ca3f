//! smtp

pub mod client_side;
pub mod upstream_side;
