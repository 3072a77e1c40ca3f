//! The connections: whether each server of Microsoft can be reached, by which route, and how fast.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::accounts::Group;
use super::destinations::{Destination, Door, mail_place};
use super::facts::Facts;
use super::host::ClockSample;
use super::in_order::in_order;
use super::step::{Section, Step};
use crate::session::probe::reach;
use crate::session::upstream::Target;
use gatepost_config::{Application, Origin};
use gatepost_core::clock::Clock;
use gatepost_core::failure::{Actor, Failure};
use gatepost_net::dial::Route;
use gatepost_oauth::discovery::{Discovered, NotDiscovered, discover};
use gatepost_oauth::tokens::explain;

const HERE: Section = Section::Network;

/// What Entra says about the tenants.
#[derive(Default)]
pub(super) struct Tenants {
    /// By authority and tenant.
    found: HashMap<(String, String), Result<Discovered, NotDiscovered>>,
    /// The clock, by the first answer.
    pub(super) clock: Option<ClockSample>,
}

impl Tenants {
    /// What is known about the tenant of a group; `None` when nothing was asked.
    pub(super) fn of(&self, group: &Group) -> Option<&Result<Discovered, NotDiscovered>> {
        self.found.get(&key(&group.application, group.tenant.as_deref()?))
    }

    /// Asks about each tenant once.
    pub(super) async fn ask(facts: &Facts, groups: &[Group]) -> Self {
        let mut wanted: BTreeMap<(String, String), Arc<Application>> = BTreeMap::new();
        for group in groups.iter().filter(|group| group.is_of_entra()) {
            if let Some(tenant) = &group.tenant {
                wanted.entry(key(&group.application, tenant)).or_insert_with(|| Arc::clone(&group.application));
            }
        }
        let jobs = wanted.into_iter().map(|((authority, tenant), application)| {
            let endpoint = Arc::clone(&facts.outbound.endpoint);
            let slots = facts.slots.clone();
            async move {
                let _turn = slots.turn().await;
                let found = match application.issuer.entra() {
                    Some(entra) => discover(&endpoint, entra, &tenant).await,
                    // Only groups of Entra are asked about.
                    None => Ok(Discovered { tenant_id: None, date: None, took: Duration::ZERO }),
                };
                ((authority, tenant), found, Clock::system().unix_time())
            }
        });
        let mut tenants = Self::default();
        for (key, found, here) in in_order(jobs).await {
            let there = match &found {
                Ok(Discovered { date, .. }) | Err(NotDiscovered::Answered { date, .. }) => *date,
                Err(NotDiscovered::Transport(_)) => None,
            };
            tenants.clock = tenants.clock.or(there.map(|there| ClockSample { here, there }));
            tenants.found.insert(key, found);
        }
        tenants
    }
}

fn key(application: &Application, tenant: &str) -> (String, String) {
    (application.issuer.authority().to_string(), tenant.to_owned())
}

/// The servers that cannot be reached, by host and port.
#[derive(Debug, Default)]
pub(super) struct Unreached(BTreeSet<String>);

impl Unreached {
    pub(super) fn contains(&self, place: &str) -> bool {
        self.0.contains(place)
    }
}

/// The host and port of an authority, for people.
pub(super) fn authority_place(application: &Application) -> String {
    let authority = application.issuer.authority();
    let port = authority.port_or_known_default().unwrap_or(443);
    format!("{}:{port}", authority.host_str().unwrap_or_default())
}

