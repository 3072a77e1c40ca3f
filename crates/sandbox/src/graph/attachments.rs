//! Attachments, to be read.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::admitted::AuthorizedCall;
use super::error::GraphError;
use crate::http::body::Answer;
use crate::http::call::plain;
use crate::item_id::{Alphabet, ItemId};
use crate::letter::{Attachment, Letter};

impl AuthorizedCall<'_> {
    /// Shows all attachments of a message, or one.
    pub(super) fn show_attachments(&self, message: &str, one: Option<&str>) -> Result<Answer, GraphError> {
        let (identity, content) = self.content(message)?;
        let attachments = Letter::read(&content).attachments();
        let context = format!("users('{}')/messages/attachments", self.address);
        let shown = |index: usize, attachment: &Attachment| {
            json!({
                "@odata.type": "#microsoft.graph.fileAttachment",
                "id": self.attachment_id(identity, index),
                "name": attachment.name,
                "contentType": attachment.content_type,
                "size": attachment.content.len(),
                "isInline": false,
                "contentBytes": STANDARD.encode(&attachment.content),
            })
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
            Ok((message.identity, Arc::clone(&message.content)))
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
