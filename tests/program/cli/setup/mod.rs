//! `gatepost setup`: the files that answers become, what it says about answers that do not fit, and
//! that it overwrites nothing.

use std::path::Path;

use super::{Directory, code, stderr, stdout};

mod files;
#[cfg(feature = "sandbox")]
mod online;
mod refused;

/// An application's id.
const CLIENT_ID: &str = "0f1e2d3c-4b5a-4968-8776-655443322110";

const PLACEHOLDER: &str = "00000000-0000-0000-0000-000000000000";

/// The folder of a case: answers, and what they become.
fn folder(case: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/cli/setup").join(case)
}

/// A directory with the answers of a case.
fn with_answers(case: &str) -> Directory {
    let directory = Directory::new();
    directory.write("answers.yaml", &std::fs::read_to_string(folder(case).join("answers.yaml")).unwrap());
    directory
}

fn read(directory: &Directory, name: &str) -> String {
    std::fs::read_to_string(directory.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(directory: &Directory) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory.file("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
