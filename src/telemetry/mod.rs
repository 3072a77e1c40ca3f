//! What people and machines are told about what happens.

pub mod history;
pub mod log;
pub mod metrics;
mod rate;
pub mod recent;