pub(super) async fn steps(
    facts: &Arc<Facts>,
    groups: &[Group],
    tenants: &Tenants,
    destinations: &[Destination],
) -> (Vec<Step>, Unreached) {
    let (mut steps, mut unreached) = (Vec::new(), Unreached::default());
    for group in groups.iter().filter(|group| group.is_of_entra()) {
        let place = authority_place(&group.application);
        let Some(found) = tenants.of(group) else { continue };
        if steps.iter().any(|step: &Step| step.subject == place) {
            continue;
        }
        steps.push(match found {
            Err(NotDiscovered::Transport(error)) => {
                unreached.0.insert(place.clone());
                let error = NotDiscovered::Transport(error.clone()).into_error();
                Step::failed(HERE, place, &explain::fetch(&error))
            }
            Err(NotDiscovered::Answered { .. }) => Step::ok(HERE, &*place, route(facts, &place)),
            Ok(Discovered { took, .. }) => {
                Step::ok(HERE, &*place, format!("{}, {}", route(facts, &place), milliseconds(*took)))
            }
        });
    }
    let mut distinct: Vec<(String, Peer)> = Vec::new();
    for (place, peer) in destinations.iter().flat_map(peers) {
        if !distinct.iter().any(|(known, _)| *known == place) {
            distinct.push((place, peer));
        }
    }
    let jobs = distinct.into_iter().map(|(place, peer)| {
        let facts = Arc::clone(facts);
        async move {
            let _turn = facts.slots.turn().await;
            let began = Instant::now();
            let reached = connect(&facts, &peer).await;
            (place, reached, began.elapsed())
        }
    });
    for (place, reached, took) in in_order(jobs).await {
        steps.push(match reached {
            Ok(()) => Step::ok(HERE, &*place, format!("{}, {}", route(facts, &place), milliseconds(took))),
            Err(failure) => {
                unreached.0.insert(place.clone());
                Step::failed(HERE, place, &failure)
            }
        });
    }
    (steps, unreached)
}

/// A server that clients need.
enum Peer {
    Mail(Arc<Target>),
    Https(Origin),
}

/// The servers of a destination by place: the mail server of each provider, or one HTTPS server.
fn peers(destination: &Destination) -> Vec<(String, Peer)> {
    match (&destination.door, destination.origin()) {
        (Door::Mail(servers), _) => {
            servers.all().map(|target| (mail_place(target), Peer::Mail(Arc::clone(target)))).collect()
        }
        (_, Some(origin)) => vec![(destination.place(), Peer::Https(origin.clone()))],
        (_, None) => Vec::new(),
    }
}

/// Connects as far as the server's own greeting.
async fn connect(facts: &Facts, peer: &Peer) -> Result<(), Failure> {
    let limits = &facts.config.limits;
    let most = limits.connect.max(limits.connect_via_proxy);
    match peer {
        Peer::Mail(target) => {
            let learned = facts.shared.opener.learn(target).await;
            learned.map(drop).map_err(|error| error.failure(&target.upstream))
        }
        Peer::Https(origin) => reach(&facts.outbound.dialer, &facts.outbound.trust, origin, most).await,
    }
}

/// The route of a connection for people.
fn route(facts: &Facts, place: &str) -> String {
    let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let host = host.trim_matches(['[', ']']);
    match facts.outbound.dialer.route(host, port.parse().unwrap_or(443)) {
        Route::Direct => "direct".to_owned(),
        Route::Proxy { servers, scheme } => {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            let scheme = scheme.map(|scheme| format!(" ({scheme})")).unwrap_or_default();
            format!("through {}{scheme}", servers.join(" or "))
        }
        #[cfg(feature = "pac")]
        Route::Script => "as the PAC script says".to_owned(),
    }
}

fn milliseconds(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}

/// Bounds a part of the examination, so that one server that is silent does not hold up the rest.
///
/// # Errors
/// [`Late`] when the time is over.
pub(super) async fn bounded<T>(most: Duration, work: impl Future<Output = T>) -> Result<T, Late> {
    timeout(most, work).await.map_err(|_| Late { most })
}

/// There was no answer in time.
#[derive(Debug)]
pub(super) struct Late {
    most: Duration,
}

impl Late {
    /// Tells it as a step.
    pub(super) fn step(&self, section: Section, subject: impl Into<String>) -> Step {
        let text = format!("no answer within {} s", self.most.as_secs().max(1));
        let remedy = "check the network on the way, then run `gatepost doctor` again".to_owned();
        Step::problem(section, subject, text, (Actor::NetworkAdmin, remedy))
    }
}
