//! One attempt to deliver a message of the queue, over the same ways as messages that a client
//! waits for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::notes::note;
use super::outcome::Attempted;
use crate::graph::{HandOver, MessageOctets, SentCopy};
use crate::login::Principal;
use crate::session::backend::Backend;
use crate::session::connection_info::ConnectionInfo;
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use crate::session::mail_refusal::MailRefusal;
use crate::session::submission::backend::SubmissionBackend;
use crate::session::submission::conversation::Spare;
use crate::session::submission::delivery::{Admitted, DeliveryRoute, DeliveryRouter, Sender};
use crate::session::submission::exchange::Exchange;
use crate::session::submission::refused;
use gatepost_config::{Queue as QueueConfig, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::system_error::Plain;
use gatepost_proto::mail::smtp::transaction::{Body, Mail, Recipient};
use gatepost_proto::mail::smtp::{Envelope, Reply, Stage};
use gatepost_store::queue::{Courier, Entry, NewMessage, QueueError, Recipient as QueuedRecipient, Refused, Seen};

/// Most recipients that a failure names.
const NAMED: usize = 5;

/// The longest wait for one of the places that `limits.graph_messages` has. What waits holds a place of
/// the lanes.
const ROOM: Duration = Duration::from_secs(60);

/// What the present configuration has for deliveries.
pub struct Present {
    /// What sessions share.
    pub shared: Arc<SessionContext>,
    /// The listeners.
    pub services: Vec<Arc<ListenerState>>,
    /// The section `queue`.
    pub config: Option<QueueConfig>,
}

impl Present {
    /// Returns how a message of this listener leaves. If the listener is gone, another one with a
    /// queue stands in.
    fn backend(&self, listener: &str) -> Option<Arc<SubmissionBackend>> {
        let of = |service: &Arc<ListenerState>| match &service.serving {
            Backend::Submission(ways) => Some(Arc::clone(ways)),
            _ => None,
        };
        let same = self.services.iter().filter(|service| *service.listener.name == *listener).find_map(of);
        same.or_else(|| self.services.iter().filter_map(of).find(|ways| ways.queue.is_some()))
    }
}

/// Notes durably that a message is being handed over, once.
struct Marking<'a> {
    courier: &'a Courier,
    seen: Seen,
    /// The recipients that do not get it.
    refused: OnceLock<Refused>,
    marked: OnceCell<Result<bool, QueueError>>,
    has_begun: AtomicBool,
}

impl<'a> Marking<'a> {
    fn new(courier: &'a Courier, seen: Seen) -> Self {
        Self { courier, seen, refused: OnceLock::new(), marked: OnceCell::new(), has_begun: AtomicBool::new(false) }
    }

    /// What follows if the message must not be handed over.
    fn refusal(&self) -> Option<Attempted> {
        match self.marked.get()? {
            Ok(true) => None,
            Ok(false) => Some(Attempted::Withdrawn),
            Err(error) => Some(unreadable(error)),
        }
    }
}

impl HandOver for Marking<'_> {
    // The lanes wait, and other messages go meanwhile.
    const WAITS: bool = false;

    async fn begins(&self) -> bool {
        self.has_begun.store(true, Ordering::Relaxed);
        matches!(
            self.marked.get_or_init(|| self.courier.hand_over(self.seen, self.refused.get().cloned())).await,
            Ok(true)
        )
    }
}

/// A message that is tried.
pub(super) struct Attempt<'a> {
    pub(super) present: &'a Present,
    pub(super) courier: &'a Courier,
    pub(super) entry: &'a Entry,
    pub(super) message: &'a NewMessage,
    pub(super) mailbox: &'a MailAddress,
    /// When it began.
    pub(super) at: UnixTime,
}

