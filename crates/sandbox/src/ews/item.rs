//! Items as EWS shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::EwsError;
use super::xml::{Element, escaped, truth};
use crate::calendar;
use crate::item_id::{Alphabet, ItemId};
use crate::letter::{Letter, Person};
use crate::store::{Flags, Message};

/// What a request wants to see of items (`ItemShape`).
pub(super) struct Shape {
    everything: bool,
    mime: bool,
    text: bool,
    fields: Vec<String>,
}

impl Shape {
    pub(super) fn read(request: &Element) -> Result<Self, EwsError> {
        let shape = request.child("ItemShape").ok_or_else(|| EwsError::schema("ItemShape is missing"))?;
        let fields = shape.list("AdditionalProperties").iter().filter_map(|field| field.attribute("FieldURI"));
        Ok(Self {
            everything: shape.text_of("BaseShape") != "IdOnly",
            mime: truth(shape.text_of("IncludeMimeContent")),
            text: shape.text_of("BodyType") == "Text",
            fields: fields.map(str::to_owned).collect(),
        })
    }

    fn wants(&self, field: &str) -> bool {
        match field {
            "item:MimeContent" if self.mime => true,
            "item:MimeContent" | "item:InternetMessageHeaders" => self.lists(field),
            _ => self.everything || self.lists(field),
        }
    }

    fn lists(&self, field: &str) -> bool {
        self.fields.iter().any(|listed| listed == field)
    }
}

/// The element `<t:ItemId …/>` of a message.
pub(super) fn item_id(mailbox: &str, (folder, uid, message): (u32, u32, &Message)) -> String {
    let id = ItemId::Place { folder, uid }.write(mailbox, Alphabet::Standard);
    let change_key = STANDARD.encode(format!("CQ{:016x}{}", message.identity, message.flags));
    format!("<t:ItemId Id=\"{id}\" ChangeKey=\"{change_key}\"/>")
}

/// Writes the elements that are wanted.
struct Writer<'a> {
    out: String,
    shape: &'a Shape,
}

impl Writer<'_> {
    /// An element with its attributes, unless it is not wanted or has no content.
    fn put(&mut self, field: &str, element: &str, content: impl FnOnce() -> String) {
        if self.shape.wants(field) {
            let content = content();
            let name = element.split(' ').next().unwrap_or_default();
            if !content.is_empty() {
                self.out.push_str(&format!("<t:{element}>{content}</t:{name}>"));
            }
        }
    }
}

/// A message, in the order of the schema.
pub(super) fn message(mailbox: &str, placed: (u32, u32, &Message), shape: &Shape) -> String {
    let (folder, uid, message) = placed;
    let letter = Letter::read(&message.content);
    let received = || calendar::iso(message.received_at);
    let text = |name: &str| letter.field(name).map(|value| escaped(&value)).unwrap_or_default();
    let people = |name: &str| letter.people(name).iter().map(person).collect::<String>();
    let first = |name: &str| letter.people(name).first().map(person).unwrap_or_default();
    let mut writer = Writer { out: String::from("<t:Message>"), shape };
    writer.put("item:MimeContent", "MimeContent CharacterSet=\"UTF-8\"", || STANDARD.encode(&message.content));
    writer.out.push_str(&item_id(mailbox, placed));
    if shape.wants("item:ParentFolderId") {
        let id = ItemId::Folder(folder).write(mailbox, Alphabet::Standard);
        writer.out.push_str(&format!("<t:ParentFolderId Id=\"{id}\" ChangeKey=\"AQAAAA==\"/>"));
    }
    writer.put("item:ItemClass", "ItemClass", || "IPM.Note".into());
    writer.put("item:Subject", "Subject", || escaped(&letter.subject()));
    writer.put("item:Sensitivity", "Sensitivity", || "Normal".into());
    if shape.wants("item:Body") {
        let (html, body) = letter.body();
        let kind = if html && !shape.text { "HTML" } else { "Text" };
        writer.out.push_str(&format!("<t:Body BodyType=\"{kind}\">{}</t:Body>", escaped(&body)));
    }
    writer.put("item:Attachments", "Attachments", || attachments(mailbox, (folder, uid), &letter));
    writer.put("item:DateTimeReceived", "DateTimeReceived", received);
    // The size is what the store spends on the message, which is not the length of its MIME form.
    writer.put("item:Size", "Size", || (message.content.len() / 4 * 3 + 2_048).to_string());
    writer.put("item:Importance", "Importance", || "Normal".into());
    writer.put("item:InReplyTo", "InReplyTo", || text("in-reply-to"));
    writer.put("item:IsDraft", "IsDraft", || message.flags.intersects(Flags::DRAFT).to_string());
    writer.put("item:InternetMessageHeaders", "InternetMessageHeaders", || {
        let header = |(name, value): (String, String)| {
            let (name, value) = (escaped(&name), escaped(&value));
            format!("<t:InternetMessageHeader HeaderName=\"{name}\">{value}</t:InternetMessageHeader>")
        };
        letter.fields().into_iter().map(header).collect()
    });
    writer.put("item:DateTimeSent", "DateTimeSent", || letter.sent_at().map_or_else(received, calendar::iso));
    writer.put("item:DateTimeCreated", "DateTimeCreated", received);
    writer.put("item:HasAttachments", "HasAttachments", || (!letter.attachments().is_empty()).to_string());
    writer.put("item:LastModifiedTime", "LastModifiedTime", received);
    writer.put("message:Sender", "Sender", || first("from"));
    writer.put("message:ToRecipients", "ToRecipients", || people("to"));
    writer.put("message:CcRecipients", "CcRecipients", || people("cc"));
    writer.put("message:BccRecipients", "BccRecipients", || people("bcc"));
    writer.put("message:From", "From", || first("from"));
    writer.put("message:InternetMessageId", "InternetMessageId", || text("message-id"));
    writer.put("message:IsRead", "IsRead", || message.flags.intersects(Flags::SEEN).to_string());
    writer.put("message:References", "References", || text("references"));
    writer.put("message:ReplyTo", "ReplyTo", || people("reply-to"));
    writer.out.push_str("</t:Message>");
    writer.out
}

fn person(person: &Person) -> String {
    let (name, address) = (escaped(&person.name), escaped(&person.address));
    format!(
        "<t:Mailbox><t:Name>{name}</t:Name><t:EmailAddress>{address}</t:EmailAddress>\
         <t:RoutingType>SMTP</t:RoutingType></t:Mailbox>"
    )
}

/// The identifier of an attachment: that of its message, and a number.
pub(super) fn attachment_id(mailbox: &str, (folder, uid): (u32, u32), index: usize) -> String {
    format!("{}#{index}", ItemId::Place { folder, uid }.write(mailbox, Alphabet::Standard))
}

fn attachments(mailbox: &str, place: (u32, u32), letter: &Letter<'_>) -> String {
    let attachments = letter.attachments();
    let one = |(index, attachment): (usize, &crate::letter::Attachment)| {
        format!(
            "<t:FileAttachment><t:AttachmentId Id=\"{}\"/><t:Name>{}</t:Name><t:ContentType>{}</t:ContentType>\
             <t:Size>{}</t:Size><t:IsInline>false</t:IsInline></t:FileAttachment>",
            escaped(&attachment_id(mailbox, place, index)),
            escaped(&attachment.name),
            escaped(&attachment.content_type),
            attachment.content.len()
        )
    };
    attachments.iter().enumerate().map(one).collect()
}
