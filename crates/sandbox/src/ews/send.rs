//! CreateItem and SendItem.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::EwsError;
use super::items::message_of;
use super::session::{EnteredMailbox, EwsSession};
use super::xml::{Element, truth};
use super::{item, soap};
use crate::compose::Draft;
use crate::letter::{Attachment, Person};
use crate::mode::Service;
use crate::store::{Flags, SENT_ITEMS};
use crate::submission;

const DRAFTS: &str = "Drafts";

impl EwsSession<'_> {
    pub(super) fn create_item(&self, request: &Element) -> Result<String, EwsError> {
        let (send, save) = match request.attribute("MessageDisposition") {
            Some("SaveOnly") => (false, true),
            Some("SendOnly") => (true, false),
            Some("SendAndSaveCopy") => (true, true),
            _ => return Err(EwsError::new("ErrorMessageDispositionRequired", "MessageDisposition is missing.")),
        };
        let folder = request.list("SavedItemFolderId").first();
        let one = |message: &Element| {
            if message.name != "Message" {
                return Err(EwsError::new("ErrorInvalidRequest", format!("{} is no message.", message.name)));
            }
            let content = self.content(message)?;
            if !send {
                let read = message.child("IsRead").is_none_or(|read| truth(read.text()));
                return self.save(folder, DRAFTS, content, Flags::DRAFT, read);
            }
            submission::send(self.shared, Service::Ews, (&self.own.address, &self.own.mailbox), &content, false)?;
            if save {
                self.save(folder, SENT_ITEMS, content, Flags::default(), true)?;
            }
            Ok("<m:Items/>".to_owned())
        };
        let messages = request.list("Items").iter().map(|item| message_of("CreateItem", one(item)));
        Ok(soap::response("CreateItem", &messages.collect::<String>()))
    }

    /// Sends a draft.
    pub(super) fn send_item(&self, request: &Element) -> Result<String, EwsError> {
        let save = request.attribute("SaveItemToFolder").is_some_and(truth);
        let target = request.list("SavedItemFolderId").first();
        self.each_item(request.list("ItemIds"), "SendItem", |place, (folder, uid)| {
            let content = place.mailbox.read(|folders| {
                let message = folders.by_validity(folder).and_then(|folder| folder.message(uid));
                message.map(|message| message.content.to_vec()).ok_or_else(EwsError::item_not_found)
            })?;
            submission::send(self.shared, Service::Ews, (&place.address, &place.mailbox), &content, false)?;
            place.mailbox.change(|folders| folders.expunge(folder, |candidate, _| candidate == uid));
            if save {
                self.save(target, SENT_ITEMS, content, Flags::default(), true)?;
            }
            Ok(String::new())
        })
    }

    /// Keeps a message in the folder that is named, or in the usual one.
    fn save(
        &self,
        folder: Option<&Element>,
        usual: &str,
        content: Vec<u8>,
        flags: Flags,
        read: bool,
    ) -> Result<String, EwsError> {
        let (place, name) = match folder {
            Some(id) => {
                let (place, validity) = self.mail_folder(id)?;
                let name = place.mailbox.read(|folders| {
                    let found = folders.iter().find(|(_, folder)| folder.uid_validity == validity);
                    found.map(|(name, _)| name.to_owned())
                });
                (place, name.ok_or_else(EwsError::folder_not_found)?)
            }
            None => (self.enter(&self.own.address)?, usual.to_owned()),
        };
        let EnteredMailbox { object_id, mailbox, .. } = place;
        let flags = if read { flags.with(Flags::SEEN) } else { flags };
        let now = self.shared.time.unix_seconds();
        let full = |_| EwsError::from(submission::Unsent::MailboxFull);
        let (folder, uid) = mailbox.append(&name, content.into(), flags, now).map_err(full)?;
        mailbox.read(|folders| {
            let message = folders.by_validity(folder).and_then(|folder| folder.message(uid));
            let message = message.ok_or_else(EwsError::item_not_found)?;
            let id = item::item_id(&object_id, (folder, uid, message));
            Ok(format!("<m:Items><t:Message>{id}</t:Message></m:Items>"))
        })
    }

    /// The octets of a message that came as MIME or in pieces.
    fn content(&self, message: &Element) -> Result<Vec<u8>, EwsError> {
        if let Some(mime) = message.child("MimeContent") {
            let dense: String = mime.text().split_ascii_whitespace().collect();
            return STANDARD
                .decode(dense)
                .map_err(|_| EwsError::new("ErrorMimeContentInvalidBase64String", "The MIME content is no base64."));
        }
        let owner = Person { name: String::new(), address: self.own.address.clone() };
        let body = message.child("Body");
        let draft = Draft {
            from: Some(people(message, "From").into_iter().next().unwrap_or(owner)),
            to: people(message, "ToRecipients"),
            cc: people(message, "CcRecipients"),
            bcc: people(message, "BccRecipients"),
            reply_to: people(message, "ReplyTo"),
            subject: message.text_of("Subject").to_owned(),
            message_id: None,
            html: body.is_some_and(|body| body.attribute("BodyType") == Some("HTML")),
            body: body.map_or("", Element::whole_text).to_owned(),
            fields: Vec::new(),
            attachments: attachments(message)?,
        };
        Ok(draft.compose(self.shared.time.unix_seconds()))
    }
}

fn people(message: &Element, name: &str) -> Vec<Person> {
    let person = |mailbox: &Element| Person {
        name: mailbox.text_of("Name").to_owned(),
        address: mailbox.text_of("EmailAddress").to_owned(),
    };
    message.list(name).iter().filter(|child| child.name == "Mailbox").map(person).collect()
}

fn attachments(message: &Element) -> Result<Vec<Attachment>, EwsError> {
    let attachment = |attachment: &Element| {
        let content_type = attachment.text_of("ContentType");
        let content = STANDARD.decode(attachment.text_of("Content"));
        Ok(Attachment {
            name: attachment.text_of("Name").to_owned(),
            content_type: if content_type.is_empty() { "application/octet-stream" } else { content_type }.to_owned(),
            content_id: None,
            content: content.map_err(|_| EwsError::schema("the content of an attachment is no base64"))?,
        })
    };
    message.list("Attachments").iter().map(attachment).collect()
}
