//! The conversation with a client that may send. Its messages come one after another, and each is
//! sent on to Microsoft while it arrives.

use std::future::pending;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::exchange::Exchange;
use super::header::{Author, HeaderGate, is_one_of, not_yours};
use super::message::{Delivery, Message, Verdict};
use super::refused;
use crate::graph::MESSAGE_OCTETS;
use crate::session::connection_info::SessionUser;
use crate::session::fresh_token::with_fresh_token;
use crate::session::journal::{Message as Told, Outcome};
use crate::session::registry::SessionGuard;
use crate::session::submission::delivery::{Admitted, DeliveryRoute, DeliveryRouter, Sender, mailbox_of};
use gatepost_config::{Config, Resource, SenderRule, TrustedSender};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::smtp::content::ContentError;
use gatepost_proto::mail::smtp::submission::{Ending, Event, Submission};
use gatepost_proto::mail::smtp::transaction::{Mail, Recipient};
use gatepost_proto::mail::smtp::{Envelope, Reply};

/// How long a connection to Exchange Online without a message is kept for the client's next one. It
/// takes one of the mailbox's few permits.
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
    spare: Option<Spare>,
    message: Option<Message<'a>>,
    /// Later configurations, which may no longer trust the client.
    changes: watch::Receiver<Arc<Config>>,
    /// Octets of messages that have been sent on.
    sent: u64,
    /// Whether the log has said that fields of its messages are lost.
    told_of_fields: bool,
}

