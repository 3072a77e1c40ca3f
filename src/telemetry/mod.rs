//! What leaves the process about its work: the log.

pub mod log;
mod rate;