impl Attempt<'_> {
    /// Tries to deliver the message. Returns also a connection for the next one. `spare` is one that
    /// is signed in to the mailbox. When `stop` ends, the attempt is given up, unless the message is
    /// already being handed over.
    pub(super) async fn deliver(
        &self,
        spare: Option<Spare>,
        stop: impl Future<Output = ()> + Send,
    ) -> (Attempted, Option<Spare>) {
        let marking = Marking::new(self.courier, self.entry.seen());
        let mut kept = None;
        let attempted = {
            let deliver = self.try_it(spare, &marking, &mut kept);
            tokio::pin!(deliver);
            tokio::select! {
                attempted = &mut deliver => attempted,
                () = stop => if marking.has_begun.load(Ordering::Relaxed) { deliver.await } else { Attempted::Interrupted },
            }
        };
        (attempted, kept)
    }

    async fn try_it(&self, spare: Option<Spare>, marking: &Marking<'_>, kept: &mut Option<Spare>) -> Attempted {
        let Some(ways) = self.present.backend(&self.message.listener) else {
            return Attempted::Aside(Failure::new(
                Cause::ListenerRemoved,
                format!(
                    "no listener with a queue is left to send messages of the listener `{}`",
                    self.message.listener
                ),
            ));
        };
        let subject = self.subject();
        let router = match self.router(&ways, &subject) {
            Ok(router) => router,
            // Others of the mailbox may come from another account.
            Err(failure) => return Attempted::Aside(failure),
        };
        let spare = spare.filter(|spare| ways.smtp.is_some() && router.still_admits(&spare.admitted));
        let mut again = spare.is_some();
        let mut route = spare.map(Spare::used);
        loop {
            let (admitted, way) = match route.take() {
                Some(ready) => ready,
                None => match router.prepare(self.mailbox).await {
                    Ok(ready) => ready,
                    Err(failure) => return self.cannot(failure),
                },
            };
            let mut exchange = match way {
                DeliveryRoute::Graph => return self.through_graph(&router, admitted, marking).await,
                DeliveryRoute::Smtp(exchange) => exchange,
            };
            match exchange.mail(&self.mail()).await {
                Ok(reply) if reply.is_positive() => {
                    return self.by_smtp(admitted, exchange, marking, kept).await;
                }
                // A kept connection may be dead without our knowledge.
                Ok(reply) if reply.code() == 421 && again => {}
                Ok(reply) => {
                    if reply.code() != 421 {
                        *kept = Some(Spare::new(admitted, exchange));
                    }
                    return self.refused(Stage::Sender, &reply, None);
                }
                Err(_) if again => {}
                Err(error) => return Attempted::paused(refused::broke(&error).failure),
            }
            again = false;
        }
    }

    async fn by_smtp(
        &self,
        admitted: Admitted,
        mut exchange: Box<Exchange>,
        marking: &Marking<'_>,
        kept: &mut Option<Spare>,
    ) -> Attempted {
        let broke = |error: &io::Error| Attempted::broke(refused::broke(error).failure);
        let (mut left, mut why) = (Vec::new(), None);
        for queued in &self.message.recipients {
            let recipient = Recipient { address: queued.address.clone(), dsn: queued.dsn.clone() };
            match exchange.recipient(&recipient).await {
                Ok(reply) if reply.is_positive() => {}
                Ok(reply) => {
                    let attempted = self.refused(Stage::Recipient, &reply, Some(&recipient.address));
                    let attempted = match attempted {
                        Attempted::Refused(failure) => {
                            left.push(queued.clone());
                            why.get_or_insert(failure);
                            continue;
                        }
                        // The others may get it: more than so many never do with one message.
                        Attempted::Aside(failure) if is_too_many(&reply) => {
                            left.push(queued.clone());
                            why.get_or_insert(failure);
                            continue;
                        }
                        attempted => attempted,
                    };
                    if reply.code() != 421 && exchange.reset().await.is_ok_and(|reply| reply.is_positive()) {
                        *kept = Some(Spare::new(admitted, exchange));
                    }
                    return attempted;
                }
                Err(error) => return broke(&error),
            }
        }
        if let Some(failure) = why.take_if(|_| left.len() == self.message.recipients.len()) {
            if exchange.reset().await.is_ok_and(|reply| reply.is_positive()) {
                *kept = Some(Spare::new(admitted, exchange));
            }
            return Attempted::Refused(failure);
        }
        match exchange.data().await {
            Ok(reply) if reply.is_positive() => {}
            Ok(reply) => return self.refused(Stage::Content, &reply, None),
            Err(error) => return broke(&error),
        }
        let file = match self.courier.queue().read(self.entry.id).await {
            Ok(Some(file)) => file,
            Ok(None) => return Attempted::Withdrawn,
            Err(error) => return unreadable(&error),
        };
        let mut offset = 0;
        while offset < file.length() {
            let piece = match file.chunk_at(offset).await {
                Ok(piece) => piece,
                // Without the final dot, the server drops what it has.
                Err(error) => return damaged(&error),
            };
            offset += piece.len() as u64;
            match exchange.content(&piece).await {
                Ok(()) => {}
                Err(Ok(reply)) => return self.refused(Stage::Content, &reply, None),
                Err(Err(error)) => return broke(&error),
            }
        }
        // A server that is gone before the final dot has certainly not taken the message.
        if let Some(attempted) = self.ended_early(&mut exchange).await {
            return attempted;
        }
        if let Some(failure) = &why {
            let note = note(failure, self.at);
            marking.refused.get_or_init(|| Refused { recipients: left.clone(), note });
        }
        if !marking.begins().await {
            return marking.refusal().unwrap_or(Attempted::Withdrawn);
        }
        if let Some(attempted) = self.ended_early(&mut exchange).await {
            return attempted;
        }
        match exchange.end().await {
            Ok(reply) => {
                if reply.code() != 421 {
                    *kept = Some(Spare::new(admitted, exchange));
                }
                match why {
                    _ if !reply.is_positive() => self.refused(Stage::Content, &reply, None),
                    Some(failure) => {
                        let failure = partial(failure, &left, OTHERS_HAVE_IT);
                        Attempted::Part { reply, left, failure }
                    }
                    None => Attempted::Sent { way: "smtp", reply, remark: String::new(), loss: None },
                }
            }
            Err(error) => match why {
                Some(failure) => Attempted::OpenPart(partial(failure, &left, OTHERS_UNKNOWN)),
                None => Attempted::Open(refused::unknown(&error).failure),
            },
        }
    }

    async fn ended_early(&self, exchange: &mut Exchange) -> Option<Attempted> {
        Some(match exchange.has_ended().await? {
            Ok(reply) if !reply.is_positive() => self.refused(Stage::Content, &reply, None),
            Ok(_) => Attempted::paused(refused::lost().failure),
            Err(error) => Attempted::broke(refused::broke(&error).failure),
        })
    }

    async fn through_graph(&self, router: &DeliveryRouter<'_>, admitted: Admitted, marking: &Marking<'_>) -> Attempted {
        let _room = match timeout(ROOM, router.ways.room.acquire()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) => return Attempted::Interrupted,
            Err(_) => return Attempted::Postponed(refused::no_room().failure),
        };
        let file = match self.courier.queue().read(self.entry.id).await {
            Ok(Some(file)) => file,
            Ok(None) => return Attempted::Withdrawn,
            Err(error) => return unreadable(&error),
        };
        match router.send_through_graph(admitted, &self.envelope(), MessageOctets::File(file), marking).await {
            Ok(Ok(sent)) => Attempted::sent_through_graph(sent),
            Ok(Err(not_sent)) => marking.refusal().unwrap_or_else(|| {
                Attempted::not_sent_through_graph(not_sent, router.ways.graph.pause_left(self.mailbox))
            }),
            Err(failure) => self.cannot(failure),
        }
    }

    /// Looks into Sent Items whether a message was sent that was handed over and is looked for since.
    pub(super) async fn look(&self) -> SentCopy {
        let Some(message_id) = &self.message.message_id else {
            return SentCopy::Barred("the message has no Message-ID that can be searched for".to_owned());
        };
        let Some(ways) = self.present.backend(&self.message.listener) else {
            return SentCopy::Unknown("no listener with a queue is left".to_owned());
        };
        let subject = self.subject();
        let admitted = match self.router(&ways, &subject) {
            Ok(router) => router.admit_as(self.mailbox, Resource::Graph).await,
            Err(failure) => Err(failure),
        };
        match admitted {
            Ok(admitted) => {
                let refused = self.entry.refused.as_ref().map_or(&[][..], |refused| &refused.recipients);
                let mut recipients: Vec<String> = self.envelope().recipients;
                recipients.retain(|recipient| refused.iter().all(|refused| refused.address != *recipient));
                let before = self.at.since(self.entry.since);
                let found = ways.graph.find_sent(&admitted.bearer, message_id, &recipients, before).await;
                if found == SentCopy::Found { self.own().await } else { found }
            }
            Err(failure) => SentCopy::Unknown(failure.message),
        }
    }

    /// The copy that was found is of this message, unless it may be of another one.
    async fn own(&self) -> SentCopy {
        match self.courier.has_double(self.entry.id).await {
            Ok(false) => SentCopy::Found,
            Ok(true) => SentCopy::Barred("another message with the same Message-ID left at that time".to_owned()),
            Err(error) => SentCopy::Unknown(error.to_string()),
        }
    }

    /// The message cannot be tried: there is no token, no connection or no permit.
    fn cannot(&self, failure: Failure) -> Attempted {
        let wait = self.present.shared.memory.pause_left(MailProtocol::Smtp, self.mailbox);
        Attempted::Paused { failure, wait: Some(wait).filter(|wait| !wait.is_zero()), is_suspect: false }
    }

    fn refused(&self, stage: Stage, reply: &Reply, recipient: Option<&str>) -> Attempted {
        let sender = self.message.sender.as_deref();
        let mailbox = self.mailbox.as_str();
        Attempted::refused_by_exchange(MailRefusal { stage, reply, mailbox, sender, recipient })
    }

    /// Returns a description of the connection from which the message came.
    pub(super) fn subject(&self) -> ConnectionInfo {
        let device = self.message.device.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        ConnectionInfo::new(&self.message.listener.as_str().into(), SocketAddr::new(device, 0))
    }

    /// Returns the router of the account that sent the message, by the present configuration.
    fn router<'r>(
        &'r self,
        ways: &'r SubmissionBackend,
        subject: &'r ConnectionInfo,
    ) -> Result<DeliveryRouter<'r>, Failure> {
        let shared = &*self.present.shared;
        let Ok(login) = MailAddress::parse(&self.message.login) else {
            return Err(Failure::new(Cause::UnknownAccount, "the message names no account"));
        };
        let principal = shared.authenticator.identify(login.as_login(), None)?;
        let Principal { account, mailbox, .. } = &principal;
        let opens = mailbox == self.mailbox
            || account.sending.send_as.has(self.mailbox)
            || account.mailbox_named(&login, self.mailbox.as_login()).is_some();
        if !opens {
            return Err(Failure::new(
                Cause::ActingAsNotAllowed,
                format!("account `{login}` may no longer open mailbox `{}`", self.mailbox),
            ));
        }
        Ok(DeliveryRouter { shared, ways, subject, sender: Sender::Proved(Arc::new(principal)) })
    }

    fn mail(&self) -> Mail {
        let NewMessage { sender, body, smtputf8, dsn, .. } = self.message;
        let body = body
            .as_deref()
            .and_then(|name| [Body::SevenBit, Body::EightBit].into_iter().find(|body| body.name() == name));
        Mail { sender: sender.clone(), size: Some(self.entry.bytes), body, smtputf8: *smtputf8, dsn: dsn.clone() }
    }

    fn envelope(&self) -> Envelope {
        let NewMessage { sender, recipients, smtputf8, .. } = self.message;
        let recipients = recipients.iter().map(|recipient| recipient.address.clone()).collect();
        Envelope { sender: sender.clone(), recipients, smtputf8: *smtputf8 }
    }
}

