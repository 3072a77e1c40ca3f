//! The conversation with a client that may send. Its messages come one after another, and each is
//! sent on to Microsoft while it arrives.

use std::future::pending;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::exchange::Exchange;
use super::header::HeaderGate;
use super::local;
use super::message::{self, Delivery, Message, Verdict};
use super::rates::Counted;
use super::refused::{self, Refused};
use crate::graph::MessageOctets;
use crate::session::connection_info::SessionUser;
use crate::session::incident::{Message as Told, Outcome};
use crate::session::mail_refusal::MailRefusal;
use crate::session::registry::SessionGuard;
use crate::session::submission::delivery::{Admitted, DeliveryRoute, DeliveryRouter, Sender, mailbox_of};
use gatepost_config::{Config, TrustedSender, TrustedSource};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_core::source::Source;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::smtp::content::ContentError;
use gatepost_proto::mail::smtp::submission::{Ending, Event, Submission};
use gatepost_proto::mail::smtp::transaction::{Mail, Recipient};
use gatepost_proto::mail::smtp::{Envelope, Reply, Stage};
use gatepost_store::queue::Reservation;

/// How long a connection to Exchange Online without a message is kept for the client's next one. It
/// takes one of the mailbox's few permits, and yields it before that time if another login waits.
const SPARE: Duration = Duration::from_secs(5);
/// Buffer size while commands are awaited. Thousands of connections may do so at once.
const COMMAND_READ: usize = 2 * 1_024;
/// Buffer size for the content of a message.
const CONTENT_READ: usize = 32 * 1_024;

/// One client.
pub(super) struct Conversation<'a> {
    pub(super) router: DeliveryRouter<'a>,
    pub(super) whose: &'a SessionUser,
    live: &'a SessionGuard,
    pub(super) stream: Stream,
    pub(super) machine: Submission,
    /// A connection to Exchange Online for the next message.
    pub(super) spare: Option<Spare>,
    message: Option<Message<'a>>,
    /// Room in the queue for a message whose mailbox its header decides.
    pub(super) reserved: Option<Reservation>,
    /// Later configurations, which may no longer trust the client.
    pub(super) changes: watch::Receiver<Arc<Config>>,
    /// Octets of messages that have been sent on.
    sent: u64,
    /// Whether the log has said that fields of its messages are lost.
    told_of_fields: bool,
}

/// A connection that is kept without a message.
pub(super) struct Spare {
    pub(super) admitted: Admitted,
    pub(super) exchange: Box<Exchange>,
    until: Instant,
}

/// The connection to the client can no longer be used.
struct Gone(Cause);

impl<'a> Conversation<'a> {
    pub(super) fn new(
        router: DeliveryRouter<'a>,
        (whose, live): (&'a SessionUser, &'a SessionGuard),
        stream: Stream,
        machine: Submission,
        ready: Option<(Admitted, Option<DeliveryRoute>)>,
    ) -> Self {
        let mailbox = match (&router.sender, &ready) {
            (Sender::Trusted(rule), _) => mailbox_of(router.shared, rule),
            (Sender::Proved(principal), _) => Some(principal.mailbox.clone()),
            (_, ready) => ready.as_ref().map(|(admitted, _)| admitted.bearer.user.clone()),
        };
        let spare = match ready {
            Some((admitted, Some(DeliveryRoute::Smtp(exchange)))) => Some(Spare::new(admitted, exchange)),
            _ => None,
        };
        let changes = router.shared.authenticator.changes();
        let mut conversation = Self {
            router,
            whose,
            live,
            stream,
            machine,
            spare,
            message: None,
            reserved: None,
            changes,
            sent: 0,
            told_of_fields: false,
        };
        conversation.announce_size(mailbox.as_ref());
        conversation
    }

