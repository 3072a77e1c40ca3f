//! The command line: turns arguments into calls, and results into exit codes.

pub mod account;
mod act;
pub mod cert;
pub mod check;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod devices;
mod dispatch;
pub mod doctor;
mod draft;
mod exit;
pub mod import;
pub mod login;
pub mod logout;
mod options;
mod output;
mod owner;
mod parse;
pub mod password;
pub mod queue;
mod queue_options;
pub mod reload;
pub mod run;
#[cfg(unix)]
pub mod sendmail;
mod settings;
pub mod setup;
mod setup_options;
#[cfg(unix)]
mod socket;
pub mod state;
#[cfg(unix)]
pub mod status;
mod store_context;

pub use dispatch::main;
pub use exit::{CONFIGURATION, DONE, FAILED, USAGE};
pub use options::{
    AccountCommand, AddOptions, CertOptions, Cli, Command, DevicesOptions, DoctorOptions, ImportFormat, ImportOptions,
    ListOptions, LoginOptions, LogoutOptions, PasswordCommand, RevokeOptions, RunOptions, StateCommand, StatusOptions,
    UnlockOptions,
};
pub use output::report;
pub use parse::{Expiry, Host};
pub use settings::Settings;
pub use setup_options::{ClientTls, ScriptLanguage, SetupAnswers, SetupOptions, SignInBy};
