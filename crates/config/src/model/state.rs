//! Where sign-ins and device passwords are kept, and the key that seals them.

use std::path::PathBuf;
use std::sync::Arc;

use super::trust::Trust;
use gatepost_core::secret::{RedisPassword, StateKeyText};

/// Where sign-ins and device passwords are kept.
#[derive(Debug, PartialEq)]
pub enum State {
    /// Only in memory: they are gone with the process.
    Memory,
    /// In a database file of this machine.
    Sqlite {
        /// The directory, which belongs to Gatepost alone (mode 0700).
        directory: PathBuf,
        /// The key that seals the database.
        key: StateKey,
    },
    /// In a Redis that replicas share.
    Redis {
        /// The server.
        server: Arc<RedisServer>,
        /// The key that seals the records; the same for all replicas.
        key: StateKey,
    },
    /// In a Redis whose address is a secret that a check could not read.
    NotRead,
}

impl State {
    /// The key that seals what is kept; `None`: nothing is kept, or a check could not read where.
    pub fn key(&self) -> Option<&StateKey> {
        match self {
            Self::Sqlite { key, .. } | Self::Redis { key, .. } => Some(key),
            Self::Memory | Self::NotRead => None,
        }
    }
}

/// Where the state key comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum StateKey {
    /// A file of Gatepost's own (mode 0600), created when both it and the store are absent.
    File(PathBuf),
    /// A file that another program provides: a systemd credential.
    Credential(PathBuf),
    /// The key, as the environment held it at the start.
    Literal(Arc<StateKeyText>),
    /// A command that writes the key.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// Environment variables that hold other secrets, and that the command does not see.
        hidden: Vec<String>,
    },
}

impl StateKey {
    /// The source, as text for messages.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) | Self::Credential(path) => format!("`{}`", path.display()),
            Self::Literal(_) => "the environment".to_owned(),
            Self::Command { command, .. } => format!("the output of `{}`", command.first().map_or("", String::as_str)),
        }
    }
}

/// A Redis server, or one that speaks its protocol.
#[derive(Debug, PartialEq)]
pub struct RedisServer {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Number of the database.
    pub database: u16,
    /// `None`: the default user.
    pub username: Option<String>,
    /// `None`: the server needs none.
    pub password: Option<RedisPassword>,
    /// The trust for TLS; `None`: without TLS.
    pub tls: Option<Trust>,
}
