//! The command: reads, plans, checks, tells and writes.

use std::io;
use std::path::{Path, absolute};

use tracing::Level;

use super::answers::Answers;
use super::mistake::Mistake;
use super::{davmail, email_oauth2_proxy, genesys, report, smtp_oauth_relay, source};
use crate::cli::draft::plan::Plan;
use crate::cli::draft::{remarks, target, verify, yaml};
use crate::cli::exit::{CONFIGURATION, DONE};
use crate::cli::options::{ImportFormat, ImportOptions};
use crate::cli::output::{complain, failed, result};
use gatepost_core::system_error::Plain;
use gatepost_telemetry::stderr;

/// Turns the configuration of another proxy into one of Gatepost. The result goes to standard
/// output or to a file, and what is left to do to standard error. Returns the exit code.
pub fn import(options: &ImportOptions) -> u8 {
    let shown = options.file.display();
    if let Some(path) = options.output.as_deref().filter(|path| !options.force && path.exists()) {
        return failed(not_written(path, &io::ErrorKind::AlreadyExists.into()));
    }
    let answers = Answers::new(options);
    let (format, mut plan) = match read(options, &answers) {
        Ok(read) => read,
        Err(Mistake { line: Some(line), reason, remedy }) => {
            return failed(format_args!("{shown}:{line}: {reason}. {remedy}."));
        }
        Err(Mistake { line: None, reason, remedy }) => return failed(format_args!("{shown}: {reason}. {remedy}.")),
    };
    let directory = options.write_secrets.as_deref().map(|path| absolute(path).unwrap_or_else(|_| path.to_path_buf()));
    let directory = directory.as_deref();
    report::place_secrets(&mut plan, directory);
    let text = yaml::write(&plan, &head(options, format), directory);
    let target = options.output.as_deref().unwrap_or(Path::new("proxy.yaml"));
    let target = absolute(target).unwrap_or_else(|_| target.to_path_buf());
    // What is missing is known already, and each mistake would be a consequence of it.
    let refused =
        if plan.is_incomplete() { None } else { verify::verify(&text, &target, &plan.secrets, directory).err() };
    let is_right = refused.is_none() && !plan.is_incomplete();
    if !is_right && !options.incomplete {
        tell(&plan);
        if let Some(problems) = &refused {
            complain(problems);
        }
        complain(
            "gatepost: nothing is written, because `gatepost check` would refuse it. To write it all the same, add `--incomplete`.",
        );
        return CONFIGURATION;
    }
    if let Err(why) = write_secrets(&plan, directory, options.force) {
        return failed(why);
    }
    let code = match &options.output {
        None => result(&text),
        Some(path) => match target::write(path, text.as_bytes(), options.force) {
            Ok(()) => DONE,
            Err(error) => failed(not_written(path, &error)),
        },
    };
    if code != DONE {
        return code;
    }
    tell(&plan);
    if let Some(problems) = &refused {
        complain(problems);
    }
    let (listeners, accounts) = (plan.listeners.len(), plan.accounts.len() + plan.provider_accounts.len());
    say(&format!("imported from {}: {listeners} in `listeners`, {accounts} in `accounts`\n", format.program()));
    if !is_right {
        complain("gatepost: it is written, but `gatepost check` refuses it. Do what is missing.");
        return CONFIGURATION;
    }
    if let Some(path) = &options.output {
        let path = path.display();
        say(&format!("if the service runs as another user, give it the file: `chown gatepost: {path}`\n"));
    }
    let config = answers.config();
    say(&format!("next: `gatepost check {config}`, then `gatepost doctor {config}`\n"));
    DONE
}

fn read(options: &ImportOptions, answers: &Answers<'_>) -> Result<(ImportFormat, Plan), Mistake> {
    let text = source::read(&options.file)?;
    let format = options.format.map_or_else(|| source::detect(&text), Ok)?;
    let plan = match format {
        ImportFormat::EmailOauth2Proxy => email_oauth2_proxy::plan(&text, answers),
        ImportFormat::DavMail => davmail::plan(&text, answers),
        ImportFormat::Genesys => genesys::plan(&text, answers),
        ImportFormat::SmtpOauthRelay => smtp_oauth_relay::plan(&text, answers),
    }?;
    Ok((format, plan))
}

/// The comment at the beginning of the result.
fn head(options: &ImportOptions, format: ImportFormat) -> String {
    let name = options.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    format!(
        "Created by `gatepost import` from {name} of {}.\nproxy.example.yaml has every key with its default.",
        format.program()
    )
}

fn write_secrets(plan: &Plan, directory: Option<&Path>, replace: bool) -> Result<(), String> {
    let Some(directory) = directory else { return Ok(()) };
    // Looked at before anything is written, so that the same command can be given again.
    let mut files = plan.secrets.iter().filter(|secret| secret.value.is_some()).map(|secret| secret.path(directory));
    if !replace && let Some(path) = files.find(|path| path.exists()) {
        return Err(not_written(&path, &io::ErrorKind::AlreadyExists.into()));
    }
    target::directory(directory)
        .map_err(|error| format!("the directory `{}` cannot be created: {}", directory.display(), Plain(&error)))?;
    for secret in plan.secrets.iter() {
        if let Some(value) = &secret.value {
            let path = secret.path(directory);
            target::write(&path, value.as_bytes(), replace).map_err(|error| not_written(&path, &error))?;
        }
    }
    Ok(())
}

fn not_written(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("`{}` exists already. Name another file, or replace it with `--force`.", path.display())
        }
        _ => format!("`{}` cannot be written: {}.", path.display(), Plain(error)),
    }
}

fn tell(plan: &Plan) {
    say(&remarks::remarks(plan));
}

/// Tells something that is no fault.
fn say(text: &str) {
    stderr::write(Level::INFO, text);
}
