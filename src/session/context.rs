//! What all sessions have in common.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::trial::Trials;
use super::upstream::Opener;
use crate::login::Authenticator;
use crate::session::drain::DrainSchedule;
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
    /// Every bound and deadline.
    pub limits: Limits,
    /// Places for connections.
    pub connections: Arc<ConnectionLimiter>,
    /// What sources have to pay for.
    pub penalties: Arc<Penalties>,
    /// Places for sessions, by mailbox.
    pub places: Arc<MailboxLimiter>,
    /// The one place of each maildrop that Gatepost serves itself.
    pub maildrops: Arc<MailboxLimiter>,
    /// Turns of clients' own tokens at those who judge them.
    pub trials: Arc<Trials>,
    /// Places for refusals that are held back.
    pub delays: Arc<Semaphore>,
    /// What is told of every decision.
    pub journal: Arc<Journal>,
    /// Cancelled when the service stops taking logins.
    pub draining: CancellationToken,
    /// When sessions that wait are told goodbye.
    pub drain: Arc<DrainSchedule>,
    /// The name in SMTP greetings.
    pub server_name: Arc<str>,
}
