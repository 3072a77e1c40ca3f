//! What Gatepost costs: CPU per login, per GiB and per round trip, memory per session, a thousand
//! logins at once, start.
//!
//! `cargo bench --bench proxy` starts the release build of Gatepost, and each installed peer, in a
//! process of its own on one CPU; the load generator, the mailbox and the token endpoint are in
//! this process, on the other CPUs. CPU time and memory come from `/proc`. Everything stays on the
//! loopback of a network namespace of its own, where the system permits one.
//! `benches/install-peers` installs the peers; one that is missing is left out of the tables, with
//! a note.
//!
//! `-- --quick` gives a rough answer soon; `-- --only NAME` (more than once, if need be) picks
//! measurements and targets; `-- --help` shows the rest.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures real time, and ends at a panic")]

#[cfg(target_os = "linux")]
mod backend;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
#[path = "../shared/directory.rs"]
mod directory;
#[cfg(target_os = "linux")]
mod entra;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod pki;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod target;
#[cfg(target_os = "linux")]
#[path = "../shared/times.rs"]
mod times;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this benchmark reads `/proc` and needs Linux");
}
