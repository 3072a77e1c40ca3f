//! The backends of listeners.

use std::sync::Arc;

use super::http::gateway::Gateway;
use super::upstream::MailServers;
use crate::graph::GraphClient;
use crate::session::submission::backend::SubmissionBackend;

/// A [`gatepost_config::ListenerBackend`], ready for use.
pub enum Backend {
    /// Logins go to a mail server, then bytes are relayed.
    Relay(Arc<MailServers>),
    /// Gatepost takes messages itself.
    Submission(Arc<SubmissionBackend>),
    /// The mailbox is read through Microsoft Graph.
    Maildrop(Arc<GraphClient>),
    /// EWS or Microsoft Graph.
    Http(Arc<Gateway>),
}
