//! Loads files, environment and command line into a checked [`Config`].
//!
//! Later layers win: the file, then `GATEPOST__LISTENERS__SMTP__BIND=…`, then
//! `--set listeners.smtp.bind=…`. Tables are merged, lists are replaced. The system is accessed
//! only through [`Environment`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::{Environment, PREFIX, Recording, System};
use super::files::Files;
use super::model::Config;
use super::problem::{Place, Problem, Problems};
use super::purpose::Purpose;
use super::raw::{self, Layer};
use super::reader::{Context, Document};
use super::{admin, check, render, user};
use gatepost_core::system_error::Plain;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "proxy.yaml";

/// Reads, merges and checks the configuration for the service.
///
/// `path` is the file of `-c`. Without it `proxy.yaml` is read, which may be absent if the
/// environment or `overrides` (key path and value of each `--set`) give something. `environment` is
/// the process's, usually [`std::env::vars_os`].
///
/// # Errors
/// Every mistake, with place and hint.
pub fn load(
    path: Option<&Path>,
    overrides: &[(String, String)],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, Problems> {
    load_tracked(path, overrides, environment).config
}

/// Like [`load`], for another purpose.
///
/// # Errors
/// Every mistake, with place and hint. A secret that cannot be read is one if the purpose needs it.
pub fn load_for(
    purpose: Purpose,
    path: Option<&Path>,
    overrides: &[(String, String)],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, Problems> {
    load_from(purpose, path, overrides, &System::new(environment))
}

/// Returns where the running service of a configuration may listen, the likeliest first. Nothing
/// else of the configuration is checked, and no secret is read.
///
/// # Errors
/// Every mistake in what says where it listens.
pub fn service_sockets(
    path: Option<&Path>,
    overrides: &[(String, String)],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<PathBuf>, Problems> {
    let system = System::new(environment);
    let text = read_file(path, overrides, &system)?;
    let (document, early) = merge(as_text(&text), overrides, &system.variables)?;
    let context = Context::new(&document, &system, Purpose::Store);
    let sockets = admin::service_sockets(&context.root()).unwrap_or_default();
    let (mut problems, ..) = context.finish();
    problems.extend(early);
    Problems::new(problems).map_or(Ok(sockets), Err)
}

/// A configuration, and the files that it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, or every mistake in it.
    pub config: Result<Config, Problems>,
    /// All files that were read for it, with fingerprints.
    pub files: Files,
}

/// Like [`load`], and also returns the files to watch.
pub fn load_tracked(
    path: Option<&Path>,
    overrides: &[(String, String)],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Loaded {
    let system = System::new(environment);
    let config = load_from(Purpose::Service, path, overrides, &system);
    Loaded { config, files: system.files.into_inner() }
}

fn load_from(
    purpose: Purpose,
    path: Option<&Path>,
    overrides: &[(String, String)],
    system: &System,
) -> Result<Config, Problems> {
    let text = read_file(path, overrides, system)?;
    load_text_for(purpose, as_text(&text), overrides, &system.variables, system)
}

fn as_text(file: &Option<(PathBuf, String)>) -> Option<(&Path, &str)> {
    file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()))
}

/// Reads the file; `None` when there need not be one.
fn read_file(
    path: Option<&Path>,
    overrides: &[(String, String)],
    system: &System,
) -> Result<Option<(PathBuf, String)>, Problems> {
    let file = match (path, Path::new(DEFAULT_FILE)) {
        (None, default) if !default.exists() && (!overrides.is_empty() || system.is_layer()) => None,
        (None, default) => Some(default),
        (Some(path), _) => Some(path),
    };
    file.map(|path| read_text(path, system).map(|text| (path.to_path_buf(), text))).transpose()
}

/// Like [`load`], from text that was already read. Only `outside` is used. For tests, fuzzing and
/// the embedded demonstration.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    file: Option<(&Path, &str)>,
    overrides: &[(String, String)],
    variables: &BTreeMap<String, String>,
    outside: &dyn Environment,
) -> Result<Config, Problems> {
    load_text_for(Purpose::Service, file, overrides, variables, outside)
}

