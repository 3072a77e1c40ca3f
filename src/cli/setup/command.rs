//! The command: asks, recommends, writes, sets up Entra if it may, and says what is left to do.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use tracing::Level;

use super::answers::{self, Answers, PLACEHOLDER};
use super::configuration;
use super::dialogue::Dialogue;
use super::files::{self, Wanted};
use super::online::{self, NotRegistered};
use super::tenant::Tenant;
use super::{azure, identity, powershell, recommendation};
use crate::cli::doctor;
use crate::cli::exit::{CONFIGURATION, DONE, FAILED, USAGE};
use crate::cli::output::{complain, report, show};
use crate::cli::setup_options::{ClientTls, ScriptLanguage, SetupOptions, SignInBy};
use gatepost_config::load::DEFAULT_FILE;
use gatepost_config::{Purpose, suggestion};
use gatepost_core::system_error::Plain;
use gatepost_telemetry::stderr;

/// Why the command ends early: the exit code, and what is told.
struct Stop(u8, Vec<String>);

impl Stop {
    fn failed(why: String) -> Self {
        Self(FAILED, vec![why])
    }
}

/// Sets up this machine, and writes the script for the tenant. Returns the exit code.
pub fn setup(options: SetupOptions) -> u8 {
    match run(&options) {
        Ok(code) => code,
        Err(Stop(code, lines)) => {
            for line in lines {
                complain(format_args!("gatepost: {line}"));
            }
            code
        }
    }
}

fn run(options: &SetupOptions) -> Result<u8, Stop> {
    let usage = |lines| Stop(USAGE, lines);
    let given =
        answers::with_file(options.given.clone(), options.answers.as_deref()).map_err(|why| usage(vec![why]))?;
    let command = options.graph_token.as_deref().map(online::command).transpose().map_err(|why| usage(vec![why]))?;
    if command.is_some() && given.script == Some(ScriptLanguage::Az) {
        return Err(usage(vec![
            "`--graph-token` and `--script az` contradict each other: both set up Entra. Remove one of them".to_owned(),
        ]));
    }
    let answers = if io::stdin().is_terminal() {
        let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
        answers::complete(given, Some(&mut Dialogue::new(&mut input, &mut output)))
    } else {
        answers::complete(given, None)
    }
    .map_err(usage)?;
    for line in recommendation::told(&answers) {
        show(line);
    }
    let files = prepare(options, answers)?;
    match command {
        Some(command) => set_up(options, files, &command),
        None => {
            let scripts = scripts(&files);
            write(&scripts, options)?;
            told_next(&files, scripts.first(), true);
            Ok(DONE)
        }
    }
}

/// What is on this machine now.
struct Prepared {
    answers: Answers,
    /// The configuration.
    path: PathBuf,
    directory: PathBuf,
    /// The application's certificate in base64.
    certificate: Option<String>,
}

/// Creates key, certificates and configuration.
fn prepare(options: &SetupOptions, mut answers: Answers) -> Result<Prepared, Stop> {
    let path = options.settings.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
    if !directory.as_os_str().is_empty() {
        std::fs::create_dir_all(&directory)
            .map_err(|error| Stop::failed(format!("`{}` cannot be created: {}", directory.display(), Plain(&error))))?;
    }
    let configuration = configuration(&path, &mut answers, options.replace)?;
    files::check(std::slice::from_ref(&configuration), options.replace).map_err(Stop::failed)?;
    let certificate = match answers.sign_in {
        SignInBy::Nobody => {
            let (certificate, told) =
                identity::application(&directory, &answers.name, options.replace).map_err(Stop::failed)?;
            show(told);
            Some(certificate)
        }
        SignInBy::Person | SignInBy::Password => None,
    };
    if answers.tls != ClientTls::None {
        show(identity::for_clients(&directory, &answers.hosts, options.replace).map_err(Stop::failed)?);
    }
    let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    if let Err(problems) = configuration::check(&answers, &absolute) {
        complain(problems);
        return Err(Stop(
            CONFIGURATION,
            vec!["the configuration would not be accepted, so it is not written".to_owned()],
        ));
    }
    write(&[configuration], options)?;
    Ok(Prepared { answers, path, directory, certificate })
}

/// The configuration as it is wanted. An id that is in it already is taken over into the answers, unless
/// everything is made again.
fn configuration(path: &Path, answers: &mut Answers, replace: bool) -> Result<Wanted, Stop> {
    let there = files::read(path).map_err(Stop::failed)?;
    let written_id = there.as_deref().and_then(|there| configuration::client_id_of(there, answers));
    if answers.client_id.is_none() && !replace {
        answers.client_id = written_id.clone().filter(|id| id != PLACEHOLDER);
    }
    Ok(Wanted {
        path: path.to_path_buf(),
        content: configuration::text(answers),
        or: None,
        instead_of: written_id.filter(|id| id == PLACEHOLDER).and(there),
    })
}

fn write(wanted: &[Wanted], options: &SetupOptions) -> Result<(), Stop> {
    for line in files::write(wanted, options.replace).map_err(Stop::failed)? {
        show(line);
    }
    Ok(())
}

