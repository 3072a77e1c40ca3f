//! This test program as a second process, for what changes the process that it happens in: its
//! environment, limits, namespaces, confinement, and its end.

use std::process::Command;

/// The test's name as the test program lists it; `module` is `module_path!()`.
pub(crate) fn name(module: &str, test: &str) -> String {
    // The first part is the name of the binary.
    let (_, within) = module.split_once("::").unwrap_or_else(|| panic!("{module} is not below a binary"));
    format!("{within}::{test}")
}

/// This program, about to run one test, whether it is ignored or not, with all that it prints.
pub(crate) fn again(module: &str, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name(module, test), "--include-ignored", "--nocapture", "--test-threads=1"]);
    command
}
