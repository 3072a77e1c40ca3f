//! How messages that Gatepost takes itself are sent, for all sessions of a listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::rates::Rates;
use crate::graph::{GraphClient, LARGE_OCTETS, MESSAGE_OCTETS};
use crate::session::submission::fallback::GraphFallback;
use crate::session::upstream::MailServers;
use gatepost_config::{Deliver, GraphLarge, Limits, Submission as Config};
use gatepost_core::account::MailAddress;
use gatepost_proto::mail::smtp::transaction::Extensions;
use gatepost_store::queue::Queue;

/// How messages that Gatepost takes itself are sent.
pub struct SubmissionBackend {
    /// The configuration.
    pub config: Config,
    /// The mail servers, unless everything goes through Graph.
    pub smtp: Option<Arc<MailServers>>,
    /// Microsoft Graph.
    pub graph: Arc<GraphClient>,
    /// Where large messages for Graph are collected; `None` if they are refused.
    pub(super) drafts: Option<Arc<PathBuf>>,
    pub(super) fallback: GraphFallback,
    pub(super) rates: Rates,
    /// Permits for messages that are collected.
    pub(super) room: Semaphore,
    /// Where messages wait, if the listener has a queue.
    pub(super) queue: Option<Queue>,
}

impl SubmissionBackend {
    /// Creates the backend. No message has been sent yet.
    ///
    /// `spool` is the directory for large messages.
    pub fn new(
        config: Config,
        smtp: Option<Arc<MailServers>>,
        graph: Arc<GraphClient>,
        limits: &Limits,
        spool: Option<&Path>,
    ) -> Self {
        let room = Semaphore::new(limits.graph_messages);
        let drafts = spool.filter(|_| config.graph_large == GraphLarge::Draft).map(|path| Arc::new(path.to_path_buf()));
        let (fallback, rates) = (GraphFallback::default(), Rates::default());
        Self { config, smtp, graph, drafts, fallback, rates, room, queue: None }
    }

    /// Puts messages into a queue, where the sender's token needs no client.
    #[must_use]
    pub fn with_queue(self, queue: Option<Queue>) -> Self {
        Self { queue, ..self }
    }

    /// Returns the size of the largest message that goes through Graph.
    pub(super) fn graph_octets(&self) -> u64 {
        if self.drafts.is_some() { LARGE_OCTETS as u64 } else { MESSAGE_OCTETS as u64 }
    }

    /// Returns what clients are told: [`SubmissionBackend::extensions`], with the size that Graph
    /// takes if messages of this mailbox (without one, of all mailboxes) went through Graph last.
    pub(super) fn announced(&self, limits: &Limits, mailbox: Option<&MailAddress>) -> Extensions {
        let extensions = self.extensions(limits);
        if self.config.deliver == Deliver::Auto && self.fallback.led_through_graph(mailbox) {
            return Extensions { size: extensions.size.min(self.graph_octets()), ..extensions };
        }
        extensions
    }

    /// Returns what is taken from clients: what every route of a message supports. Only the size is
    /// that of the route with the largest limit, because the route is known when a message begins.
    pub(super) fn extensions(&self, limits: &Limits) -> Extensions {
        let most = limits.message_bytes as u64;
        let announced = self.smtp.as_ref().map(|servers| servers.announced());
        match (self.config.deliver, announced) {
            (Deliver::Graph, _) | (_, None) => {
                // A message with such addresses is UTF-8 on every route (RFC 6532).
                Extensions { size: most.min(self.graph_octets()), dsn: false, smtputf8: true }
            }
            (deliver, Some(announced)) => {
                let has = |keyword: &str| {
                    let mut entries = announced.0.iter().map(|entry| entry.split(' ').next().unwrap_or_default());
                    entries.any(|entry| entry.eq_ignore_ascii_case(keyword))
                };
                let size = announced.0.iter().find_map(|entry| {
                    let (keyword, size) = entry.split_once(' ')?;
                    size.parse::<u64>().ok().filter(|size| keyword.eq_ignore_ascii_case("SIZE") && *size > 0)
                });
                Extensions {
                    size: size.map_or(most, |size| size.min(most)),
                    // Graph has no equivalent.
                    dsn: deliver == Deliver::Smtp && has("DSN"),
                    smtputf8: has("SMTPUTF8"),
                }
            }
        }
    }
}
