//! The command: asks, recommends, writes, sets up Entra if it may, and says what is left to do.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use tracing::Level;

use super::answers::{self, Answers, PLACEHOLDER};
use super::configuration;
use super::dialogue::Dialogue;
use super::files::{self, Wanted};
use super::identity::Application;
use super::online::{self, NotRegistered};
use super::powershell::Ids;
use super::tenant::Tenant;
use super::{azure, identity, powershell, recommendation};
use crate::cli::doctor;
use crate::cli::exit::{CONFIGURATION, DONE, FAILED, USAGE};
use crate::cli::output::{complain, report, show};
use crate::cli::setup_options::{ClientTls, ScriptLanguage, SetupOptions, SignInBy};
use gatepost_config::load::DEFAULT_FILE;
use gatepost_config::{Purpose, suggestion};
use gatepost_core::account::is_guid;
use gatepost_core::secret::AccessToken;
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
    if options.renew_key && answers.sign_in != SignInBy::Nobody {
        return Err(usage(vec![
            "`--renew-key` and `--sign-in` contradict each other: the application has a key only with `--sign-in nobody`"
                .to_owned(),
        ]));
    }
    // Without a token, nothing is written.
    let token = command.as_deref().map(online::token).transpose().map_err(Stop::failed)?;
    let files = prepare(options, answers)?;
    match token {
        Some(token) => set_up(options, files, &token),
        None => {
            let scripts = scripts(&files);
            files::check(&scripts, options.replace).map_err(Stop::failed)?;
            renew(&files)?;
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
    /// The application's key and certificate, if it has them.
    application: Option<Application>,
}

impl Prepared {
    fn certificate(&self) -> Option<String> {
        self.application.as_ref().map(|application| application.certificate.clone())
    }
}

/// Writes the new key, if there is one to be written.
fn renew(files: &Prepared) -> Result<(), Stop> {
    let renewed = files.application.as_ref().and_then(|application| application.renewed.as_ref());
    renewed.map_or(Ok(()), |pair| pair.write().map(show).map_err(Stop::failed))
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
    let application = match answers.sign_in {
        SignInBy::Nobody => {
            let (application, told) =
                identity::application(&directory, &answers.name, options.renew_key).map_err(Stop::failed)?;
            show(told);
            Some(application)
        }
        SignInBy::Person | SignInBy::Password => None,
    };
    if answers.tls != ClientTls::None {
        show(identity::for_clients(&directory, &answers.hosts).map_err(Stop::failed)?);
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
    Ok(Prepared { answers, path, directory, application })
}

/// The configuration as it is wanted. An id that is in it already is taken over into the answers.
fn configuration(path: &Path, answers: &mut Answers, replace: bool) -> Result<Wanted, Stop> {
    let there = files::read(path).map_err(Stop::failed)?;
    let written_id = there.as_deref().and_then(|there| configuration::client_id_of(there, answers));
    if answers.client_id.is_none() {
        let others = || there.as_deref().and_then(|there| configuration::client_id_for(there, answers));
        let id = written_id.clone().filter(|id| id != PLACEHOLDER);
        answers.client_id = id.or_else(|| replace.then(others).flatten());
    }
    Ok(Wanted {
        path: path.to_path_buf(),
        content: configuration::text(answers),
        or: None,
        instead_of: written_id.filter(|id| id == PLACEHOLDER).and(there).into_iter().collect(),
    })
}

fn write(wanted: &[Wanted], options: &SetupOptions) -> Result<(), Stop> {
    for line in files::write(wanted, options.replace).map_err(Stop::failed)? {
        show(line);
    }
    Ok(())
}

/// The scripts for the tenant, and those that undo them, in the order in which they are run.
fn scripts(files: &Prepared) -> Vec<Wanted> {
    let Prepared { answers, path, directory, application } = files;
    let tenant = Tenant::new(answers, files.certificate());
    // The script that an earlier run wrote does not know the application yet, and finds it.
    let unknown = Tenant { client_id: None, ..tenant.clone() };
    // With a new key, the scripts of the old one have served.
    let before = application.as_ref().and_then(|application| application.before.clone());
    let outdated: Vec<Tenant> = before.map_or_else(Vec::new, |before| {
        [&tenant, &unknown].map(|tenant| Tenant { certificate: Some(before.clone()), ..tenant.clone() }).to_vec()
    });
    let script = |name: &str, write: &dyn Fn(&Tenant) -> String| Wanted {
        or: Some(write(&unknown)),
        instead_of: outdated.iter().map(write).collect(),
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

/// The scripts for Exchange alone. Those of an earlier run, with parameters or with other ids, are
/// brought up to date.
fn exchange_scripts(files: &Prepared, tenant: &Tenant, ids: Ids<'_>) -> Result<[Wanted; 2], Stop> {
    let script = |name: &str, write: &dyn Fn(Ids<'_>) -> String| {
        let wanted = Wanted::new(&files.directory, name, write(ids));
        let there = files::read(&wanted.path).map_err(Stop::failed)?.unwrap_or_default();
        Ok(Wanted { instead_of: vec![write(None), with_ids_of(&there, write)], ..wanted })
    };
    Ok([
        script(powershell::EXCHANGE_SETUP, &|ids| powershell::exchange_setup(tenant, ids))?,
        script(powershell::EXCHANGE_UNDO, &|ids| powershell::exchange_undo(tenant, ids))?,
    ])
}

/// What is written for the ids that stand in a text at their places. All ids are equally long.
fn with_ids_of(there: &str, write: &dyn Fn(Ids<'_>) -> String) -> String {
    const MARKS: [&str; 2] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
    let marked = write(Some((MARKS[0], MARKS[1])));
    let [client_id, object_id] = MARKS.map(|mark| {
        let found = marked.find(mark).and_then(|place| there.get(place..place + mark.len()));
        found.filter(|id| is_guid(id)).unwrap_or(mark)
    });
    write(Some((client_id, object_id)))
}

/// Sets up Entra from here, and writes what Exchange still needs. Once that has been there, the whole
/// way is examined.
fn set_up(options: &SetupOptions, mut files: Prepared, token: &AccessToken) -> Result<u8, Stop> {
    let tenant = Tenant::new(&files.answers, files.certificate());
    files::check(&exchange_scripts(&files, &tenant, None)?, options.replace).map_err(Stop::failed)?;
    let registered = match online::set_up(options, &files.answers, &tenant, token) {
        Ok(registered) => registered,
        Err(NotRegistered::Configuration(problems)) => return Ok(report(&problems)),
        Err(NotRegistered::Failed(why)) => return Err(Stop::failed(why)),
    };
    renew(&files)?;
    files.answers.client_id = Some(registered.client_id.clone());
    write(&[configuration(&files.path, &mut files.answers, options.replace)?], options)?;
    let ids = Some((registered.client_id.as_str(), registered.object_id.as_str()));
    let scripts = exchange_scripts(&files, &tenant, ids)?;
    let were_there = files::check(&scripts, options.replace).map_err(Stop::failed)?;
    write(&scripts, options)?;
    let mut lacks_passwords = false;
    if files.answers.sign_in == SignInBy::Nobody {
        // What is not shown on a terminal may be kept in a log.
        lacks_passwords = !io::stdout().is_terminal();
        if !lacks_passwords {
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
    }
    show("\nEntra is set up.");
    told_next(&files, scripts.first(), lacks_passwords);
    if !options.settings.set.is_empty() {
        show("- values of `--set` hold for this command only. Add them to the configuration");
    }
    if !were_there {
        return Ok(DONE);
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
