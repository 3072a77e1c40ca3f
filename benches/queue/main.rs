//! What the queue costs: messages per second that it accepts and delivers, CPU per message, memory
//! per waiting message.
//!
//! `cargo bench --bench queue` starts the release build of Gatepost in a process of its own on one
//! CPU; devices and the embedded Microsoft 365 are in this process, on the other CPUs. The queue is
//! in the directory for temporary files, or in `GATEPOST_BENCH_DIRECTORY`: each accepted message is
//! synced to that disk, which decides most of what a single device sees.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures real time, and ends at a panic")]

#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
#[path = "../shared/directory.rs"]
mod directory;
#[cfg(target_os = "linux")]
#[path = "../proxy/machine.rs"]
mod machine;
#[cfg(target_os = "linux")]
#[path = "../proxy/process.rs"]
#[allow(dead_code, reason = "the other benchmark uses all of it")]
mod process;
#[cfg(target_os = "linux")]
mod run;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this benchmark reads `/proc` and needs Linux");
}
