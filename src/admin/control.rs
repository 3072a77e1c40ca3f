//! What the admin pages are told about the service as a whole, and what they may ask of it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::UnixTime;
use crate::session::Service;

/// What [`Control::reload`] comes to: a sentence, also when it failed.
pub type Reloading<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// The service as a whole.
pub trait Control: Send + Sync {
    /// How it stands.
    fn standing(&self) -> Standing;

    /// Every listening socket.
    fn listeners(&self) -> Vec<(Arc<Service>, SocketAddr)>;

    /// Reads the configuration again.
    fn reload(&self) -> Reloading<'_> {
        Box::pin(async { Err("this service cannot read its configuration again; restart it".to_owned()) })
    }
}

/// How the service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When it began.
    pub started_at: UnixTime,
    /// It takes no new connections and ends when its sessions have.
    pub draining: bool,
    /// Counts the configurations that have been in use, from 1.
    pub generation: u64,
    /// The last time that the configuration was read again.
    pub last_reload: Option<Reload>,
    /// What the process has forbidden itself, in words; nothing where it cannot.
    pub sandbox: Option<String>,
}

/// One time that the configuration was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When.
    pub at: UnixTime,
    /// Why the former configuration stays in use.
    pub error: Option<String>,
}
