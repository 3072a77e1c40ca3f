//! What leaves the process about its work: the log, and the audit log.

pub mod audit;
pub mod log;
mod rate;