/// Like [`load_text`], for another purpose.
///
/// # Errors
/// As [`load_for`].
pub fn load_text_for(
    purpose: Purpose,
    file: Option<(&Path, &str)>,
    overrides: &[(String, String)],
    variables: &BTreeMap<String, String>,
    outside: &dyn Environment,
) -> Result<Config, Problems> {
    let (document, early) = merge(file, overrides, variables)?;
    let recording = Recording::new(outside);
    let mut config = check::check(&document, &recording, purpose, early)?;
    (config.files, config.runs_commands) = recording.finish();
    config.files.extend(file.map(|(path, _)| path.to_path_buf()));
    Ok(config)
}

/// Merges all layers. Returns also the mistakes in those that are no file.
pub(super) fn merge(
    file: Option<(&Path, &str)>,
    overrides: &[(String, String)],
    variables: &BTreeMap<String, String>,
) -> Result<(Document, Vec<Problem>), Problems> {
    let mut early = Vec::new();
    let mut layers = Vec::new();
    let name = file.map(|(path, _)| path.display().to_string());
    if let Some((_, text)) = file {
        match Layer::from_yaml(text) {
            Ok(layer) => layers.push(layer),
            Err(error) => {
                return Err(Problem {
                    excerpt: render::excerpt_of_unread(text, &error.place),
                    file: name,
                    place: error.place,
                    key: String::new(),
                    reason: error.message,
                    hint: error.hint.into(),
                }
                .into());
            }
        }
    }
    layers.push(environment_layer(variables, &mut early));
    layers.push(flag_layer(overrides, &mut early));
    let merged =
        raw::merge(&layers).map_err(|error| whole(name.clone(), error.to_string(), "remove the last override"))?;
    let directory = file.and_then(|(path, _)| path.parent()).map(Path::to_path_buf).unwrap_or_default();
    Ok((Document { file: name.zip(file.map(|(_, text)| text.to_owned())), directory, merged }, early))
}

fn path_is_default(path: &Path) -> bool {
    path == Path::new(DEFAULT_FILE)
}

fn whole(file: Option<String>, reason: impl Into<String>, hint: impl Into<String>) -> Problems {
    Problem { file, place: Place::Nowhere, key: String::new(), reason: reason.into(), hint: hint.into(), excerpt: None }
        .into()
}

fn read_text(path: &Path, system: &System) -> Result<String, Problems> {
    let (name, default) = (Some(path.display().to_string()), path_is_default(path));
    let bytes = system.read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let other = if default { ", name another file with `-c`" } else { "" };
            whole(
                name.clone(),
                "there is no such file",
                format!("copy `proxy.example.yaml` to it and fill in your tenant{other}, or see `gatepost demo` first"),
            )
        }
        kind => whole(
            name.clone(),
            format!("the file cannot be read: {}", Plain(&error)),
            match kind {
                io::ErrorKind::FileTooLarge => "shorten it".to_owned(),
                _ => format!("make it readable for user {}", user::name(user::own())),
            },
        ),
    })?;
    let text = String::from_utf8(bytes);
    text.map_err(|_| whole(name, "the file is not UTF-8", "save it as UTF-8"))
}

fn environment_layer(variables: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let path = path.to_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        let place = Place::Environment(name.clone());
        if keys.iter().any(|key| key.is_empty()) || keys.len() > 8 {
            problems.push(layer_problem(
                place,
                "the name does not say which key is meant",
                "join the keys of the path by two underscores, as in `GATEPOST__LISTENERS__SMTP__BIND`",
            ));
        } else {
            layer.set(&keys, value, &place);
        }
    }
    layer
}

fn flag_layer(overrides: &[(String, String)], problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for (path, value) in overrides {
        let keys: Vec<&str> = path.split('.').collect();
        let place = Place::Flag(path.chars().filter(|c| !c.is_control()).take(200).collect());
        if keys.iter().any(|key| key.is_empty()) || keys.len() > 8 {
            problems.push(layer_problem(
                place,
                "the path does not say which key is meant",
                "join the keys by a dot, as in `--set listeners.smtp.bind=127.0.0.1:1587`",
            ));
        } else {
            layer.set(&keys, value, &place);
        }
    }
    layer
}

fn layer_problem(place: Place, reason: &str, hint: &str) -> Problem {
    Problem { file: None, place, key: String::new(), reason: reason.into(), hint: hint.into(), excerpt: None }
}
