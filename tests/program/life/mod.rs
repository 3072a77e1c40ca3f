//! The life of the process: reloads, restarts that refuse nobody, drains, crashes, and what systemd
//! is told. Each test runs the real program in front of an embedded Microsoft 365. Those with large
//! numbers are for `tests/run`.

mod client;
mod crash;
mod inheritance;
mod journal;
mod load;
mod manager;
pub(crate) mod program;
mod reload;
mod renewal;
mod restart;
mod sendmail;
mod systemd;
