//! What hours and crowds do to Gatepost: each scenario has a rule that can fail.
//!
//! `cargo bench --bench endurance -- SCENARIO [--quick]` starts the release build of Gatepost in a
//! process of its own on one CPU. Clients, mailbox and token endpoint are in this process, on the
//! other CPUs, within a network namespace where the system permits one. It prints one row of the
//! table that `tests/endurance/run` makes of all scenarios, and ends with 1 if the rule is broken.
//!
//! `GATEPOST_ENDURANCE_PROGRAM` names another binary to test.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures real time, and ends at a panic")]

#[cfg(target_os = "linux")]
#[path = "../proxy/backend.rs"]
mod backend;
#[cfg(target_os = "linux")]
#[path = "../proxy/client.rs"]
#[allow(dead_code, reason = "the other benchmark uses all of it")]
mod client;
#[cfg(target_os = "linux")]
#[path = "../shared/directory.rs"]
mod directory;
#[cfg(target_os = "linux")]
#[path = "../proxy/entra.rs"]
mod entra;
#[cfg(target_os = "linux")]
mod entra_away;
#[cfg(target_os = "linux")]
mod gap;
#[cfg(target_os = "linux")]
mod idle;
#[cfg(target_os = "linux")]
#[path = "../proxy/machine.rs"]
mod machine;
#[cfg(target_os = "linux")]
#[path = "../proxy/pki.rs"]
#[allow(dead_code, reason = "the other benchmark uses all of it")]
mod pki;
#[cfg(target_os = "linux")]
#[path = "../proxy/process.rs"]
mod process;
#[cfg(target_os = "linux")]
mod return_after_outage;
#[cfg(target_os = "linux")]
mod row;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod slow_clients;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
#[path = "../shared/times.rs"]
mod times;
#[cfg(target_os = "linux")]
#[path = "../proxy/wire.rs"]
mod wire;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this benchmark reads `/proc` and needs Linux");
}
