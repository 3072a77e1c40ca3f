//! Messages: lists of them, their octets, and what happens to them.

use hyper::StatusCode;

use super::admitted::{AuthorizedCall, empty};
use super::error::GraphError;
use super::query::Query;
use super::view::{self, SelectedProperties};
use crate::http::body::Answer;
use crate::http::call::plain;
use crate::store::{Flags, Folders, Message};

/// Where deleted messages go first.
const DELETED_ITEMS: &str = "Deleted Items";

impl AuthorizedCall<'_> {
    /// The messages of a folder, or of the whole mailbox.
    pub(super) fn list_messages(&self, folder: Option<&str>) -> Result<Answer, GraphError> {
        let query = Query::parse(self.query())?;
        let naming = self.naming();
        self.mailbox.read(|folders| {
            let only = match folder {
                None => None,
                Some(id) => Some(naming.find_folder(folders, id).ok_or_else(GraphError::item_not_found)?),
            };
            let mut found: Vec<(u32, u32, &Message)> = folders
                .iter()
                .filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
                .flat_map(|(_, folder)| folder.by_uid().map(|(uid, message)| (folder.uid_validity, uid, message)))
                .filter(|(_, _, message)| {
                    query
                        .matches(message, |of, id, value| self.shared.drafts.has_property(&self.address, of, id, value))
                })
                .collect();
            found.sort_by_key(|(_, uid, message)| (message.received_at, *uid));
            if query.newest_first {
                found.reverse();
            }
            let wanted = SelectedProperties { select: &query.select, expand: &query.expand };
            let count = found.len();
            let page = found.into_iter().skip(query.skip).take(query.top);
            let values: Vec<_> = page.map(|placed| view::message(naming, placed, &wanted)).collect();
            let next = query.skip.saturating_add(values.len());
            let context = format!("users('{}')/messages", self.address);
            Ok(self.page(&context, values, (next < count).then_some(next), query.count.then_some(count)))
        })
    }

    pub(super) fn show_message(&self, id: &str) -> Result<Answer, GraphError> {
        let query = Query::parse(self.query())?;
        let wanted = SelectedProperties { select: &query.select, expand: &query.expand };
        self.mailbox.read(|folders| self.shown(folders, id, &wanted, StatusCode::OK))
    }

    /// The message as the answer to a call that found, made or changed it.
    pub(super) fn shown(
        &self,
        folders: &Folders,
        id: &str,
        wanted: &SelectedProperties<'_>,
        status: StatusCode,
    ) -> Result<Answer, GraphError> {
        let naming = self.naming();
        let placed = naming.read(id).and_then(|id| id.find(folders)).ok_or_else(GraphError::item_not_found)?;
        let context = format!("users('{}')/messages/$entity", self.address);
        Ok(self.json(status, &context, view::message(naming, placed, wanted)))
    }

    /// Shows the octets of a message.
    pub(super) fn message_value(&self, id: &str) -> Result<Answer, GraphError> {
        let content = self.mailbox.read(|folders| {
            let found = self.naming().read(id).and_then(|id| id.find(folders));
            found.map(|(_, _, message)| self.content_of(message))
        });
        let content = content.ok_or_else(GraphError::item_not_found)?;
        Ok(plain(StatusCode::OK, "text/plain", content.to_vec()))
    }

    /// Changes the read mark and the flag of a message (PATCH).
    pub(super) fn change_message(&self, id: &str) -> Result<Answer, GraphError> {
        let change = self.read_json()?;
        let mut marks = Vec::new();
        if let Some(read) = change.get("isRead") {
            let read = read.as_bool().ok_or_else(|| GraphError::bad_request("isRead is true or false."))?;
            marks.push((Flags::SEEN, read));
        }
        if let Some(status) = change.pointer("/flag/flagStatus") {
            marks.push((Flags::FLAGGED, status == "flagged"));
        }
        self.mailbox.change(|folders| {
            let found = self.naming().read(id).and_then(|id| id.find(folders));
            let (folder, uid, _) = found.ok_or_else(GraphError::item_not_found)?;
            if let Some(folder) = folders.by_validity_mut(folder) {
                folder.set_flags(uid, |flags| {
                    marks
                        .iter()
                        .fold(flags, |flags, (mark, on)| if *on { flags.with(*mark) } else { flags.without(*mark) })
                });
            }
            self.shown(folders, id, &SelectedProperties { select: &[], expand: &[] }, StatusCode::OK)
        })
    }

    /// Moves the message to Deleted Items; from there, or `for_good`, it goes where no client
    /// looks.
    pub(super) fn delete_message(&self, id: &str, for_good: bool) -> Result<Answer, GraphError> {
        self.mailbox.change(|folders| {
            let found = self.naming().read(id).and_then(|id| id.find(folders));
            let (folder, uid, message) = found.ok_or_else(GraphError::item_not_found)?;
            self.shared.drafts.forget(&self.address, message.identity);
            let deleted = folders.get(DELETED_ITEMS).map(|folder| folder.uid_validity);
            if for_good || deleted == Some(folder) {
                folders.expunge(folder, |candidate, _| candidate == uid);
            } else {
                folders.relocate(folder, &[uid], DELETED_ITEMS).map_err(|_| GraphError::item_not_found())?;
            }
            Ok(empty(StatusCode::NO_CONTENT))
        })
    }

    /// Moves or copies the message to the folder that the body names.
    pub(super) fn move_message(&self, id: &str, away: bool) -> Result<Answer, GraphError> {
        let body = self.read_json()?;
        let destination = body.get("destinationId").or_else(|| body.get("DestinationId")).and_then(|id| id.as_str());
        let destination = destination.ok_or_else(|| GraphError::bad_request("destinationId is missing."))?;
        let naming = self.naming();
        self.mailbox.change(|folders| {
            let found = naming.read(id).and_then(|id| id.find(folders));
            let (folder, uid, _) = found.ok_or_else(GraphError::item_not_found)?;
            let target = naming.find_folder(folders, destination).ok_or_else(GraphError::item_not_found)?;
            let placed =
                if away { folders.relocate(folder, &[uid], &target) } else { folders.copy(folder, &[uid], &target) };
            let (folder, pairs) = placed.map_err(|_| GraphError::of_status(500, None, None))?;
            let new = pairs.first().map_or(0, |(_, new)| *new);
            let message = folders.by_validity(folder).and_then(|folder| folder.message(new));
            let id = message.map(|message| naming.message(folder, new, message)).unwrap_or_default();
            self.shown(folders, &id, &SelectedProperties { select: &[], expand: &[] }, StatusCode::CREATED)
        })
    }
}
