//! Begins a message at Microsoft, when it is its turn and the mailbox that sends it is known.

use tokio::time::{Instant, sleep_until};

use super::collected::Collected;
use super::conversation::{Conversation, Spare};
use super::message::{self, Delivery};
use super::queued::Queued;
use super::rates::Counted;
use super::refused::{self, Refused};
use crate::session::connection_info::ConnectionInfo;
use crate::session::mail_refusal::MailRefusal;
use crate::session::submission::delivery::{Admitted, DeliveryRoute};
use gatepost_core::account::MailAddress;
use gatepost_proto::mail::smtp::transaction::{Body, Mail, Recipient};
use gatepost_proto::mail::smtp::{Reply, Stage};
use gatepost_store::queue::{NewMessage, Queue};

impl<'a> Conversation<'a> {
    /// Waits until a trusted device may send another message. Many devices have no queue, and a
    /// refused message is lost there.
    ///
    /// # Errors
    /// The refusal, when that takes too long or the session ends.
    pub(super) async fn wait_for_turn(&mut self, counted: Vec<Counted>) -> Result<(), Refused> {
        let Some(most) = self.rule().map(|rule| rule.messages_per_minute) else { return Ok(()) };
        // Never longer than Gatepost itself waits for a command.
        let patience = self.router.shared.limits.smtp_command;
        let Some(turn) = self.router.ways.rates.turn(counted, most, patience) else {
            return Err(refused::too_many(most));
        };
        let wait = turn.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            let ConnectionInfo { session, listener, peer, .. } = self.router.subject;
            let seconds = wait.as_secs();
            tracing::info!(
                session = &**session,
                listener = &**listener,
                peer = %peer,
                account = &*self.whose.account,
                "the device has sent {most} messages in a minute. The next one waits {seconds} s"
            );
        }
        tokio::select! {
            biased;
            () = sleep_until(turn) => Ok(()),
            () = self.router.shared.draining.cancelled() => Err(refused::while_stopping()),
            () = self.router.trusts_no_longer(&mut self.changes) => Err(refused::while_not_trusted()),
        }
    }

    /// Begins a message of `mailbox`. Returns the reply to MAIL, and how the message is sent on.
    ///
    /// # Errors
    /// The refusal of the message.
    pub(super) async fn start(&mut self, mail: &Mail, mailbox: &MailAddress) -> Result<(Reply, Delivery<'a>), Refused> {
        let router = &self.router;
        if let Some(queue) = router.queue() {
            return self.start_queued(queue, mail, mailbox).await;
        }
        let is_other =
            |spare: &mut Spare| spare.admitted.bearer.user != *mailbox || !router.still_admits(&spare.admitted);
        if let Some(spare) = self.spare.take_if(is_other) {
            spare.exchange.quit().await;
        }
        // A kept connection may be dead without our knowledge. Then the message goes over another
        // one.
        let mut again = self.spare.is_some();
        loop {
            let (admitted, way) = match self.spare.take() {
                Some(spare) => spare.used(),
                None => self.router.prepare(mailbox).await.map_err(|failure| self.because_of(failure))?,
            };
            self.announce_size(Some(&admitted.bearer.user));
            let DeliveryRoute::Smtp(mut exchange) = way else { return self.bound_for_graph(mail, admitted) };
            match exchange.mail(mail).await {
                Ok(reply) if reply.is_positive() => {
                    return Ok((reply, Delivery::Smtp { admitted, exchange, begun: false }));
                }
                Ok(reply) if reply.code() == 421 && again => {}
                Ok(reply) => {
                    self.spare = Some(Spare::new(admitted, exchange));
                    return Err(refused::by_exchange(MailRefusal {
                        stage: Stage::Sender,
                        reply: &reply,
                        mailbox: mailbox.as_str(),
                        sender: mail.sender.as_deref(),
                        recipient: None,
                    }));
                }
                Err(_) if again => {}
                Err(error) => return Err(refused::broke(&error)),
            }
            again = false;
        }
    }

    /// Reserves room for a message, if it goes into the queue: a full queue is told before the content.
    pub(super) async fn reserve(&mut self, mail: &Mail) -> Result<(), Refused> {
        self.reserved = None;
        if let Some(queue) = self.router.queue() {
            self.reserved = Some(queue.reserve(mail.size).await.map_err(|error| refused::not_queued(&error))?);
        }
        Ok(())
    }

    /// Begins a message that goes into the queue.
    async fn start_queued(
        &mut self,
        queue: &'a Queue,
        mail: &Mail,
        mailbox: &MailAddress,
    ) -> Result<(Reply, Delivery<'a>), Refused> {
        let (ways, shared) = (self.router.ways, self.router.shared);
        self.announce_size(Some(mailbox));
        // A message that cannot be delivered is refused while the client is there.
        let by_graph = ways.smtp.is_none() || ways.fallback.lead_through_graph(mailbox);
        let most = ways.extensions(&shared.limits).size;
        let most = if by_graph { most.min(ways.graph_octets()) } else { most };
        if mail.size.is_some_and(|size| size > most) {
            return Err(refused::too_large_for_graph(ways.drafts.is_some()));
        }
        self.machine.limit_message(most);
        if self.reserved.is_none() {
            self.reserve(mail).await?;
        }
        let Some(reservation) = self.reserved.take() else { return Err(refused::lost()) };
        let message = NewMessage {
            listener: self.router.subject.listener.to_string(),
            login: self.router.login().as_ref().unwrap_or(mailbox).to_string(),
            mailbox: mailbox.to_string(),
            device: self.router.subject.peer.ip().to_canonical().to_string(),
            sender: mail.sender.clone(),
            body: mail.body.map(Body::name).map(str::to_owned),
            smtputf8: mail.smtputf8,
            dsn: mail.dsn.clone(),
            recipients: Vec::new(),
            message_id: None,
        };
        let queued = Queued::new((queue, reservation), mailbox, message, &shared.server_name);
        Ok((message::sender_ok(), Delivery::Queue(Box::new(queued))))
    }

    /// Accepts a message for Graph, which must be small, or one that can become a draft.
    fn bound_for_graph(&mut self, mail: &Mail, admitted: Admitted) -> Result<(Reply, Delivery<'a>), Refused> {
        let ways = self.router.ways;
        let most = ways.graph_octets();
        if mail.size.is_some_and(|size| size > most) {
            return Err(refused::too_large_for_graph(ways.drafts.is_some()));
        }
        self.machine.limit_message(most.min(self.router.shared.limits.message_bytes as u64));
        let collected = Box::new(Collected::new(ways.drafts.clone()));
        Ok((message::sender_ok(), Delivery::Graph { admitted, collected, room: None }))
    }

    /// Begins a message of which the client has heard that everything is right so far, up to its
    /// content. A recipient that Microsoft refuses now refuses the message for all.
    ///
    /// # Errors
    /// The refusal of the message. Its connection is closed, which also drops it at the server.
    pub(super) async fn open(
        &mut self,
        mail: &Mail,
        recipients: &[Recipient],
        mailbox: &MailAddress,
    ) -> Result<Delivery<'a>, Refused> {
        self.wait_for_turn(vec![Counted::Mailbox(mailbox.clone())]).await?;
        let (_, mut way) = self.start(mail, mailbox).await?;
        match &mut way {
            Delivery::Smtp { exchange, begun, .. } => {
                let refusal = |stage, reply: &Reply, recipient: Option<&Recipient>| {
                    refused::by_exchange(MailRefusal {
                        stage,
                        reply,
                        mailbox: mailbox.as_str(),
                        sender: mail.sender.as_deref(),
                        recipient: recipient.map(|recipient| &*recipient.address),
                    })
                };
                for recipient in recipients {
                    match exchange.recipient(recipient).await {
                        Ok(reply) if reply.is_positive() => {}
                        Ok(reply) => return Err(refusal(Stage::Recipient, &reply, Some(recipient))),
                        Err(error) => return Err(refused::broke(&error)),
                    }
                }
                match exchange.data().await {
                    Ok(reply) if reply.is_positive() => *begun = true,
                    Ok(reply) => return Err(refusal(Stage::Content, &reply, None)),
                    Err(error) => return Err(refused::broke(&error)),
                }
            }
            Delivery::Graph { room, .. } => *room = Some(self.router.graph_room()?),
            Delivery::Queue(queued) => {
                recipients.iter().for_each(|recipient| queued.recipient(recipient));
                queued.begin().await?;
            }
            Delivery::Undecided { .. } | Delivery::Lost => {}
        }
        Ok(way)
    }
}