struct Spare {
    admitted: Admitted,
    exchange: Box<Exchange>,
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
        ready: Option<(Admitted, DeliveryRoute)>,
    ) -> Self {
        let mailbox = match (&router.sender, &ready) {
            (Sender::Trusted(rule), _) => mailbox_of(router.shared, rule),
            (_, ready) => ready.as_ref().map(|(admitted, _)| admitted.bearer.user.clone()),
        };
        let spare = match ready {
            Some((admitted, DeliveryRoute::Smtp(exchange))) => Some(Spare::new(admitted, exchange)),
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
            changes,
            sent: 0,
            told_of_fields: false,
        };
        conversation.announce_size(mailbox.as_ref());
        conversation
    }

    /// Lets the client hear the size that its messages may have, as far as it is known.
    fn announce_size(&mut self, mailbox: Option<&MailAddress>) {
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
        let spare_until = self.spare.as_ref().map(|spare| spare.until);
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
            () = sleep_until(spare_until.unwrap_or(deadline)), if spare_until.is_some() => {
                if let Some(spare) = self.spare.take() {
                    spare.exchange.quit().await;
                }
                return Ok(None);
            }
            () = sleep_until(deadline) => (Reply::new(421, [4, 2], "That took too long"), Cause::Idle),
            () = self.router.shared.draining.cancelled(), if idle => {
                (Reply::new(421, [3, 2], "The service is stopping, try again later"), Cause::Draining)
            }
            () = self.router.trusts_no_longer(&mut self.changes), if idle => {
                (Reply::new(421, [3, 2], "This device is trusted no longer"), Cause::NotTrusted)
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
    fn rule(&self) -> Option<&TrustedSender> {
        match &self.router.sender {
            Sender::Trusted(rule) => Some(rule),
            Sender::LoggedIn(_) | Sender::Proved(_) => None,
        }
    }

    async fn mail(&mut self, mut mail: Mail) -> Reply {
        if let Some(rule) = self.rule() {
            let (peer, most) = (self.router.subject.peer.ip(), rule.messages_per_minute);
            if !self.router.ways.rates.count(peer, &rule.login, most) {
                let reply =
                    Reply::new(450, [7, 1], format_args!("More than {most} messages in a minute, try again later"));
                return self.refuse(reply, None);
            }
        }
        if let Some(spare) = self.spare.take_if(|spare| !self.router.still_admits(&spare.admitted)) {
            spare.exchange.quit().await;
        }
        // A kept connection may be dead without our knowledge. Then the message goes over another
        // one.
        let mut again = self.spare.is_some();
        loop {
            let (admitted, way) = match self.spare.take() {
                Some(spare) => (spare.admitted, DeliveryRoute::Smtp(spare.exchange)),
                None => match self.router.prepare_in_time().await {
                    Ok(ready) => ready,
                    Err(failure) => {
                        let reply = refused::reply(&failure, &self.router.subject.session);
                        return self.refuse(reply, Some(failure));
                    }
                },
            };
            self.announce_size(Some(&admitted.bearer.user));
            let gate = match self.rule().map(|rule| rule.sender) {
                None => None,
                Some(SenderRule::Forced) => {
                    mail.sender = Some(admitted.bearer.user.to_string());
                    Some(HeaderGate::new(Author::Forced(admitted.bearer.user.clone())))
                }
                Some(SenderRule::Checked) => {
                    let names = admitted.names();
                    if let Some(other) = mail.sender.as_deref().filter(|sender| !is_one_of(sender, &names)) {
                        let reply = not_yours(other);
                        self.keep(admitted, way);
                        return self.refuse(reply, None);
                    }
                    Some(HeaderGate::new(Author::Checked(names)))
                }
            };
            let (reply, way) = match way {
                DeliveryRoute::Graph => match self.bound_for_graph(&mail) {
                    Ok(reply) => (reply, Delivery::Graph { collected: Vec::new(), _room: None }),
                    Err(reply) => return self.refuse(reply, None),
                },
                DeliveryRoute::Smtp(mut exchange) => match exchange.mail(&mail).await {
                    Ok(reply) if reply.code() == 421 && again => {
                        again = false;
                        continue;
                    }
                    Err(_) if again => {
                        again = false;
                        continue;
                    }
                    Ok(reply) if reply.class() == 2 => (reply, Delivery::Smtp { exchange, begun: false }),
                    Ok(reply) => {
                        self.keep(admitted, DeliveryRoute::Smtp(exchange));
                        return self.refuse(reply, None);
                    }
                    Err(error) => return self.refuse(refused::broke(&error), None),
                },
            };
            let envelope = Envelope { sender: mail.sender, recipients: Vec::new(), smtputf8: mail.smtputf8 };
            self.message = Some(Message { admitted, envelope, way, gate, octets: 0, refused: None });
            return reply;
        }
    }

    /// Accepts a message for Graph, which must be small.
    fn bound_for_graph(&mut self, mail: &Mail) -> Result<Reply, Reply> {
        let most = MESSAGE_OCTETS as u64;
        if mail.size.is_some_and(|size| size > most) {
            return Err(Reply::new(
                552,
                [3, 4],
                format_args!("The message is too large, at most {most} octets go through Microsoft Graph"),
            ));
        }
        self.machine.limit_message(most);
        Ok(Reply::new(250, [1, 0], "Sender OK"))
    }

    async fn recipient(&mut self, recipient: Recipient) -> Reply {
        if let Some(rule) = self.rule()
            && !rule.recipient_domains.is_empty()
        {
            let domain = recipient.address.rsplit_once('@').map_or("", |(_, domain)| domain);
            if !rule.recipient_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain)) {
                let words = format_args!("This device may not send to <{}>", recipient.address);
                return self.refuse(Reply::new(550, [7, 1], words), None);
            }
        }
        let Some(message) = &mut self.message else { return refused::lost() };
        let reply = match &mut message.way {
            Delivery::Lost => return refused::lost(),
            Delivery::Graph { .. } => Reply::new(250, [1, 5], "Recipient OK"),
            Delivery::Smtp { exchange, .. } => match exchange.recipient(&recipient).await {
                Ok(reply) => reply,
                Err(error) => {
                    message.way = Delivery::Lost;
                    return self.refuse(refused::broke(&error), None);
                }
            },
        };
        if reply.is_positive() {
            message.envelope.recipients.push(recipient.address);
            return reply;
        }
        self.refuse(reply, None)
    }

    /// The client announces the content of the message.
    async fn begin(&mut self) -> Reply {
        let Some(message) = &mut self.message else { return refused::lost() };
        let reply = match &mut message.way {
            Delivery::Lost => refused::lost(),
            Delivery::Graph { _room: room, .. } => match self.router.ways.room.try_acquire() {
                Ok(permit) => {
                    *room = Some(permit);
                    Reply::plain(354, "Send the message, end with a dot on a line of its own")
                }
                Err(_) => Reply::new(451, [3, 2], "Too many messages at once, try again later"),
            },
            Delivery::Smtp { exchange, begun } => match exchange.data().await {
                Ok(reply) if reply.code() == 354 => {
                    *begun = true;
                    reply
                }
                // Only 354 accepts; any other positive reply is an error.
                Ok(reply) if reply.is_positive() => {
                    message.way = Delivery::Lost;
                    refused::lost()
                }
                Ok(reply) => reply,
                Err(error) => {
                    message.way = Delivery::Lost;
                    refused::broke(&error)
                }
            },
        };
        if reply.is_positive() {
            return reply;
        }
        self.reset().await;
        self.refuse(reply, None)
    }

    async fn content(&mut self, piece: Vec<u8>) {
        let Some(message) = &mut self.message else { return };
        message.octets += piece.len() as u64;
        if message.refused.is_some() {
            return;
        }
        let piece = match &mut message.gate {
            Some(gate) => gate.pass(piece),
            None => Ok(piece),
        };
        match piece {
            Ok(piece) => message.carry(&piece).await,
            Err(reply) => message.give_up(reply),
        }
    }

    fn flawed(&mut self, flaw: ContentError) {
        // Dropping the connection in the middle of the content also drops the message at the
        // server.
        let message = self.message.take();
        let by_graph = message.is_some_and(|message| matches!(message.way, Delivery::Graph { .. }));
        let (cause, text) = match flaw {
            ContentError::LineEnd => (
                Cause::BareLineEnd,
                "a message has a bare CR or LF and was refused; whoever runs Gatepost: correct the program that sends it, \
                 or write `legacy: true` for this listener, and such line ends are mended",
            ),
            ContentError::Nul => (Cause::Nul, "a message has a NUL and was refused; correct the program that sends it"),
            ContentError::TooLarge if by_graph => (
                Cause::MessageTooLarge,
                "a message was refused, because Microsoft Graph takes no more than 3 MB. Device owner: send less at once. Gatepost \
                 admin: or let messages leave over SMTP",
            ),
            ContentError::TooLarge => (
                Cause::MessageTooLarge,
                "a message was refused, because it is larger than `limits.message`, or than the server announces (SIZE). Device \
                 owner: send less at once",
            ),
        };
        self.router.shared.journal.flawed(self.router.subject, self.whose, cause, text);
    }

    /// The message is complete.
    async fn end(&mut self) -> Reply {
        let Some(mut message) = self.message.take() else { return refused::lost() };
        if message.refused.is_none()
            && let Some(gate) = &mut message.gate
        {
            match gate.finish() {
                Ok(rest) => message.carry(&rest).await,
                Err(reply) => message.give_up(reply),
            }
        }
        let Message { admitted, envelope, way, octets, refused, .. } = message;
        let (way, Verdict { reply, failure, remark, loss }) = match (refused, way) {
            (Some(reply), _) => ("none", reply.into()),
            (None, Delivery::Lost) => ("none", refused::lost().into()),
            (None, Delivery::Smtp { mut exchange, .. }) => match exchange.end().await {
                Ok(reply) => {
                    if reply.code() != 421 {
                        self.spare = Some(Spare::new(admitted, exchange));
                    }
                    // 354 would say nothing about the message.
                    ("smtp", if reply.class() == 3 { refused::lost() } else { reply }.into())
                }
                Err(error) => ("smtp", refused::unknown(&error).into()),
            },
            (None, Delivery::Graph { collected, _room }) => {
                ("graph", self.send_through_graph(admitted, &envelope, collected).await)
            }
        };
        let trusted = self.rule().map(|rule| rule.from);
        let recipients = envelope.recipients.len();
        let told = Told { way, trusted, recipients, octets, reply: &reply, failure: failure.as_ref(), remark: &remark };
        if told.outcome() == Outcome::Sent {
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

    async fn send_through_graph(&self, admitted: Admitted, envelope: &Envelope, message: Vec<u8>) -> Verdict {
        let no = |failure: Failure| {
            let reply = refused::reply(&failure, &self.router.subject.session);
            Verdict { failure: Some(failure), ..reply.into() }
        };
        let _place = match self.router.place(Protocol::Graph, &admitted.bearer.user).await {
            Ok(place) => place,
            Err(failure) => return no(failure),
        };
        let message = Bytes::from(message);
        let (graph, authenticator) = (&self.router.ways.graph, &self.router.shared.authenticator);
        let send = |admitted: &Admitted| {
            let (bearer, message) = (admitted.bearer.clone(), message.clone());
            async move { graph.send_mail(&bearer, envelope, message).await }
        };
        let fetch = || self.router.admit(Resource::Graph);
        match with_fresh_token(authenticator, admitted, fetch, send).await {
            Ok(Ok((_, sent))) => sent.into(),
            Ok(Err(not_sent)) => not_sent.into(),
            Err(failure) => no(failure),
        }
    }

    /// Discards everything since MAIL.
    async fn reset(&mut self) {
        let Some(message) = self.message.take() else { return };
        if let Delivery::Smtp { mut exchange, begun: false } = message.way
            && exchange.reset().await.is_ok_and(|reply| reply.class() == 2)
        {
            self.spare = Some(Spare::new(message.admitted, exchange));
        }
    }

    fn keep(&mut self, admitted: Admitted, way: DeliveryRoute) {
        if let DeliveryRoute::Smtp(exchange) = way {
            self.spare = Some(Spare::new(admitted, exchange));
        }
    }

    /// Logs a refused command.
    fn refuse(&self, reply: Reply, failure: Option<Failure>) -> Reply {
        let trusted = self.rule().map(|rule| rule.from);
        self.router.shared.journal.command_refused(self.router.subject, self.whose, trusted, &reply, failure.as_ref());
        reply
    }
}

impl Spare {
    fn new(admitted: Admitted, exchange: Box<Exchange>) -> Self {
        Self { admitted, exchange, until: Instant::now() + SPARE }
    }
}
