//! SMTP listeners that take messages themselves (`deliver: graph`, `deliver: auto`, `trusted_senders`, `legacy`), and hand
//! each one on to Exchange Online or Microsoft Graph. 250 behind a message is Microsoft's word.
//!
//! `courier` finds the way for a message, `conversation` takes the client's messages along it, each a `message`; `header`
//! and `rates` hold trusted devices to what they may do.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::journal::{ENDED_BY_OPERATOR, Ending};
use super::login::{Accepted, Destination, Entered, Login};
use super::upstream::Target;
use super::{Service, Serving, Shared, Subject, Whose};
use crate::config::{Deliver, Limits, Submission as Config};
use crate::failure::Failure;
use crate::graph::{GraphClient, MESSAGE_OCTETS};
use crate::net::census::Place;
use crate::net::stream::Stream;
use crate::proto::smtp::submission::{Settings, Submission};
use crate::proto::smtp::transaction::Extensions;
use crate::proto::{Capabilities, MailProtocol};
use crate::sasl::Credentials;
use conversation::Conversation;
use courier::{Admitted, Courier, Sender, Way};
use detours::Detours;
use rates::Rates;

mod conversation;
mod courier;
mod detours;
mod exchange;
mod header;
mod message;
mod rates;
mod refused;

/// How messages leave that Gatepost takes itself.
pub struct SubmissionWays {
    /// What was configured.
    pub config: Config,
    /// The mail server, unless everything goes through Graph.
    pub smtp: Option<Arc<Target>>,
    /// Microsoft Graph.
    pub graph: Arc<GraphClient>,
    detours: Detours,
    rates: Rates,
    /// For messages that are collected.
    room: Semaphore,
}

impl SubmissionWays {
    /// Nothing has been sent yet.
    pub fn new(config: Config, smtp: Option<Arc<Target>>, graph: Arc<GraphClient>, limits: &Limits) -> Self {
        let room = Semaphore::new(limits.graph_messages);
        Self { config, smtp, graph, detours: Detours::default(), rates: Rates::default(), room }
    }

    /// What clients are offered: what every way that a message may take can do. Only the size is that of the widest one,
    /// because the way is known when a message begins.
    fn extensions(&self, limits: &Limits) -> Extensions {
        let most = limits.message_bytes as u64;
        let announced = self.smtp.as_ref().map(|target| target.announced());
        match (self.config.deliver, announced) {
            (Deliver::Graph, _) | (_, None) => {
                // A message with such addresses is what it is, whoever takes it: UTF-8 (RFC 6532).
                Extensions { size: most.min(MESSAGE_OCTETS as u64), dsn: false, smtputf8: true }
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
                    // Graph has nothing that could carry it.
                    dsn: deliver == Deliver::Smtp && has("DSN"),
                    smtputf8: has("SMTPUTF8"),
                }
            }
        }
    }
}

/// Serves one connection from accept to end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    service: Arc<Service>,
    socket: TcpStream,
    peer: SocketAddr,
    mut place: Place,
) {
    let Serving::Submission(ways) = &service.serving else { return };
    let started = Instant::now();
    let subject = Subject::new(&service, peer);
    let visit = shared.penalties.visit(peer.ip());
    let door = Door { shared: &shared, service: &service, ways, subject: &subject };
    let login = Login { shared: &shared, service: &service, subject: &subject, visit: &visit, destination: &door };
    let entered = Box::pin(login.run(socket)).await;
    drop(visit);
    let Some(Entered { stream, leftovers, login }) = entered else { return };
    place.logged_in();
    let (sender, whose, ready, live) = match login {
        Some((Accepted { whose, brings: Ready { sender, admitted, way }, .. }, live)) => {
            (sender, whose, Some((admitted, way)), live)
        }
        None => {
            let Some(rule) = ways.config.trusted(peer.ip()) else { return };
            let whose = Whose { account: rule.login.to_string().into(), device: None };
            let live = shared.journal.accepted(&service, &subject, &whose, "of a trusted sender");
            (Sender::Trusted(rule.clone()), whose, None, live)
        }
    };
    let settings = Settings {
        server_name: Arc::clone(&shared.server_name),
        extensions: ways.extensions(&shared.limits),
        recipients: shared.limits.recipients,
        logged_in: !matches!(sender, Sender::Trusted(_)),
        client_tokens: service.listener.client_tokens,
        legacy: service.listener.legacy,
        bare_lf: service.listener.bare_lf && matches!(stream, Stream::Plain(_)),
    };
    let machine = Submission::new(settings, &leftovers);
    drop(leftovers);
    let courier = Courier { shared: &shared, service: &service, ways, subject: &subject, sender };
    let mut conversation = Conversation::new(courier, (&whose, &live), stream, machine, ready);
    let cause = tokio::select! {
        cause = Box::pin(conversation.run()) => cause,
        () = live.told_to_end() => {
            conversation.finish().await;
            ENDED_BY_OPERATOR
        }
    };
    drop(conversation);
    let (sent, received) = live.traffic();
    let ending = Ending { cause, duration: started.elapsed(), sent, received };
    shared.journal.ended(&service, &subject, &whose, live, ending);
}

/// Where a login at such a listener leads.
struct Door<'a> {
    shared: &'a Shared,
    service: &'a Service,
    ways: &'a SubmissionWays,
    subject: &'a Subject,
}

/// What a login brings: a first message could go out at once, and a device whose mailbox may not send hears so now.
struct Ready {
    sender: Sender,
    admitted: Admitted,
    way: Way,
}

impl Destination for Door<'_> {
    type Brings = Ready;

    fn protocol(&self) -> MailProtocol {
        MailProtocol::Smtp
    }

    fn announced(&self) -> Arc<Capabilities> {
        Arc::new(self.ways.extensions(&self.shared.limits).keywords())
    }

    fn trusts(&self) -> bool {
        self.ways.config.trusted(self.subject.peer.ip()).is_some()
    }

    async fn decide(&self, credentials: &Arc<Credentials>) -> Result<Accepted<Ready>, Failure> {
        let Self { shared, service, ways, subject } = *self;
        let courier = Courier { shared, service, ways, subject, sender: Sender::LoggedIn(Arc::clone(credentials)) };
        let (admitted, way) = courier.prepare().await?;
        let device = admitted.admission.as_ref().and_then(|admission| admission.device.clone());
        let whose = Whose { account: admitted.account().to_string().into(), device };
        let token = admitted.token();
        let brings = Ready { sender: admitted.sender(credentials), admitted, way };
        Ok(Accepted { whose, token, announced: Capabilities::default(), brings })
    }
}