    /// Lets the client hear the size that its messages may have, as far as it is known.
    pub(super) fn announce_size(&mut self, mailbox: Option<&MailAddress>) {
        let DeliveryRouter { ways, shared, .. } = self.router;
        self.machine.announce_size(ways.announced(&shared.limits, mailbox).size);
    }

    /// Converses until the end. Returns a short word for the cause of the end.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the connection for [`Conversation::finish`].
    pub(super) async fn run(&mut self) -> Cause {
        let cause = loop {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(cause)) => break cause,
                Err(Gone(cause)) => break cause,
            }
        };
        self.finish().await;
        cause
    }

    /// Ends the connections to the client and to Microsoft in order.
    pub(super) async fn finish(&mut self) {
        self.stream.end().await;
        if let Some(spare) = self.spare.take() {
            spare.exchange.quit().await;
        }
    }

    async fn step(&mut self) -> Result<Option<Cause>, Gone> {
        let event = self.machine.poll_event();
        let wrote = self.flush().await?;
        let reply = match event {
            // There may be more events, now that there is room for replies.
            None if wrote => return Ok(None),
            None => return self.read().await,
            Some(Event::Mail(mail)) => self.mail(mail).await,
            Some(Event::Recipient(recipient)) => self.recipient(recipient).await,
            Some(Event::Message) => self.begin().await,
            Some(Event::Content(piece)) => {
                self.content(piece).await;
                return Ok(None);
            }
            Some(Event::Flawed(flaw)) => {
                self.flawed(flaw);
                return Ok(None);
            }
            Some(Event::End) => self.end().await,
            Some(Event::Reset) => {
                self.reset().await;
                return Ok(None);
            }
            Some(Event::Close(ending)) => {
                return Ok(Some(match ending {
                    Ending::Quit => Cause::ClientEnded,
                    Ending::Told => Cause::Closed,
                    Ending::TooManyErrors => Cause::TooManyErrors,
                    Ending::Lost => Cause::OutOfStep,
                }));
            }
        };
        self.machine.answer(&reply);
        Ok(None)
    }

    /// Waits for the client, and for anything that ends the session meanwhile.
    async fn read(&mut self) -> Result<Option<Cause>, Gone> {
        let limits = &self.router.shared.limits;
        let deadline = Instant::now() + limits.smtp_command;
        let spare = self.spare.as_ref().map(Spare::needless);
        let idle = self.machine.is_idle();
        let mut buffer = vec![0; if self.machine.is_receiving() { CONTENT_READ } else { COMMAND_READ }];
        let (words, cause) = tokio::select! {
            read = self.stream.read(&mut buffer) => return match read {
                Ok(0) | Err(_) if !idle => Err(Gone(Cause::ClientBroke)),
                Ok(0) => Err(Gone(Cause::ClientEnded)),
                Ok(read) => {
                    self.machine.handle_input(&buffer[..read]);
                    Ok(None)
                }
                Err(_) => Err(Gone(Cause::ClientBroke)),
            },
            () = async {
                match spare {
                    Some(needless) => needless.await,
                    None => pending().await,
                }
            } => {
                if let Some(spare) = self.spare.take() {
                    spare.exchange.quit().await;
                }
                return Ok(None);
            }
            () = sleep_until(deadline) => (Reply::new(421, [4, 2], "That took too long"), Cause::Idle),
            () = self.router.shared.draining.cancelled(), if idle => {
                (refused::stopping(), Cause::Draining)
            }
            () = self.router.trusts_no_longer(&mut self.changes), if idle => {
                (refused::not_trusted(), Cause::NotTrusted)
            }
            ending = async {
                match &self.whose.device {
                    Some(device) => device.ended().await,
                    None => pending().await,
                }
            } => (Reply::new(421, [7, 0], "The password is not valid any longer"), ending.cause()),
        };
        self.machine.close(&words);
        self.flush().await?;
        Ok(Some(cause))
    }

    /// Writes the pending output to the client. Returns true when there was any.
    async fn flush(&mut self) -> Result<bool, Gone> {
        let Some(output) = self.machine.poll_output() else { return Ok(false) };
        match timeout(self.router.shared.limits.write_stall, self.stream.write(&output)).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(_)) => Err(Gone(Cause::ClientBroke)),
            Err(_) => Err(Gone(Cause::Stalled)),
        }
    }

    /// Returns the rule that lets the client send without a login.
    pub(super) fn rule(&self) -> Option<&TrustedSender> {
        match &self.router.sender {
            Sender::Trusted(rule) => Some(rule),
            Sender::LoggedIn(_) | Sender::Proved(_) => None,
        }
    }

    async fn mail(&mut self, mut mail: Mail) -> Reply {
        self.reserved = None;
        let policy = match self.router.policy() {
            Ok(policy) => policy,
            Err(failure) => return self.refuse(self.because_of(failure)),
        };
        let mailbox = match policy.apply(&mut mail) {
            Ok(mailbox) => mailbox,
            Err(refused) => return self.refuse(refused),
        };
        let mut counted = vec![match self.rule().map(|rule| rule.from) {
            Some(TrustedSource::User(id)) => Counted::User(id),
            _ => Counted::Source(Source::of(self.router.subject.peer.ip())),
        }];
        counted.extend(mailbox.clone().map(Counted::Mailbox));
        if let Err(refused) = self.wait_for_turn(counted).await {
            return self.refuse(refused);
        }
        let envelope = Envelope { sender: mail.sender.clone(), recipients: Vec::new(), smtputf8: mail.smtputf8 };
        let (reply, way) = match &mailbox {
            Some(mailbox) => match self.start(&mail, mailbox).await {
                Ok(started) => started,
                Err(refused) => return self.refuse(refused),
            },
            None => {
                if let Err(refused) = self.reserve(&mail).await {
                    return self.refuse(refused);
                }
                (message::sender_ok(), Delivery::Undecided { mail, recipients: Vec::new() })
            }
        };
        let gate = HeaderGate::new(policy, mailbox);
        self.message = Some(Message { envelope, way, gate, octets: 0, refused: None });
        reply
    }

    async fn recipient(&mut self, mut recipient: Recipient) -> Reply {
        if let Some(TrustedSender { from: TrustedSource::User(_), .. }) = self.rule()
            && let Err(refused) = local::resolve(&self.router.shared.authenticator.config(), &mut recipient)
        {
            return self.refuse(refused);
        }
        if let Some(rule) = self.rule()
            && !rule.recipient_domains.is_empty()
        {
            let domain = recipient.address.rsplit_once('@').map_or("", |(_, domain)| domain);
            if !rule.recipient_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain)) {
                return self.refuse(refused::outside(&recipient.address, domain, rule));
            }
        }
        let Some(message) = &mut self.message else { return refused::lost().reply };
        let reply = match &mut message.way {
            Delivery::Lost => return refused::lost().reply,
            Delivery::Undecided { recipients, .. } => {
                recipients.push(recipient.clone());
                message::recipient_ok()
            }
            Delivery::Graph { .. } => message::recipient_ok(),
            Delivery::Queue(queued) => {
                queued.recipient(&recipient);
                message::recipient_ok()
            }
            Delivery::Smtp { exchange, .. } => match exchange.recipient(&recipient).await {
                Ok(reply) => reply,
                Err(error) => {
                    message.way = Delivery::Lost;
                    return self.refuse(refused::broke(&error));
                }
            },
        };
        if reply.is_positive() {
            message.envelope.recipients.push(recipient.address);
            return reply;
        }
        let refused = message.refused_by_exchange(Stage::Recipient, &reply, Some(&recipient.address));
        self.refuse(refused)
    }

    /// The client announces the content of the message.
    async fn begin(&mut self) -> Reply {
        let Some(message) = &mut self.message else { return refused::lost().reply };
        let begun = match &mut message.way {
            Delivery::Lost => Err(refused::lost()),
            Delivery::Undecided { .. } => Ok(message::go_on()),
            Delivery::Graph { room, .. } => self.router.graph_room().map(|permit| {
                *room = Some(permit);
                message::go_on()
            }),
            Delivery::Queue(queued) => queued.begin().await.map(|()| message::go_on()),
            Delivery::Smtp { exchange, begun, .. } => match exchange.data().await {
                Ok(reply) if reply.is_positive() => {
                    *begun = true;
                    Ok(reply)
                }
                Ok(reply) => Err(message.refused_by_exchange(Stage::Content, &reply, None)),
                Err(error) => {
                    message.way = Delivery::Lost;
                    Err(refused::broke(&error))
                }
            },
        };
        match begun {
            Ok(reply) => reply,
            Err(refused) => {
                self.reset().await;
                self.refuse(refused)
            }
        }
    }

    async fn content(&mut self, piece: Vec<u8>) {
        let Some(mut message) = self.message.take() else { return };
        message.octets += piece.len() as u64;
        if message.refused.is_none() {
            let passed = match &mut message.gate {
                Some(gate) => gate.pass(piece),
                None => Ok(piece),
            };
            self.forward(&mut message, passed).await;
        }
        self.message = Some(message);
    }

    /// Sends on what has passed the gate, once it is decided which mailbox sends it.
    async fn forward(&mut self, message: &mut Message<'a>, passed: Result<Vec<u8>, Refused>) {
        let piece = match passed {
            Ok(piece) => piece,
            Err(refused) => return message.give_up(refused),
        };
        if let (Delivery::Undecided { mail, recipients }, Some(gate)) = (&mut message.way, &message.gate)
            && let Some(mailbox) = gate.decided(mail)
        {
            match self.open(mail, recipients, &mailbox).await {
                Ok(way) => message.way = way,
                Err(refused) => return message.give_up(refused),
            }
        }
        message.carry(&piece).await;
    }

    fn flawed(&mut self, flaw: ContentError) {
        // Dropping the connection in the middle of the content also drops the message at the
        // server.
        let message = self.message.take();
        self.reserved = None;
        let by_graph = message.is_some_and(|message| matches!(message.way, Delivery::Graph { .. }));
        let failure = match flaw {
            ContentError::LineEnd => {
                Failure::new(Cause::BareLineEnd, "message refused, because it has a bare CR or LF")
            }
            ContentError::Nul => Failure::new(Cause::Nul, "message refused, because it has a NUL"),
            ContentError::TooLarge if by_graph => {
                refused::too_large_for_graph(self.router.ways.drafts.is_some()).failure
            }
            ContentError::TooLarge => Failure::new(
                Cause::MessageTooLarge,
                "message refused, because it is larger than `limits.message` or than Exchange Online takes",
            )
            .to_do("send smaller messages"),
        };
        self.router.shared.journal.flawed(self.router.subject, self.whose, &failure);
    }

    /// The message is complete.
    async fn end(&mut self) -> Reply {
        let Some(mut message) = self.message.take() else { return refused::lost().reply };
        if message.refused.is_none()
            && let Some(gate) = &mut message.gate
        {
            let rest = gate.finish();
            self.forward(&mut message, rest).await;
        }
        // A message that was refused before its mailbox was known leaves its room.
        self.reserved = None;
        let mailbox = message.mailbox().filter(|mailbox| !self.whose.opens(mailbox));
        let sending = message.mailbox();
        let Message { envelope, way, octets, refused, .. } = message;
        let (way, Verdict { reply, failure, remark, loss }) = match (refused, way) {
            (Some(refused), _) => ("none", refused.into()),
            (None, Delivery::Undecided { .. } | Delivery::Lost) => ("none", refused::lost().into()),
            (None, Delivery::Smtp { admitted, mut exchange, .. }) => match exchange.end().await {
                Ok(reply) => {
                    if reply.code() != 421 {
                        self.spare = Some(Spare::new(admitted, exchange));
                    }
                    let verdict = if reply.is_positive() {
                        reply.into()
                    } else {
                        refused::by_exchange(MailRefusal {
                            stage: Stage::Content,
                            reply: &reply,
                            mailbox: sending.as_ref().map_or("", MailAddress::as_str),
                            sender: envelope.sender.as_deref(),
                            recipient: None,
                        })
                        .into()
                    };
                    ("smtp", verdict)
                }
                Err(error) => ("smtp", refused::unknown(&error).into()),
            },
            (None, Delivery::Queue(queued)) => ("queue", queued.end().await.map_or_else(Verdict::from, Verdict::from)),
            (None, Delivery::Graph { admitted, collected, room: _room }) => {
                let sent = match collected.finish().await {
                    Ok(message) => self.send_through_graph(admitted, &envelope, message).await,
                    Err(refused) => refused.into(),
                };
                ("graph", sent)
            }
        };
        let trusted = self.rule().map(|rule| rule.from);
        let recipients = envelope.recipients.len();
        let mailbox = mailbox.as_ref();
        let told = Told {
            way,
            trusted,
            mailbox,
            sender: envelope.sender.as_deref(),
            recipients,
            octets,
            reply: &reply,
            failure: failure.as_ref(),
            remark: &remark,
        };
        if matches!(told.outcome(), Outcome::Sent | Outcome::Queued) {
            self.sent += octets;
            self.live.moved(self.sent, 0);
        }
        self.router.shared.journal.message(Protocol::Smtp, self.router.subject, self.whose, &told);
        // The same program sends the same fields with each message.
        if let Some(loss) = loss.filter(|_| !mem::replace(&mut self.told_of_fields, true)) {
            self.router.shared.journal.degraded(Protocol::Smtp, self.router.subject, self.whose, &loss);
        }
        reply
    }

    async fn send_through_graph(&self, admitted: Admitted, envelope: &Envelope, message: MessageOctets) -> Verdict {
        match self.router.send_through_graph(admitted, envelope, message, &()).await {
            Ok(Ok(sent)) => sent.into(),
            Ok(Err(not_sent)) => not_sent.into(),
            Err(failure) => self.because_of(failure).into(),
        }
    }

    /// Discards everything since MAIL.
    async fn reset(&mut self) {
        self.reserved = None;
        let Some(message) = self.message.take() else { return };
        if let Delivery::Smtp { admitted, mut exchange, begun: false } = message.way
            && exchange.reset().await.is_ok_and(|reply| reply.is_positive())
        {
            self.spare = Some(Spare::new(admitted, exchange));
        }
    }

    /// Refuses for a failure.
    pub(super) fn because_of(&self, failure: Failure) -> Refused {
        Refused::of(failure, &self.router.subject.session)
    }

    /// Logs a refused command.
    fn refuse(&self, refused: Refused) -> Reply {
        let Refused { reply, failure } = refused;
        let trusted = self.rule().map(|rule| rule.from);
        self.router.shared.journal.command_refused(self.router.subject, self.whose, trusted, &reply, &failure);
        reply
    }
}

impl Spare {
    pub(super) fn new(admitted: Admitted, mut exchange: Box<Exchange>) -> Self {
        exchange.is_spare(true);
        Self { admitted, exchange, until: Instant::now() + SPARE }
    }

    /// Waits until the connection is to be closed.
    pub(super) fn needless(&self) -> impl Future<Output = ()> + Send + use<> {
        let (until, asked) = (self.until, self.exchange.asked_to_yield());
        async move {
            tokio::select! {
                () = sleep_until(until) => {}
                () = asked => {}
            }
        }
    }

    /// Returns the connection for a message.
    pub(super) fn used(mut self) -> (Admitted, DeliveryRoute) {
        self.exchange.is_spare(false);
        (self.admitted, DeliveryRoute::Smtp(self.exchange))
    }
}
