//! What stands behind a listener.

use std::sync::Arc;

use super::http::gateway::Gateway;
use super::submission::ways::SubmissionWays;
use super::upstream::Target;
use crate::graph::GraphClient;

/// What [`gatepost_config::ListenerBackend`] says, ready for use.
pub enum Serving {
    /// Logins go to a mail server, then bytes are relayed.
    Relay(Arc<Target>),
    /// Gatepost takes messages itself.
    Submission(Arc<SubmissionWays>),
    /// The mailbox is read through Microsoft Graph.
    Maildrop(Arc<GraphClient>),
    /// EWS or Microsoft Graph.
    Http(Arc<Gateway>),
}
