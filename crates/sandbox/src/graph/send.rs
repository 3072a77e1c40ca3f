//! sendMail and drafts: MIME in base64, or JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde_json::Value;

use super::admitted::{AuthorizedCall, empty};
use super::error::GraphError;
use super::view::SelectedProperties;
use crate::compose::Draft;
use crate::http::body::Answer;
use crate::letter::{Attachment, Person};
use crate::mode::Service;
use crate::store::{Flags, SENT_ITEMS};
use crate::submission;

/// Custom fields of one message.
const FIELDS: usize = 5;

impl AuthorizedCall<'_> {
    pub(super) fn send_mail(&self) -> Result<Answer, GraphError> {
        let (message, save_copy) = match self.call.media_type().as_str() {
            "text/plain" => (self.mime()?, true),
            "application/json" => {
                let body = self.read_json()?;
                let member = |names: [&str; 2]| names.into_iter().find_map(|name| body.get(name));
                let message = member(["message", "Message"])
                    .ok_or_else(|| GraphError::bad_request("The parameter 'Message' is missing."))?;
                let save_copy = member(["saveToSentItems", "SaveToSentItems"]).and_then(Value::as_bool);
                (self.compose(&self.read_draft(message)?), save_copy.unwrap_or(true))
            }
            _ => return Err(unsupported()),
        };
        submission::send(self.shared, Service::Graph, (&self.address, &self.mailbox), &message, save_copy)?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// Keeps a draft.
    pub(super) fn create_message(&self, folder: Option<&str>) -> Result<Answer, GraphError> {
        let (message, pieces) = match self.call.media_type().as_str() {
            "text/plain" => (self.mime()?, None),
            "application/json" => {
                let body = self.read_json()?;
                let (draft, properties) = (self.read_draft(&body)?, properties(&body)?);
                (draft.compose(self.shared.time.unix_seconds()), Some((draft, properties)))
            }
            _ => return Err(unsupported()),
        };
        let naming = self.naming();
        let now = self.shared.time.unix_seconds();
        self.mailbox.change(|folders| {
            let folder =
                naming.find_folder(folders, folder.unwrap_or("drafts")).ok_or_else(GraphError::item_not_found)?;
            let kept = folders.append(&folder, message.into(), Flags::DRAFT.with(Flags::SEEN), now);
            let (folder, uid) = kept.map_err(|_| GraphError::from(submission::Unsent::MailboxFull))?;
            let placed = folders.by_validity(folder).and_then(|folder| folder.message(uid));
            if let Some((message, (draft, properties))) = placed.zip(pieces) {
                self.shared.drafts.keep(&self.address, message.identity, draft, properties);
            }
            let id = placed.map(|message| naming.message(folder, uid, message)).unwrap_or_default();
            self.shown(folders, &id, &SelectedProperties { select: &[], expand: &[] }, StatusCode::CREATED)
        })
    }

    /// Sends a draft, which then is in Sent Items.
    pub(super) fn send_draft(&self, id: &str) -> Result<Answer, GraphError> {
        let found = self.mailbox.read(|folders| {
            let (folder, uid, message) = self.naming().read(id)?.find(folders)?;
            Some((folder, uid, message.clone()))
        });
        let (folder, uid, message) = found.ok_or_else(GraphError::item_not_found)?;
        if !message.flags.intersects(Flags::DRAFT) {
            return Err(GraphError::new(400, "ErrorInvalidOperation", "Only a draft can be sent."));
        }
        let content = self.content_of(&message);
        submission::send(self.shared, Service::Graph, (&self.address, &self.mailbox), &content, false)?;
        self.shared.drafts.forget(&self.address, message.identity);
        self.mailbox.change(|folders| {
            // The message keeps its identity.
            folders.rewrite(folder, uid, content);
            if let Ok((sent, pairs)) = folders.relocate(folder, &[uid], SENT_ITEMS)
                && let (Some(folder), Some((_, uid))) = (folders.by_validity_mut(sent), pairs.first())
            {
                folder.set_flags(*uid, |_| Flags::SEEN);
            }
        });
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// The body as MIME: base64 of the standard alphabet, padded, without line ends.
    fn mime(&self) -> Result<Vec<u8>, GraphError> {
        let message = STANDARD.decode(&self.call.body).map_err(|_| {
            GraphError::new(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
        })?;
        if message.is_empty() {
            return Err(GraphError::new(400, "ErrorMimeContentInvalid", "The MIME content is invalid."));
        }
        Ok(message)
    }

    fn compose(&self, draft: &Draft) -> Vec<u8> {
        draft.compose(self.shared.time.unix_seconds())
    }

    fn read_draft(&self, message: &Value) -> Result<Draft, GraphError> {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let owner = Person { name: String::new(), address: self.address.clone() };
        Ok(Draft {
            from: Some(message.get("from").and_then(person).unwrap_or(owner)),
            to: people(message, "toRecipients"),
            cc: people(message, "ccRecipients"),
            bcc: people(message, "bccRecipients"),
            reply_to: people(message, "replyTo"),
            subject: text("/subject"),
            message_id: Some(text("/internetMessageId")).filter(|id| !id.is_empty()),
            html: text("/body/contentType").eq_ignore_ascii_case("html"),
            body: text("/body/content"),
            fields: fields(message)?,
            attachments: attachments(message)?,
        })
    }
}

fn unsupported() -> GraphError {
    GraphError::new(415, "UnsupportedMediaType", "The content type of the request is neither text/plain nor JSON.")
}

fn members<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn person(recipient: &Value) -> Option<Person> {
    let email = recipient.get("emailAddress")?;
    let text = |name: &str| email.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Person { name: text("name").unwrap_or_default(), address: text("address")? })
}

fn people(message: &Value, name: &str) -> Vec<Person> {
    members(message, name).iter().filter_map(person).collect()
}

/// Graph takes only names that begin with `x-`, and five of them.
fn fields(message: &Value) -> Result<Vec<(String, String)>, GraphError> {
    if members(message, "internetMessageHeaders").len() > FIELDS {
        return Err(GraphError::new(
            400,
            "InvalidInternetMessageHeaderCollection",
            "Maximum number of headers in one message should be less than or equal to 5.",
        ));
    }
    let importance = message.get("importance").and_then(Value::as_str).filter(|word| *word != "normal");
    let importance = importance.map(|word| ("Importance".to_owned(), word.to_owned()));
    let field = |header: &Value| {
        let name = header.get("name")?.as_str()?;
        let begins = name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case("x-"));
        let plain = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        (begins && plain).then_some((name.to_owned(), header.get("value")?.as_str()?.to_owned()))
    };
    let fields = members(message, "internetMessageHeaders").iter().map(field);
    importance.into_iter().map(Some).chain(fields).collect::<Option<_>>().ok_or_else(|| {
        GraphError::new(
            400,
            "InvalidInternetMessageHeader",
            "The internet message header name should start with 'x-' or 'X-'.",
        )
    })
}

