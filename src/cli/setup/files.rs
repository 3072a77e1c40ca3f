//! Writes files beside each other. One that is there is kept if it fits, and replaced only on demand.

use std::path::{Path, PathBuf};

use crate::cli::draft::target;
use gatepost_core::system_error::Plain;

/// A file that is wanted.
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) content: String,
    /// Another content that serves as well, if the file is there.
    pub(super) or: Option<String>,
    /// Contents that this one replaces, because an earlier run wrote them.
    pub(super) instead_of: Vec<String>,
}

impl Wanted {
    pub(super) fn new(directory: &Path, name: &str, content: String) -> Self {
        Self { path: directory.join(name), content, or: None, instead_of: Vec::new() }
    }
}

/// What is to be done with a file that is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Keep,
    Update,
    Replace,
}

/// Checks that no file is there with another content, unless it may be replaced. Returns whether all
/// are there as they are wanted.
///
/// # Errors
/// A sentence with the file.
pub(super) fn check(wanted: &[Wanted], replace: bool) -> Result<bool, String> {
    let steps: Vec<Step> = wanted.iter().map(|wanted| step(wanted, replace)).collect::<Result<_, _>>()?;
    Ok(steps.iter().all(|step| *step == Step::Keep))
}

/// Writes all files, or none if one is there with another content. Returns what was done, a line for
/// each.
///
/// # Errors
/// A sentence with the file.
pub(super) fn write(wanted: &[Wanted], replace: bool) -> Result<Vec<String>, String> {
    let steps: Vec<Step> = wanted.iter().map(|wanted| step(wanted, replace)).collect::<Result<_, _>>()?;
    let mut told = Vec::new();
    for (Wanted { path, content, .. }, step) in wanted.iter().zip(steps) {
        let word = match step {
            Step::Create => "created",
            Step::Keep => "kept",
            Step::Update => "updated",
            Step::Replace => "replaced",
        };
        if step != Step::Keep {
            target::write(path, content.as_bytes(), step != Step::Create)
                .map_err(|error| format!("`{}` cannot be written: {}", path.display(), Plain(&error)))?;
        }
        told.push(format!("{word}: `{}`", path.display()));
    }
    Ok(told)
}

fn step(Wanted { path, content, or, instead_of }: &Wanted, replace: bool) -> Result<Step, String> {
    let Some(there) = read(path)? else { return Ok(Step::Create) };
    Ok(match () {
        () if there == *content || Some(&there) == or.as_ref() => Step::Keep,
        () if instead_of.contains(&there) => Step::Update,
        () if replace => Step::Replace,
        () => {
            return Err(format!(
                "`{}` is there with another content, so it is not written. Move it away, name another `-c FILE`, or add \
                 `--replace`",
                path.display()
            ));
        }
    })
}

/// The content of a file; `None` if there is none.
///
/// # Errors
/// A sentence with the file.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // What is no text was not written here.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(format!("`{}` cannot be read: {}", path.display(), Plain(&error))),
    }
}
