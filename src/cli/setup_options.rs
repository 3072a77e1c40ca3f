//! What `gatepost setup` takes: the answers, and how to act on them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::parse::{Host, address, cloud, host, network, protocol, yes_or_no};
use super::settings::Settings;
use gatepost_config::Cloud;
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;

/// What to set up, and how.
#[derive(Debug, Default, Args)]
pub struct SetupOptions {
    /// The answers of the command line.
    #[command(flatten)]
    pub given: SetupAnswers,
    /// Take further answers from this YAML file
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Replace configuration and scripts that exist
    #[arg(long)]
    pub replace: bool,
    /// Replace the application's key and certificate
    #[arg(long)]
    pub renew_key: bool,
    /// Set up Entra with the token that this command prints [run without a shell]
    #[arg(long, value_name = "COMMAND")]
    pub graph_token: Option<String>,
    /// Microsoft Graph server [default: by cloud]
    #[arg(long, value_name = "HOST:PORT", requires = "graph_token")]
    pub graph: Option<String>,
    /// Do not ask for confirmation
    #[arg(long, requires = "graph_token")]
    pub yes: bool,
    /// Where the configuration goes, and settings for this command.
    #[command(flatten)]
    pub settings: Settings,
}

/// The answers that `gatepost setup` needs. A file of answers has the same names.
#[derive(Clone, Debug, Default, Args)]
pub struct SetupAnswers {
    /// Directory ID or verified domain
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// worldwide, us-gov-gcc-high, us-gov-dod or china [default: worldwide]
    #[arg(long, value_name = "CLOUD", value_parser = cloud)]
    pub cloud: Option<Cloud>,
    /// Protocol of the programs: imap, pop3, smtp, ews or graph (repeatable)
    #[arg(long = "protocol", value_name = "PROTOCOL", value_parser = protocol)]
    pub protocols: Vec<Protocol>,
    /// Mailbox that the programs use (repeatable)
    #[arg(long = "mailbox", value_name = "ADDRESS", value_parser = address)]
    pub mailboxes: Vec<MailAddress>,
    /// Programs send and never read [yes or no]
    #[arg(long, value_name = "YES_OR_NO", num_args = 0..=1, require_equals = true, default_missing_value = "yes",
        value_parser = yes_or_no)]
    pub send_only: Option<bool>,
    /// What programs do over Graph
    #[arg(long, value_name = "USE")]
    pub graph_for: Option<GraphUse>,
    /// Who signs in at Microsoft
    #[arg(long, value_name = "WHO")]
    pub sign_in: Option<SignInBy>,
    /// Name of the application in Entra [default: Gatepost]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Application ID, if the application exists
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Let clients of this network connect (repeatable)
    #[arg(long = "allow-from", value_name = "NETWORK", value_parser = network)]
    pub allow_from: Vec<IpNet>,
    /// TLS towards clients, with a local certificate [default: none]
    #[arg(long, value_name = "MODE")]
    pub tls: Option<ClientTls>,
    /// Name or address of this machine for that certificate (repeatable)
    #[arg(long = "host", value_name = "NAME_OR_IP", value_parser = host)]
    pub hosts: Vec<Host>,
    /// State directory of the service [default: /var/lib/gatepost]
    #[arg(long, value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
    /// Language of the script for the tenant [default: powershell]
    #[arg(long, value_name = "LANGUAGE")]
    pub script: Option<ScriptLanguage>,
}

impl SetupAnswers {
    /// Whether it has to be asked what Graph is for, which has a permission for each use.
    pub(super) fn leaves_open_what_graph_is_for(&self) -> bool {
        self.send_only.is_none() && self.graph_for.is_none() && self.protocols.contains(&Protocol::Graph)
    }
}

/// What programs do over Microsoft Graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphUse {
    /// Send.
    #[value(help = "send, and read nothing")]
    Send,
    /// Read.
    #[value(help = "read, and change or send nothing")]
    Read,
    /// Send, read and change.
    #[value(help = "send, read and change")]
    Both,
}

/// Who can sign in at Microsoft for the mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignInBy {
    /// The application alone.
    #[value(help = "a server works alone")]
    Nobody,
    /// A person, once for each mailbox.
    #[value(help = "somebody signs in once for each mailbox, also with MFA")]
    Person,
    /// Programs keep the password that Microsoft knows.
    #[value(help = "programs keep the Microsoft password, without MFA")]
    Password,
}

/// TLS of a new listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientTls {
    /// Without.
    None,
    /// TLS from the first byte.
    Implicit,
    /// `STARTTLS` or `STLS`.
    Starttls,
}

/// The language of a script for the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScriptLanguage {
    /// Microsoft Graph PowerShell and Exchange Online PowerShell.
    #[value(help = "Graph PowerShell and Exchange Online PowerShell")]
    Powershell,
    /// Azure CLI, and PowerShell for Exchange.
    #[value(help = "Azure CLI, and PowerShell for Exchange Online")]
    Az,
}
