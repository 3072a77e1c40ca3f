//! Dispatches each command to its code.

use std::process::ExitCode;

use clap::Parser as _;
use tracing::Level;

#[cfg(feature = "sandbox")]
use super::demo;
use super::exit::USAGE;
use super::options::{AccountCommand, Cli, Command, PasswordCommand, RunOptions, StateCommand};
use super::queue_options::QueueCommand;
use super::{account, cert, check, devices, doctor, import, login, logout, password, queue, reload, run, setup, state};
#[cfg(unix)]
use super::{sendmail, status};
use crate::system::process::hide_memory;
use gatepost_config::suggestion;
use gatepost_telemetry::stderr;

/// Parses the process's arguments, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    hide_memory();
    stderr::mark_panics();
    // Its flags are those of sendmail, and are no flags of ours.
    #[cfg(unix)]
    if let Some((name, arguments)) = sendmail::called(std::env::args_os()) {
        return ExitCode::from(sendmail::sendmail(&name, arguments));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && stderr::is_journal() => {
            stderr::write(Level::ERROR, &error.to_string());
            return ExitCode::from(USAGE);
        }
        Err(error) => error.exit(),
    };
    note_call(&cli);
    let serve = RunOptions { take_over: false, settings: cli.settings };
    let code = match cli.command.unwrap_or(Command::Run(serve)) {
        Command::Run(options) => run::run(options),
        Command::Reload { socket, settings } => reload::reload(socket, &settings),
        Command::Check { settings, json } => check::check(&settings, json),
        Command::Doctor(options) => doctor::doctor(options),
        #[cfg(feature = "sandbox")]
        Command::Demo { port_base } => demo::demo(port_base),
        Command::Login(options) => login::login(&options),
        Command::Logout(options) => logout::logout(&options),
        #[cfg(unix)]
        Command::Status(options) => status::status(&options),
        #[cfg(unix)]
        Command::Sendmail { arguments, .. } => sendmail::sendmail("sendmail", arguments),
        Command::Cert(options) => cert::cert(&options),
        Command::Import(options) => import::import(&options),
        Command::Setup(options) => setup::setup(*options),
        Command::Password(PasswordCommand::Add(options)) => password::add::add(&options),
        Command::Password(PasswordCommand::List(options)) => password::list::list(&options),
        Command::Password(PasswordCommand::Revoke(options)) => password::revoke::revoke(&options),
        Command::Password(PasswordCommand::Hash { generate }) => password::hash::hash(generate),
        Command::Devices(options) => devices::devices(&options),
        Command::Account(AccountCommand::Unlock(options)) => account::unlock(&options),
        Command::Queue(QueueCommand::List(options)) => queue::list(&options),
        Command::Queue(QueueCommand::Show(options)) => queue::show(&options),
        Command::Queue(QueueCommand::Retry(options)) => queue::retry(&options),
        Command::Queue(QueueCommand::Discard(options)) => queue::discard(&options),
        Command::Queue(QueueCommand::Export(options)) => queue::export(&options),
        Command::State(StateCommand::RotateKey(settings)) => state::rotate_key(&settings),
    };
    ExitCode::from(code)
}

/// Notes how the program was called, for the commands that messages suggest.
fn note_call(cli: &Cli) {
    let (settings, is_service) = match &cli.command {
        None => (Some(&cli.settings), true),
        Some(Command::Run(options)) => (Some(&options.settings), true),
        Some(command) => (command.settings(), false),
    };
    // One of `--set` could be a secret, although that is refused.
    let has_set = settings.is_some_and(|settings| !settings.set.is_empty());
    let arguments = if has_set { Vec::new() } else { std::env::args().skip(1).collect() };
    suggestion::called(settings.and_then(|settings| settings.config.as_deref()), arguments, is_service);
}
