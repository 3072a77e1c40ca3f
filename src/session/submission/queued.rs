//! Takes a message into the queue. The client hears 250 when it is durable.

use super::refused::{self, Refused};
use gatepost_core::account::MailAddress;
use gatepost_oauth::endpoint::guid;
use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mail::smtp::transaction::Recipient;
use gatepost_proto::mime::{HEAD_OCTETS, Head};
use gatepost_store::queue::{MessageWriter, NewMessage, Queue, QueueError, Recipient as QueuedRecipient, Reservation};

/// A message on its way into the queue. If it is dropped, nothing of it stays.
pub(super) struct Queued<'a> {
    queue: &'a Queue,
    message: NewMessage,
    pub(super) mailbox: MailAddress,
    content: Content,
    /// The name of this server, for the Message-ID of a message that has none.
    server_name: &'a str,
}

enum Content {
    /// The client has not begun to send it.
    Reserved(Reservation),
    /// Its header is held until it is complete.
    Head(MessageWriter, Vec<u8>),
    Body(MessageWriter),
    Lost,
}

impl<'a> Queued<'a> {
    /// Begins the message that `message` describes, of which nothing has come yet. `server_name` names
    /// this server in the Message-ID of a message that has none.
    pub(super) fn new(
        (queue, reservation): (&'a Queue, Reservation),
        mailbox: &MailAddress,
        message: NewMessage,
        server_name: &'a str,
    ) -> Self {
        Self { queue, message, mailbox: mailbox.clone(), content: Content::Reserved(reservation), server_name }
    }

    /// Names a recipient.
    pub(super) fn recipient(&mut self, recipient: &Recipient) {
        let Recipient { address, dsn } = recipient;
        self.message.recipients.push(QueuedRecipient { address: address.clone(), dsn: dsn.clone() });
    }

    /// Begins the content.
    pub(super) async fn begin(&mut self) -> Result<(), Refused> {
        let Content::Reserved(reservation) = std::mem::replace(&mut self.content, Content::Lost) else {
            return Err(refused::lost());
        };
        let writer = self.queue.writer(reservation).await.map_err(|error| refused::not_queued(&error))?;
        self.content = Content::Head(writer, Vec::new());
        Ok(())
    }

    /// Takes a piece of the content.
    pub(super) async fn content(&mut self, piece: &[u8]) -> Result<(), Refused> {
        match &mut self.content {
            Content::Body(writer) => writer.write(piece).await.map_err(|error| refused::not_queued(&error)),
            Content::Head(_, held) => {
                let searched = held.len();
                held.extend_from_slice(piece);
                let is_complete = Head::end(held, searched).is_some() || held.len() > HEAD_OCTETS;
                if is_complete { self.pass_head().await } else { Ok(()) }
            }
            Content::Reserved(_) | Content::Lost => Err(refused::lost()),
        }
    }

    /// Ends the message. Returns the reply when it is durable.
    pub(super) async fn end(mut self: Box<Self>) -> Result<Reply, Refused> {
        if let Content::Head(..) = self.content {
            self.pass_head().await?;
        }
        let Content::Body(writer) = self.content else { return Err(refused::lost()) };
        let id = writer.commit(&self.message).await.map_err(|error| refused::not_queued(&error))?;
        Ok(Reply::new(250, [0, 0], format_args!("Queued as {id}")))
    }

    /// Writes the header, with a Message-ID by which the message can be found later.
    async fn pass_head(&mut self) -> Result<(), Refused> {
        let Content::Head(mut writer, held) = std::mem::replace(&mut self.content, Content::Lost) else {
            return Err(refused::lost());
        };
        let (head, id) = identified(&held, self.server_name);
        self.message.message_id = id;
        let written: Result<(), QueueError> = match &head {
            Some(head) => writer.write(head).await,
            None => writer.write(&held).await,
        };
        written.map_err(|error| refused::not_queued(&error))?;
        self.content = Content::Body(writer);
        Ok(())
    }
}

/// Returns the Message-ID of what begins a message; and that beginning with one, if it has none. A
/// header that cannot be read stays as it is.
fn identified(held: &[u8], server_name: &str) -> (Option<Vec<u8>>, Option<String>) {
    let Ok(head) = Head::parse(held) else { return (None, None) };
    if let Some(field) = head.named("Message-ID").next() {
        return (None, crate::graph::searchable(head.value(field)));
    }
    let id = format!("<{}@{server_name}>", guid());
    let mut edited = head.edited(vec![(0..0, format!("Message-ID: {id}\r\n").into_bytes())]);
    edited.extend_from_slice(held.get(head.body()..).unwrap_or_default());
    (Some(edited), Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> (String, Option<String>) {
        let (edited, id) = identified(message.as_bytes(), "gatepost.contoso.com");
        (edited.map_or_else(|| message.to_owned(), |edited| String::from_utf8(edited).unwrap()), id)
    }

    #[test]
    fn a_message_can_be_found_by_its_id() {
        let with = "From: a@x\r\nMessage-Id: <1@x>\r\n\r\nText\r\n";
        assert_eq!(of(with), (with.to_owned(), Some("<1@x>".to_owned())));
        for (message, rest) in [
            ("From: a@x\r\n\r\nText\r\n", "From: a@x\r\n\r\nText\r\n"),
            ("\r\nText\r\n", "\r\nText\r\n"),
            ("Hello Anna:\r\n\r\nText\r\n", "\r\nHello Anna:\r\n\r\nText\r\n"),
        ] {
            let (edited, id) = of(message);
            let id = id.unwrap();
            assert!(id.starts_with('<') && id.ends_with("@gatepost.contoso.com>"), "{id}");
            assert_eq!(edited, format!("Message-ID: {id}\r\n{rest}"));
        }
    }

    #[test]
    fn what_cannot_be_searched_for_or_read_stays_as_it_is() {
        for message in ["Message-ID: <a@x> <b@x>\r\n\r\n", "Message-ID:\r\n\r\n"] {
            assert_eq!(of(message), (message.to_owned(), None), "{message}");
        }
        let endless = "X: y\r\n".repeat(HEAD_OCTETS / 6 + 2);
        assert_eq!(of(&endless), (endless, None));
    }
}
