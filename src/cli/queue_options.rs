//! What `gatepost queue` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::settings::Settings;
use gatepost_store::queue::{QueueId, State};

/// What to do with the queue.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List the messages and why they wait
    List(QueueListOptions),
    /// Show all that is known about a message
    Show(QueueShowOptions),
    /// Try messages again now
    Retry(QueueRetryOptions),
    /// Delete messages without sending them
    Discard(QueueDiscardOptions),
    /// Write a message as its device sent it
    Export(QueueExportOptions),
}

impl QueueCommand {
    /// Returns where the configuration of the command comes from.
    pub fn settings(&self) -> &Settings {
        match self {
            Self::List(options) => &options.settings,
            Self::Show(options) => &options.settings,
            Self::Retry(options) => &options.settings,
            Self::Discard(options) => &options.settings,
            Self::Export(options) => &options.settings,
        }
    }
}

/// Which messages to list.
#[derive(Debug, Args)]
pub struct QueueListOptions {
    /// List only messages in this state (repeatable)
    #[arg(long = "state", value_name = "STATE")]
    pub states: Vec<QueueState>,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// The state of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QueueState {
    /// It is tried when it is due.
    #[value(help = "tried when it is due")]
    Waiting,
    /// It is being sent.
    #[value(help = "being sent")]
    Sending,
    /// Sent Items are searched for it.
    #[value(help = "perhaps sent, looked up in Sent Items")]
    Looking,
    /// It was refused for good, or its time is over.
    #[value(help = "not sent, waits for a person")]
    Failed,
    /// Nobody can tell whether it was sent.
    #[value(help = "perhaps sent, waits for a person")]
    Unknown,
    /// It was sent, and is kept for a while.
    #[value(help = "sent, kept for `queue.keep_sent`")]
    Sent,
}

impl From<QueueState> for State {
    fn from(state: QueueState) -> Self {
        match state {
            QueueState::Waiting => Self::Waiting,
            QueueState::Sending => Self::Sending,
            QueueState::Looking => Self::Looking,
            QueueState::Failed => Self::Failed,
            QueueState::Unknown => Self::Unknown,
            QueueState::Sent => Self::Sent,
        }
    }
}

/// Which message to show.
#[derive(Debug, Args)]
pub struct QueueShowOptions {
    /// Number of the message, as `list` shows it
    #[arg(value_name = "ID")]
    pub id: QueueId,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which messages to try again.
#[derive(Debug, Args)]
pub struct QueueRetryOptions {
    /// Numbers of the messages
    #[arg(value_name = "ID", required_unless_present = "all_failed", conflicts_with = "all_failed")]
    pub ids: Vec<QueueId>,
    /// Try all failed messages [not those of unknown outcome]
    #[arg(long)]
    pub all_failed: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which messages to delete.
#[derive(Debug, Args)]
pub struct QueueDiscardOptions {
    /// Numbers of the messages
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<QueueId>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which message to write, and where.
#[derive(Debug, Args)]
pub struct QueueExportOptions {
    /// Number of the message
    #[arg(value_name = "ID")]
    pub id: QueueId,
    /// Write to this new file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
}