/// The extended properties of a new message.
fn properties(message: &Value) -> Result<Vec<(String, String)>, GraphError> {
    let property = |property: &Value| {
        let text = |name: &str| property.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((text("id")?, text("value")?))
    };
    let properties = members(message, "singleValueExtendedProperties").iter().map(property);
    properties.collect::<Option<_>>().ok_or_else(|| GraphError::bad_request("An extended property has no id or value."))
}

fn attachments(message: &Value) -> Result<Vec<Attachment>, GraphError> {
    let attachments = members(message, "attachments").iter().map(|one| attachment(one, true));
    attachments.collect::<Option<_>>().ok_or_else(no_attachment)
}

/// An attachment as JSON describes it, with its content or without.
pub(super) fn attachment(attachment: &Value, with_content: bool) -> Option<Attachment> {
    let text = |name: &str| attachment.get(name).and_then(Value::as_str);
    let content_type = text("contentType").filter(|value| !value.is_empty()).unwrap_or("application/octet-stream");
    let is_inline = attachment.get("isInline").and_then(Value::as_bool).unwrap_or_default();
    Some(Attachment {
        name: text("name")?.to_owned(),
        content_type: content_type.replace(char::is_control, ""),
        content_id: text("contentId").filter(|_| is_inline).map(str::to_owned),
        content: if with_content { STANDARD.decode(text("contentBytes")?).ok()? } else { Vec::new() },
    })
}

pub(super) fn no_attachment() -> GraphError {
    GraphError::bad_request("An attachment has no name, or no content in base64.")
}

pub(super) fn no_draft() -> GraphError {
    GraphError::new(400, "ErrorInvalidOperation", "Only a draft that was created as JSON can get attachments.")
}
