//! The command line: which commands there are, and what they take.

#[cfg(unix)]
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::exit;
use super::parse::{Expiry, Host, address, expiry, host, login, network, protocol};
use super::queue_options::QueueCommand;
use super::settings::Settings;
use super::setup_options::SetupOptions;
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::protocol::Protocol;

/// Lets mail programs that know only a user name and a password keep working with Microsoft 365.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(after_help = exit::CODES)]
pub struct Cli {
    /// The command; the default is `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For the service, when no command is given.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service (default)
    #[command(after_help = exit::OF_RUN)]
    Run(RunOptions),
    /// Reload the configuration of the running service
    #[command(after_help = exit::OF_RELOAD)]
    Reload {
        /// Control socket of the service [default: from the configuration]
        #[arg(long, value_name = "FILE")]
        socket: Option<PathBuf>,
        /// Where the configuration comes from.
        #[command(flatten)]
        settings: Settings,
    },
    /// Check configuration, files and addresses [without the network]
    #[command(after_help = exit::OF_CHECK)]
    Check {
        /// Where the configuration comes from.
        #[command(flatten)]
        settings: Settings,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Test the way to each mailbox, name what fails
    #[command(after_help = exit::OF_DOCTOR)]
    Doctor(DoctorOptions),
    /// Try Gatepost against an embedded Microsoft 365
    #[cfg(feature = "sandbox")]
    #[command(after_help = exit::WITHOUT_CONFIGURATION)]
    Demo {
        /// First of eight ports to listen on [default: 1143, 1110, 1587, 1443, 1444, 1025, 1026 and 9180;
        /// free ones if they are taken]
        #[arg(long, value_name = "PORT")]
        port_base: Option<u16>,
    },
    /// Sign a person in for an account
    Login(LoginOptions),
    /// Delete a sign-in
    Logout(LogoutOptions),
    /// Show service status and a link to the status page
    #[cfg(unix)]
    #[command(after_help = exit::OF_STATUS)]
    Status(StatusOptions),
    /// Send a message of a program, as sendmail does
    #[cfg(unix)]
    #[command(after_help = exit::OF_SENDMAIL, disable_help_flag = true)]
    Sendmail {
        /// Take flags and recipients of sendmail [-t, -f, -F, -i, -bs; -C: socket]
        #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
        /// Print help
        #[arg(long, action = clap::ArgAction::Help)]
        help: Option<bool>,
    },
    /// Create a local CA and a server certificate
    #[command(after_help = exit::WITHOUT_CONFIGURATION)]
    Cert(CertOptions),
    /// Convert the configuration of another proxy
    #[command(after_help = exit::OF_IMPORT)]
    Import(ImportOptions),
    /// Set up tenant and configuration with least privilege
    #[command(after_help = exit::OF_SETUP)]
    Setup(Box<SetupOptions>),
    /// Create, list and revoke device passwords
    #[command(subcommand)]
    Password(PasswordCommand),
    /// List the clients that connected lately
    Devices(DevicesOptions),
    /// Unlock an account after too many wrong passwords
    #[command(subcommand)]
    Account(AccountCommand),
    /// List, retry and discard messages of the queue
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Manage stored sign-ins and device passwords
    #[command(subcommand)]
    State(StateCommand),
}

impl Command {
    /// Returns where the configuration of the command comes from; `None`: it reads none.
    pub fn settings(&self) -> Option<&Settings> {
        Some(match self {
            Self::Run(options) => &options.settings,
            Self::Reload { settings, .. } | Self::Check { settings, .. } => settings,
            Self::Doctor(options) => &options.settings,
            Self::Login(options) => &options.settings,
            Self::Logout(options) => &options.settings,
            #[cfg(unix)]
            Self::Status(options) => &options.settings,
            Self::Setup(options) => &options.settings,
            Self::Password(PasswordCommand::Add(options)) => &options.settings,
            Self::Password(PasswordCommand::List(options)) => &options.settings,
            Self::Password(PasswordCommand::Revoke(options)) => &options.settings,
            Self::Devices(options) => &options.settings,
            Self::Account(AccountCommand::Unlock(options)) => &options.settings,
            Self::Queue(command) => command.settings(),
            Self::State(StateCommand::RotateKey(settings)) => settings,
            Self::Cert(_) | Self::Import(_) | Self::Password(PasswordCommand::Hash { .. }) => return None,
            #[cfg(feature = "sandbox")]
            Self::Demo { .. } => return None,
            #[cfg(unix)]
            Self::Sendmail { .. } => return None,
        })
    }
}

/// How to serve.
#[derive(Debug, Default, Args)]
pub struct RunOptions {
    /// Take over the sockets of the running service [it stops after its sessions]
    #[arg(long)]
    pub take_over: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Who signs in, and how.
#[derive(Debug, Args)]
pub struct LoginOptions {
    /// User name of the account, or an alias
    #[arg(value_name = "LOGIN", value_parser = login)]
    pub login: LoginName,
    /// Sign in on any device with a code [default with `grant: device_code`]
    #[arg(long, conflicts_with = "paste")]
    pub device_code: bool,
    /// Sign in on another machine and paste the final address
    #[arg(long)]
    pub paste: bool,
    /// Allow a different user than last time
    #[arg(long)]
    pub replace: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// How to show the status.
#[derive(Debug, Args)]
pub struct StatusOptions {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print only a link to the status page [valid once, for ten minutes]
    #[arg(long, conflicts_with = "json")]
    pub page: bool,
    /// Print readiness and set the exit code (for probes)
    #[arg(long, conflicts_with_all = ["json", "page"])]
    pub ready: bool,
    /// Control socket of the service [default: from the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to examine.
#[derive(Debug, Args)]
pub struct DoctorOptions {
    /// Examine only this account
    #[arg(value_name = "LOGIN", value_parser = login)]
    pub account: Option<LoginName>,
    /// Examine this account with its password [terminal or standard input; with `grant: password`]
    #[arg(long, value_name = "LOGIN", value_parser = login, conflicts_with = "account")]
    pub login: Option<LoginName>,
    /// Tell what a client at this address meets
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// Send a message from each mailbox to itself
    #[arg(long)]
    pub send: bool,
    /// Send a message from each mailbox to this address
    #[arg(long, value_name = "ADDRESS", value_parser = address, conflicts_with = "send")]
    pub send_test: Option<MailAddress>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Control socket of the service [default: from the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Whose sign-in to forget.
#[derive(Debug, Args)]
pub struct LogoutOptions {
    /// User name of the account, or an alias
    #[arg(value_name = "LOGIN", value_parser = login)]
    pub login: LoginName,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// What certificates to make.
#[derive(Debug, Args)]
pub struct CertOptions {
    /// Directory for the files
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    pub directory: PathBuf,
    /// Another name or address of this machine (repeatable)
    #[arg(long = "host", value_name = "NAME_OR_IP", value_parser = host)]
    pub hosts: Vec<Host>,
    /// Validity of the server certificate in days
    #[arg(long, value_name = "DAYS", default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Kind of key [rsa is for old devices]
    #[arg(long, value_name = "KIND", default_value = "p256")]
    pub key: KeyKind,
    /// Replace the server certificate, keep the CA
    #[arg(long)]
    pub force: bool,
}

/// What to convert, and what its file does not say.
#[derive(Debug, Default, Args)]
pub struct ImportOptions {
    /// Configuration file of the other proxy
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Program of the file [default: found by its content]
    #[arg(long, value_name = "PROGRAM")]
    pub format: Option<ImportFormat>,
    /// Write to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
    /// Write the secrets into files in this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub write_secrets: Option<PathBuf>,
    /// Directory ID or domain, if the file names none
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Application ID, if the file names none
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Mailbox, if the file names none (repeatable)
    #[arg(long = "mailbox", value_name = "ADDRESS", value_parser = address)]
    pub mailboxes: Vec<MailAddress>,
    /// Let clients of this network connect (repeatable)
    #[arg(long = "allow-from", value_name = "NETWORK", value_parser = network)]
    pub allow_from: Vec<IpNet>,
    /// Certificate chain of the listeners (PEM)
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub private_key: Option<PathBuf>,
    /// Write the file even if `check` refuses it
    #[arg(long)]
    pub incomplete: bool,
}

/// A program whose configuration can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// Its `emailproxy.config`.
    #[value(name = "email-oauth2-proxy", help = "emailproxy.config")]
    EmailOauth2Proxy,
    /// Its `davmail.properties`.
    #[value(name = "davmail", help = "davmail.properties")]
    DavMail,
    /// The options of Genesys E-mail Server, as a `.cfg` export has them.
    #[value(name = "genesys", help = "E-mail Server options (.cfg)")]
    Genesys,
    /// Its environment file.
    #[value(name = "smtp-oauth-relay", help = "environment file")]
    SmtpOauthRelay,
}

/// The kind of a key in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// ECDSA with the curve P-256.
    P256,
    /// RSA with 3,072 bits, for clients that know no other signatures.
    Rsa,
}

/// What to do with passwords.
#[derive(Debug, Subcommand)]
pub enum PasswordCommand {
    /// Create a device password and print it once
    Add(AddOptions),
    /// List device passwords and their last use
    List(ListOptions),
    /// Revoke a device password and end its sessions
    Revoke(RevokeOptions),
    /// Print the hash of a password for `passwords` [read from standard input]
    #[command(after_help = exit::WITHOUT_CONFIGURATION)]
    Hash {
        /// Generate a password and print it with its hash
        #[arg(long)]
        generate: bool,
    },
}

/// What a device password is for.
#[derive(Debug, Args)]
pub struct AddOptions {
    /// User name of the account, or an alias
    #[arg(value_name = "LOGIN", value_parser = login)]
    pub login: LoginName,
    /// Name in lists and logs [such as "Scanner, 3rd floor"]
    #[arg(long)]
    pub name: String,
    /// Allow only this protocol: imap, pop3, smtp, ews or graph (repeatable)
    #[arg(long = "protocol", value_name = "PROTOCOL", value_parser = protocol)]
    pub protocols: Vec<Protocol>,
    /// Allow only this network, such as 192.168.7.0/24 (repeatable)
    #[arg(long = "from", value_name = "NETWORK", value_parser = network)]
    pub from: Vec<IpNet>,
    /// Expire at this day (2027-01-31, UTC) or after this time (90d, 12h)
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    pub expires: Option<Expiry>,
    /// Choose the password [terminal or standard input; 12 characters at least, with `--from` 8]
    #[arg(long)]
    pub chosen: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which device passwords to list.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// List only this account
    #[arg(value_name = "LOGIN", value_parser = login)]
    pub login: Option<LoginName>,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which clients to list, and how.
#[derive(Debug, Args)]
pub struct DevicesOptions {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// Print comma-separated values with a header
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// List what connected since this day (2026-12-01, UTC) or within this time (7d, 12h)
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub since: Option<Expiry>,
    /// Print a rule in `trusted_senders` for this address
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["json", "csv"])]
    pub trusted_sender: Option<IpAddr>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which device password to revoke.
#[derive(Debug, Args)]
pub struct RevokeOptions {
    /// Password ID, as `list` and the log show it
    #[arg(value_name = "ID", required_unless_present = "login", conflicts_with = "login")]
    pub id: Option<String>,
    /// User name of the account, or an alias
    #[arg(long, value_name = "LOGIN", value_parser = login, requires = "name")]
    pub login: Option<LoginName>,
    /// Name of the password (with --login)
    #[arg(long, requires = "login")]
    pub name: Option<String>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to do with an account.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Forget the wrong passwords of an account
    Unlock(UnlockOptions),
}

/// Which account to unlock.
#[derive(Debug, Args)]
pub struct UnlockOptions {
    /// User name of the account, or an alias
    #[arg(value_name = "LOGIN", value_parser = login)]
    pub login: LoginName,
    /// Control socket of the service [default: from the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Encrypt everything with a new state key [the service may run]
    RotateKey(Settings),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;
    use gatepost_core::clock::UnixTime;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(std::iter::once(&"gatepost").chain(arguments)).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_service_runs_without_a_command() {
        let cli = parse(&["-c", "x.yaml", "--set", "a.b=c=d", "--log-level", "debug"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.settings.config, Some(PathBuf::from("x.yaml")));
        assert_eq!(cli.settings.set, [("a.b".to_owned(), "c=d".to_owned())]);
        assert!(matches!(parse(&["run", "-c", "y"]).unwrap().command, Some(Command::Run(_))));
    }

    #[test]
    fn hosts_of_a_certificate_are_names_or_addresses() {
        let Some(Command::Cert(options)) = parse(&["cert", "--host", "Mail.Example", "--host", "::1"]).unwrap().command
        else {
            panic!("not the command")
        };
        assert_eq!(options.hosts, [Host::Name("mail.example".into()), Host::Address("::1".parse().unwrap())]);
        assert!(host("*.mail.example").is_ok());
        for text in ["", "a b", "-", "a_/b", "mail..example"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_password_has_a_scope_and_an_end() {
        let add = |arguments: &[&str]| -> Result<AddOptions, clap::error::ErrorKind> {
            let all: Vec<&str> = ["password", "add", "Scan7", "--name", "x"].iter().chain(arguments).copied().collect();
            match parse(&all)?.command {
                Some(Command::Password(PasswordCommand::Add(options))) => Ok(options),
                command => panic!("{command:?}"),
            }
        };
        let options = add(&["--protocol", "smtp", "--protocol", "imap", "--from", "192.168.7.9"]).unwrap();
        assert_eq!((options.login.as_str(), options.expires), ("scan7", None));
        assert_eq!(options.protocols, [Protocol::Smtp, Protocol::Imap]);
        assert_eq!(options.from, ["192.168.7.9/32".parse().unwrap()]);
        let expires = |when: &str| add(&["--expires", when]).map(|options| options.expires.unwrap());
        assert_eq!(expires("2027-01-31"), Ok(Expiry::At(UnixTime(1_801_353_600))));
        assert_eq!(expires("90d"), Ok(Expiry::After(Duration::from_secs(90 * 86_400))));
        for wrong in [
            &["--expires", "tomorrow"][..],
            &["--expires", "2027-02-30"],
            &["--expires", "0d"],
            &["--protocol", "ftp"],
            &["--from", "192.168.7.9/24"],
        ] {
            assert_eq!(add(wrong).unwrap_err(), clap::error::ErrorKind::ValueValidation, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_revoked_is_named_in_one_way() {
        use clap::error::ErrorKind;
        for (arguments, expected) in [
            (&["k7m2p4xq"][..], None),
            (&["--login", "a@b", "--name", "x"], None),
            (&[], Some(ErrorKind::MissingRequiredArgument)),
            (&["--login", "a@b"], Some(ErrorKind::MissingRequiredArgument)),
            (&["--name", "x"], Some(ErrorKind::MissingRequiredArgument)),
            (&["k7m2p4xq", "--login", "a@b", "--name", "x"], Some(ErrorKind::ArgumentConflict)),
        ] {
            let all: Vec<&str> = ["password", "revoke"].iter().chain(arguments).copied().collect();
            assert_eq!(parse(&all).err(), expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_setting_has_a_key_and_a_value() {
        assert_eq!(parse(&["--set", "novalue"]).unwrap_err(), clap::error::ErrorKind::ValueValidation);
    }

    /// Goes through the help of a command and of all below it.
    fn each_help(command: &clap::Command, found: &mut Vec<(String, String)>) {
        let own = command.get_about().into_iter().map(|help| (command.get_name().to_owned(), help.to_string()));
        let of_arguments = command.get_arguments().filter_map(|argument| {
            Some((format!("{} {}", command.get_name(), argument.get_id()), argument.get_help()?.to_string()))
        });
        found.extend(own.chain(of_arguments));
        command.get_subcommands().for_each(|below| each_help(below, found));
    }

    #[test]
    fn help_is_short_and_in_the_imperative() {
        let mut found = Vec::new();
        Cli::command().get_subcommands().for_each(|command| each_help(command, &mut found));
        assert!(found.len() > 50, "{found:?}");
        let flawed = found.iter().filter(|(_, help)| {
            // Defaults and values are in brackets.
            let phrase = help.split(['[', '(']).next().unwrap_or_default().trim();
            let banned = ["whoever", "anew", "lest", "of late", "at hand", ";"];
            phrase.split_whitespace().count() > 10
                || help.ends_with('.')
                || banned.iter().any(|word| phrase.contains(word))
        });
        assert_eq!(flawed.collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    }
}
