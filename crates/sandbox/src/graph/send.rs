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
use crate::store::Flags;
use crate::submission;

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
                (self.composed(message)?, save_copy.unwrap_or(true))
            }
            _ => return Err(unsupported()),
        };
        submission::send(self.shared, Service::Graph, (&self.address, &self.mailbox), &message, save_copy)?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// Keeps a draft.
    pub(super) fn create_message(&self, folder: Option<&str>) -> Result<Answer, GraphError> {
        let message = match self.call.media_type().as_str() {
            "text/plain" => self.mime()?,
            "application/json" => self.composed(&self.read_json()?)?,
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
        submission::send(self.shared, Service::Graph, (&self.address, &self.mailbox), &message.content, true)?;
        self.mailbox.change(|folders| folders.expunge(folder, |candidate, _| candidate == uid));
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

    fn composed(&self, message: &Value) -> Result<Vec<u8>, GraphError> {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let owner = Person { name: String::new(), address: self.address.clone() };
        let draft = Draft {
            from: Some(message.get("from").and_then(person).unwrap_or(owner)),
            to: people(message, "toRecipients"),
            cc: people(message, "ccRecipients"),
            bcc: people(message, "bccRecipients"),
            reply_to: people(message, "replyTo"),
            subject: text("/subject"),
            html: text("/body/contentType").eq_ignore_ascii_case("html"),
            body: text("/body/content"),
            fields: fields(message)?,
            attachments: attachments(message)?,
        };
        Ok(draft.compose(self.shared.time.unix_seconds()))
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

/// Graph takes only names that begin with `x-`.
fn fields(message: &Value) -> Result<Vec<(String, String)>, GraphError> {
    let field = |header: &Value| {
        let name = header.get("name")?.as_str()?;
        let begins = name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case("x-"));
        let plain = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        (begins && plain).then_some((name.to_owned(), header.get("value")?.as_str()?.to_owned()))
    };
    members(message, "internetMessageHeaders").iter().map(field).collect::<Option<_>>().ok_or_else(|| {
        GraphError::new(
            400,
            "InvalidInternetMessageHeader",
            "The internet message header name should start with 'x-' or 'X-'.",
        )
    })
}

fn attachments(message: &Value) -> Result<Vec<Attachment>, GraphError> {
    let attachment = |attachment: &Value| {
        let text = |name: &str| attachment.get(name).and_then(Value::as_str);
        let content_type = text("contentType").filter(|value| !value.is_empty()).unwrap_or("application/octet-stream");
        Some(Attachment {
            name: text("name")?.to_owned(),
            content_type: content_type.replace(char::is_control, ""),
            content: STANDARD.decode(text("contentBytes")?).ok()?,
        })
    };
    members(message, "attachments")
        .iter()
        .map(attachment)
        .collect::<Option<_>>()
        .ok_or_else(|| GraphError::bad_request("An attachment has no name, or no content in base64."))
}