/// The scripts for the tenant, and those that undo them, in the order in which they are run.
fn scripts(Prepared { answers, path, directory, certificate }: &Prepared) -> Vec<Wanted> {
    let tenant = Tenant::new(answers, certificate.clone());
    // The script that an earlier run wrote does not know the application yet, and finds it.
    let unknown = Tenant { client_id: None, ..tenant.clone() };
    let script = |name: &str, write: &dyn Fn(&Tenant) -> String| Wanted {
        or: Some(write(&unknown)),
        ..Wanted::new(directory, name, write(&tenant))
    };
    let configuration = file_name(path);
    match answers.script.unwrap_or(ScriptLanguage::Powershell) {
        ScriptLanguage::Powershell => vec![
            script(powershell::SETUP, &|tenant| powershell::setup(tenant, &configuration)),
            script(powershell::UNDO, &powershell::undo),
            script(powershell::EXCHANGE_SETUP, &|tenant| powershell::exchange_setup(tenant, None)),
            script(powershell::EXCHANGE_UNDO, &|tenant| powershell::exchange_undo(tenant, None)),
        ],
        ScriptLanguage::Az => vec![
            script(azure::SETUP, &|tenant| azure::setup(tenant, &configuration)),
            script(azure::UNDO, &azure::undo),
            script(powershell::EXCHANGE_SETUP, &|tenant| powershell::exchange_setup(tenant, None)),
            script(powershell::EXCHANGE_UNDO, &|tenant| powershell::exchange_undo(tenant, None)),
        ],
    }
}

/// Sets up Entra from here, writes what Exchange still needs, and examines the whole way.
fn set_up(options: &SetupOptions, mut files: Prepared, command: &[String]) -> Result<u8, Stop> {
    let tenant = Tenant::new(&files.answers, files.certificate.clone());
    let registered = match online::set_up(options, &files.answers, &tenant, command) {
        Ok(registered) => registered,
        Err(NotRegistered::Configuration(problems)) => return Ok(report(&problems)),
        Err(NotRegistered::Failed(why)) => return Err(Stop::failed(why)),
    };
    let ids = Some((registered.client_id.as_str(), registered.object_id.as_str()));
    files.answers.client_id = Some(registered.client_id.clone());
    let scripts = [
        Wanted::new(&files.directory, powershell::EXCHANGE_SETUP, powershell::exchange_setup(&tenant, ids)),
        Wanted::new(&files.directory, powershell::EXCHANGE_UNDO, powershell::exchange_undo(&tenant, ids)),
    ];
    write(&[configuration(&files.path, &mut files.answers, options.replace)?], options)?;
    write(&scripts, options)?;
    let mut lacks_passwords = false;
    if files.answers.sign_in == SignInBy::Nobody {
        match options.settings.load(Purpose::Store, std::env::vars_os()) {
            Ok(config) => {
                if let Err(why) = online::first_passwords(config, &files.answers) {
                    show(format_args!("No device password was created: {why}"));
                    lacks_passwords = true;
                }
            }
            Err(problems) => return Ok(report(&problems)),
        }
    }
    show("\nEntra is set up.");
    told_next(&files, scripts.first(), lacks_passwords);
    if !options.settings.set.is_empty() {
        show("- values of `--set` hold for this command only. Add them to the configuration");
    }
    show("");
    Ok(doctor::examine_alone(options.settings.clone()))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| DEFAULT_FILE.to_owned())
}

/// Says what is left to do. `script` is the first that an administrator of the tenant has to run.
fn told_next(Prepared { answers, path: configuration, .. }: &Prepared, script: Option<&Wanted>, with_passwords: bool) {
    let remarks = configuration::remarks(answers);
    if !remarks.is_empty() {
        stderr::write(Level::INFO, &remarks);
    }
    show("\nNext:");
    if let Some(Wanted { path, .. }) = script {
        let quoted = suggestion::quoted(&path.display().to_string());
        let is_bash = path.extension().is_some_and(|extension| extension == "sh");
        let shell = if is_bash { "bash" } else { "pwsh" };
        show(format_args!("- run the script as an administrator of the tenant: {shell} {quoted}"));
        if answers.client_id.is_none() {
            let file = suggestion::quoted(&configuration.display().to_string());
            show("- if it runs on another machine, this puts the ID that it prints into the configuration:");
            show(format_args!("  gatepost setup {} -c {file} --client-id=ID", answers.flags()));
        }
    }
    for mailbox in answers.mailboxes.iter().map(|mailbox| suggestion::quoted(&mailbox.to_string())) {
        match answers.sign_in {
            SignInBy::Nobody if with_passwords => {
                let command = suggestion::command(&format!("gatepost password add {mailbox} --name mail-client"));
                show(format_args!("- create a password for each of its clients: {command}"));
            }
            SignInBy::Person => {
                let command = suggestion::command(&format!("gatepost login {mailbox}"));
                show(format_args!("- let the person sign in: {command}"));
            }
            SignInBy::Nobody | SignInBy::Password => {}
        }
    }
    if answers.sign_in == SignInBy::Password {
        show(
            "- let no policy ask these accounts for MFA: exclude them by Conditional Access, and allow them from the address of \
             Gatepost only",
        );
    }
    if cfg!(unix) {
        show(
            "- if the service runs as another user, give it the configuration, key and certificates: chown gatepost: FILE",
        );
    }
    show(format_args!("- test the whole way: {}", suggestion::command("gatepost doctor")));
    show("  Exchange may need up to two hours before it sees a new right.");
}
