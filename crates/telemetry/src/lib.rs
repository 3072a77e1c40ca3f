//! What people and machines are told about what happens: the log, the audit log, metrics, and what the status page shows.

pub mod audit;
pub mod history;
pub mod log;
pub mod metrics;
mod rate;
pub mod recent;
