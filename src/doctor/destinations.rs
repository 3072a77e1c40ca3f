//! The services of Microsoft that the listeners lead to, each once.

use std::sync::Arc;

use super::facts::Facts;
use crate::graph::GraphClient;
use crate::session::Backend;
use crate::session::http::Gateway;
use crate::session::upstream::{MailServers, Target};
use gatepost_config::{Deliver, GraphLarge, Issuer, Origin, Resource};
use gatepost_oauth::claims::MailAccess;
use gatepost_proto::http::rules::HttpService;

/// How a service is asked.
#[derive(Clone)]
pub(super) enum Door {
    /// Mail servers, of which each account has one.
    Mail(Arc<MailServers>),
    /// EWS.
    Ews(Arc<Gateway>),
    /// Microsoft Graph.
    Graph(Arc<GraphClient>),
}

/// A service, and what clients need there.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) door: Door,
    pub(super) access: MailAccess,
    /// The listeners that lead there.
    pub(super) listeners: Vec<Arc<str>>,
    /// Whether messages that cannot go there take another way (`deliver: auto`).
    pub(super) has_substitute: bool,
}

impl Destination {
    /// Host and port, for people: of a listener's own server, if there are several.
    pub(super) fn place(&self) -> String {
        match &self.door {
            Door::Mail(servers) => mail_place(servers.own()),
            Door::Ews(gateway) => gateway.config.origin.to_string(),
            Door::Graph(graph) => graph.origin().to_string(),
        }
    }

    /// Host and port of the server of an account, for people.
    pub(super) fn place_of(&self, issuer: &Issuer, is_personal: bool) -> String {
        match &self.door {
            Door::Mail(servers) => servers.of(issuer, is_personal).map_or_else(|_| self.place(), |own| mail_place(own)),
            Door::Ews(_) | Door::Graph(_) => self.place(),
        }
    }

    /// The resource of the tokens for it.
    pub(super) fn resource(&self) -> Resource {
        match self.door {
            Door::Mail(_) | Door::Ews(_) => Resource::Exchange,
            Door::Graph(_) => Resource::Graph,
        }
    }

    /// The service for people.
    pub(super) fn name(&self) -> &'static str {
        name(self.access)
    }

    /// The HTTPS server, if it is one.
    pub(super) fn origin(&self) -> Option<&Origin> {
        match &self.door {
            Door::Mail(_) => None,
            Door::Ews(gateway) => Some(&gateway.config.origin),
            Door::Graph(graph) => Some(graph.origin()),
        }
    }

    fn leads_where(&self, other: &Self) -> bool {
        let same_door = match (&self.door, &other.door) {
            (Door::Mail(one), Door::Mail(other)) => one.leads_where(other),
            _ => self.origin().is_some() && self.origin() == other.origin(),
        };
        same_door && self.access == other.access && self.has_substitute == other.has_substitute
    }
}

/// The name of a service for people.
pub(super) fn name(access: MailAccess) -> &'static str {
    match access {
        MailAccess::Imap => "IMAP",
        MailAccess::Pop3 => "POP3",
        MailAccess::Smtp => "SMTP",
        MailAccess::HighVolume => "SMTP (HVE)",
        MailAccess::Ews => "EWS",
        MailAccess::GraphSend => "sending through Graph",
        MailAccess::GraphDraft => "drafts through Graph",
        MailAccess::GraphReadWrite => "Graph",
    }
}

/// Host and port of a mail server.
pub(super) fn mail_place(target: &Target) -> String {
    format!("{}:{}", target.upstream.host, target.upstream.port)
}

/// Returns what the listeners lead to.
pub(super) fn destinations(facts: &Facts) -> Vec<Destination> {
    let mut all: Vec<Destination> = Vec::new();
    let mut add = |door: Door, access: MailAccess, listener: &Arc<str>, has_substitute: bool| {
        let new = Destination { door, access, listeners: vec![Arc::clone(listener)], has_substitute };
        match all.iter_mut().find(|known| known.leads_where(&new)) {
            Some(known) => known.listeners.push(Arc::clone(listener)),
            None => all.push(new),
        }
    };
    for service in &facts.services {
        let name = &service.listener.name;
        match &service.serving {
            Backend::Relay(servers) => add(Door::Mail(Arc::clone(servers)), access(servers), name, false),
            Backend::Submission(ways) => {
                let deliver = ways.config.deliver;
                if let Some(servers) = &ways.smtp {
                    add(Door::Mail(Arc::clone(servers)), access(servers), name, deliver == Deliver::Auto);
                }
                if deliver != Deliver::Smtp {
                    let graph = Door::Graph(Arc::clone(&ways.graph));
                    add(graph, MailAccess::GraphSend, name, deliver == Deliver::Auto);
                    if ways.config.graph_large == GraphLarge::Draft {
                        let graph = Door::Graph(Arc::clone(&ways.graph));
                        add(graph, MailAccess::GraphDraft, name, deliver == Deliver::Auto);
                    }
                }
            }
            Backend::Maildrop(graph) => add(Door::Graph(Arc::clone(graph)), MailAccess::GraphReadWrite, name, false),
            Backend::Http(gateway) => match gateway.config.service {
                HttpService::Ews => add(Door::Ews(Arc::clone(gateway)), MailAccess::Ews, name, false),
                HttpService::Graph => {
                    let (dialer, trust) = (Arc::clone(&facts.outbound.dialer), Arc::clone(&facts.outbound.trust));
                    let origin = gateway.config.origin.clone();
                    let graph = GraphClient::new(origin, dialer, trust, &facts.config.limits);
                    add(Door::Graph(Arc::new(graph)), MailAccess::GraphReadWrite, name, false);
                }
            },
        }
    }
    all
}

fn access(servers: &MailServers) -> MailAccess {
    MailAccess::from(&servers.own().upstream)
}