pub(super) const OTHERS_HAVE_IT: &str = "the others have the message";
pub(super) const OTHERS_UNKNOWN: &str = "nobody can tell whether the others have the message";

/// The failure of a message that some recipients do not get.
pub(super) fn partial(mut failure: Failure, left: &[QueuedRecipient], others: &str) -> Failure {
    let named: Vec<&str> = left.iter().take(NAMED).map(|recipient| &*recipient.address).collect();
    let more = if left.len() > NAMED { " and others" } else { "" };
    failure.message = format!("not for {}{more}: {} ({others})", named.join(", "), failure.message);
    failure
}

/// Whether there are too many recipients for one message.
fn is_too_many(reply: &Reply) -> bool {
    reply.status().is_some_and(|status| status.ends_with(".5.3"))
}

/// The message was not handed over, because the queue does not give it.
fn unreadable(error: &QueueError) -> Attempted {
    let failure = Failure::new(Cause::QueueUnavailable, error.to_string());
    if let QueueError::Damaged(_) = error { Attempted::Refused(failure) } else { Attempted::Unreadable(failure) }
}

fn damaged(error: &io::Error) -> Attempted {
    let failure = Failure::new(Cause::QueueUnavailable, format!("the message cannot be read: {}", Plain(error)));
    if error.kind() == io::ErrorKind::InvalidData {
        Attempted::Refused(failure)
    } else {
        Attempted::Unreadable(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_first_recipients_that_do_not_get_the_message() {
        let recipients = |count: usize| -> Vec<QueuedRecipient> {
            let numbers = 0..count;
            numbers.map(|number| QueuedRecipient { address: format!("r{number}@b.c"), dsn: Vec::new() }).collect()
        };
        let told = |count| partial(Failure::new(Cause::Refused, "no"), &recipients(count), OTHERS_HAVE_IT).message;
        assert_eq!(told(1), "not for r0@b.c: no (the others have the message)");
        let five = "r0@b.c, r1@b.c, r2@b.c, r3@b.c, r4@b.c";
        assert_eq!(told(5), format!("not for {five}: no (the others have the message)"));
        assert_eq!(told(6), format!("not for {five} and others: no (the others have the message)"));
    }

    #[test]
    fn only_one_status_says_that_there_are_too_many_recipients() {
        assert!(is_too_many(&Reply::new(452, [5, 3], "Too many recipients")));
        assert!(!is_too_many(&Reply::new(452, [5, 0], "no")));
        assert!(!is_too_many(&Reply::new(452, [4, 3], "no")));
    }

    #[test]
    fn a_damaged_message_is_given_up_and_one_that_cannot_be_read_now_is_not() {
        let (damage, busy) = (io::ErrorKind::InvalidData.into(), io::ErrorKind::TimedOut.into());
        assert!(matches!(damaged(&damage), Attempted::Refused(_)));
        assert!(matches!(damaged(&busy), Attempted::Unreadable(_)));
        assert!(matches!(unreadable(&QueueError::Damaged("it was cut".into())), Attempted::Refused(_)));
        assert!(matches!(unreadable(&QueueError::Full("it is full".into())), Attempted::Unreadable(_)));
    }
}
