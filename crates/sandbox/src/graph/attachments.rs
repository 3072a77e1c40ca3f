//! Attachments, to be read, and those of drafts, to be made.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::admitted::AuthorizedCall;
use super::error::GraphError;
use super::query::Query;
use super::send;
use crate::http::body::Answer;
use crate::http::call::plain;
use crate::item_id::{Alphabet, ItemId};
use crate::letter::{Attachment, Letter};
use crate::store::{Flags, Message};

impl AuthorizedCall<'_> {
    /// Shows all attachments of a message, or one.
    pub(super) fn show_attachments(&self, message: &str, one: Option<&str>) -> Result<Answer, GraphError> {
        let (identity, content) = self.content(message)?;
        let attachments = Letter::read(&content).attachments();
        let context = format!("users('{}')/messages/attachments", self.address);
        let query = Query::parse(self.call.head.uri.query().unwrap_or_default())?;
        let shown = |index: usize, attachment: &Attachment| {
            let mut whole = json!({
                "@odata.type": "#microsoft.graph.fileAttachment",
                "id": self.attachment_id(identity, index),
                "name": attachment.name,
                "contentType": attachment.content_type,
                "size": attachment.content.len(),
                "isInline": attachment.content_id.is_some(),
                "contentId": attachment.content_id,
                "contentBytes": STANDARD.encode(&attachment.content),
            });
            if let (Value::Object(properties), false) = (&mut whole, query.select.is_empty()) {
                let is_selected = |name: &str| query.select.contains(&name.to_ascii_lowercase());
                properties.retain(|name, _| name == "id" || name.starts_with('@') || is_selected(name));
            }
            whole
        };
        match one {
            Some(one) => {
                let (index, attachment) = self.find(identity, &attachments, one)?;
                Ok(self.json(StatusCode::OK, &format!("{context}/$entity"), shown(index, attachment)))
            }
            None => {
                let all: Vec<Value> =
                    attachments.iter().enumerate().map(|(index, attachment)| shown(index, attachment)).collect();
                Ok(self.page(&context, all, None, None))
            }
        }
    }

    /// Shows the octets of one attachment.
    pub(super) fn attachment_value(&self, message: &str, one: &str) -> Result<Answer, GraphError> {
        let (identity, content) = self.content(message)?;
        let attachments = Letter::read(&content).attachments();
        let (_, attachment) = self.find(identity, &attachments, one)?;
        Ok(plain(StatusCode::OK, "application/octet-stream", attachment.content.clone()))
    }

    /// Returns the identity and the octets of a message.
    fn content(&self, id: &str) -> Result<(u64, Arc<[u8]>), GraphError> {
        self.mailbox.read(|folders| {
            let found = self.naming().read(id).and_then(|id| id.find(folders));
            let (_, _, message) = found.ok_or_else(GraphError::item_not_found)?;
            Ok((message.identity, self.content_of(message)))
        })
    }

    /// Returns the octets of a message, which a draft in pieces gets by this.
    pub(super) fn content_of(&self, message: &Message) -> Arc<[u8]> {
        let composed = self.shared.drafts.compose(&self.address, message.identity, self.shared.time.unix_seconds());
        composed.map_or_else(|| Arc::clone(&message.content), Arc::from)
    }

    /// Attaches a file to a draft.
    pub(super) fn attach(&self, message: &str) -> Result<Answer, GraphError> {
        let file = send::attachment(&self.read_json()?, true).ok_or_else(send::no_attachment)?;
        let identity = self.draft(message)?;
        let shown = json!({"name": file.name, "contentType": file.content_type, "size": file.content.len()});
        let index = self.shared.drafts.attach(&self.address, identity, file).ok_or_else(send::no_draft)?;
        let mut answer = json!({
            "@odata.type": "#microsoft.graph.fileAttachment",
            "id": self.attachment_id(identity, index),
        });
        if let (Value::Object(answer), Value::Object(shown)) = (&mut answer, shown) {
            answer.extend(shown);
        }
        Ok(self.json(StatusCode::CREATED, &format!("users('{}')/messages/attachments/$entity", self.address), answer))
    }

    /// Returns the identity of the draft with this id.
    pub(super) fn draft(&self, id: &str) -> Result<u64, GraphError> {
        self.mailbox.read(|folders| {
            let found = self.naming().read(id).and_then(|id| id.find(folders));
            let (_, _, message) = found.ok_or_else(GraphError::item_not_found)?;
            if message.flags.intersects(Flags::DRAFT) { Ok(message.identity) } else { Err(send::no_draft()) }
        })
    }

    fn attachment_id(&self, identity: u64, index: usize) -> String {
        // A mailbox has no room for so many messages and attachments.
        let message = u32::try_from(identity).unwrap_or(u32::MAX);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        ItemId::Attachment { message, index }.write(&self.object_id, Alphabet::UrlSafe)
    }

    fn find<'a>(
        &self,
        identity: u64,
        attachments: &'a [Attachment],
        id: &str,
    ) -> Result<(usize, &'a Attachment), GraphError> {
        let mut all = attachments.iter().enumerate();
        all.find(|(index, _)| self.attachment_id(identity, *index) == id).ok_or_else(GraphError::item_not_found)
    }
}
