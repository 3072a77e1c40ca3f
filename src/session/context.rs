//! What all sessions share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::trial::Trials;
use super::upstream::Opener;
use crate::login::Authenticator;
use crate::session::drain::DrainSchedule;
use crate::session::mailbox_memory::MailboxMemory;
use crate::session::mailbox_slots::MailboxLimiter;
use gatepost_config::Limits;
use gatepost_net::connection_limit::ConnectionLimiter;
use gatepost_net::penalty::Penalties;

/// What all sessions share.
pub struct SessionContext {
    /// Decides about logins.
    pub authenticator: Arc<Authenticator>,
    /// Connects to upstreams.
    pub opener: Arc<Opener>,
    /// All limits and deadlines.
    pub limits: Limits,
    /// Permits for connections.
    pub connections: Arc<ConnectionLimiter>,
    /// Penalties of sources.
    pub penalties: Arc<Penalties>,
    /// Permits for sessions, by mailbox.
    pub places: Arc<MailboxLimiter>,
    /// The single permit of each maildrop that Gatepost serves itself.
    pub maildrops: Arc<MailboxLimiter>,
    /// What mail servers said about mailboxes.
    pub memory: Arc<MailboxMemory>,
    /// Permits to have clients' own tokens judged.
    pub trials: Arc<Trials>,
    /// Permits for delayed refusals.
    pub delays: Arc<Semaphore>,
    /// Records every decision.
    pub journal: Arc<Journal>,
    /// Cancelled when the service stops taking logins.
    pub draining: CancellationToken,
    /// Spreads the end of waiting sessions over the time of a shutdown.
    pub drain: Arc<DrainSchedule>,
    /// The name in SMTP greetings.
    pub server_name: Arc<str>,
}
