//! Messages: found, read, marked, moved, deleted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::EwsError;
use super::folders::FoundFolder;
use super::item::{self, Shape};
use super::session::{EnteredMailbox, EwsSession};
use super::xml::{Element, escaped, truth};
use super::{restriction, soap};
use crate::item_id::ItemId;
use crate::letter::Letter;
use crate::store::{Flags, Message};

/// Items in one page (the throttling policy's `EWSFindCountLimit`).
const PAGE: usize = 1_000;
const DELETED_ITEMS: &str = "Deleted Items";

impl EwsSession<'_> {
    pub(super) fn find_item(&self, request: &Element) -> Result<String, EwsError> {
        let shape = Shape::read(request)?;
        let one = |id: &Element| {
            let found = self.mail_folder(id).and_then(|(place, folder)| found_items(request, &shape, &place, folder));
            match found {
                Ok(content) => soap::success("FindItem", &content),
                Err(error) => error.response_message("FindItem"),
            }
        };
        Ok(soap::response("FindItem", &request.list("ParentFolderIds").iter().map(one).collect::<String>()))
    }

    pub(super) fn get_item(&self, request: &Element) -> Result<String, EwsError> {
        let shape = Shape::read(request)?;
        self.each_item(request.list("ItemIds"), "GetItem", |place, (folder, uid)| {
            place.mailbox.read(|folders| {
                let message = folders.by_validity(folder).and_then(|folder| folder.message(uid));
                let message = message.ok_or_else(EwsError::item_not_found)?;
                Ok(format!("<m:Items>{}</m:Items>", item::message(&place.object_id, (folder, uid, message), &shape)))
            })
        })
    }

    pub(super) fn get_attachment(&self, request: &Element) -> Result<String, EwsError> {
        let one = |id: &Element| {
            let attachment = self.attachment(id.attribute("Id").unwrap_or_default());
            match attachment {
                Ok(content) => soap::success("GetAttachment", &format!("<m:Attachments>{content}</m:Attachments>")),
                Err(error) => error.response_message("GetAttachment"),
            }
        };
        Ok(soap::response("GetAttachment", &request.list("AttachmentIds").iter().map(one).collect::<String>()))
    }

    fn attachment(&self, id: &str) -> Result<String, EwsError> {
        let missing = || EwsError::new("ErrorInvalidAttachmentId", "The attachment identifier is invalid.");
        let (message, index) = id.split_once('#').ok_or_else(missing)?;
        let index: usize = index.parse().map_err(|_| missing())?;
        let (place, item) = self.locate(message)?;
        place.mailbox.read(|folders| {
            let (folder, uid, message) = item.find(folders).ok_or_else(EwsError::item_not_found)?;
            let attachments = Letter::read(&message.content).attachments();
            let attachment = attachments.get(index).ok_or_else(missing)?;
            Ok(format!(
                "<t:FileAttachment><t:AttachmentId Id=\"{}\"/><t:Name>{}</t:Name><t:ContentType>{}</t:ContentType>\
                 <t:Content>{}</t:Content></t:FileAttachment>",
                item::attachment_id(&place.object_id, (folder, uid), index),
                escaped(&attachment.name),
                escaped(&attachment.content_type),
                STANDARD.encode(&attachment.content)
            ))
        })
    }

    /// Changes the read mark; what else may be changed in Exchange is not kept here.
    pub(super) fn update_item(&self, request: &Element) -> Result<String, EwsError> {
        let changes = request.list("ItemChanges");
        let one = |change: &Element| {
            let item = change.child("ItemId").ok_or_else(EwsError::item_not_found)?;
            let (place, (folder, uid)) = self.item(item)?;
            let mut read = None;
            for update in change.list("Updates") {
                let field = update.child("FieldURI").and_then(|field| field.attribute("FieldURI")).unwrap_or_default();
                if update.name != "SetItemField" || field != "message:IsRead" {
                    return Err(EwsError::new(
                        "ErrorInvalidPropertySet",
                        format!("{field} is read-only and cannot be set."),
                    ));
                }
                read = update.child("Message").map(|message| truth(message.text_of("IsRead")));
            }
            place.mailbox.change(|folders| {
                let folder_of = folders.by_validity_mut(folder).ok_or_else(EwsError::item_not_found)?;
                let mark = |flags: Flags| match read {
                    Some(true) => flags.with(Flags::SEEN),
                    Some(false) => flags.without(Flags::SEEN),
                    None => flags,
                };
                folder_of.set_flags(uid, mark).ok_or_else(EwsError::item_not_found)?;
                let message = folder_of.message(uid).ok_or_else(EwsError::item_not_found)?;
                let id = item::item_id(&place.object_id, (folder, uid, message));
                Ok(format!(
                    "<m:Items><t:Message>{id}</t:Message></m:Items>\
                     <m:ConflictResults><t:Count>0</t:Count></m:ConflictResults>"
                ))
            })
        };
        Ok(soap::response(
            "UpdateItem",
            &changes.iter().map(|change| message_of("UpdateItem", one(change))).collect::<String>(),
        ))
    }

    pub(super) fn delete_item(&self, request: &Element) -> Result<String, EwsError> {
        let to_deleted_items = match request.attribute("DeleteType") {
            Some("MoveToDeletedItems") => true,
            Some("HardDelete" | "SoftDelete") => false,
            _ => return Err(EwsError::schema("DeleteType is missing")),
        };
        self.each_item(request.list("ItemIds"), "DeleteItem", |place, (folder, uid)| {
            place.mailbox.change(|folders| {
                if to_deleted_items {
                    let moved = folders.relocate(folder, &[uid], DELETED_ITEMS).map(|(_, pairs)| !pairs.is_empty());
                    moved.unwrap_or(false)
                } else {
                    !folders.expunge(folder, |candidate, _| candidate == uid).is_empty()
                }
            });
            Ok(String::new())
        })
    }

    /// Executes MoveItem or CopyItem, within one mailbox.
    pub(super) fn move_item(&self, request: &Element) -> Result<String, EwsError> {
        let target = request.list("ToFolderId").first().ok_or_else(|| EwsError::schema("ToFolderId is missing"))?;
        let (target_place, found) = self.folder(target)?;
        let FoundFolder::Mail(target) = found else { return Err(EwsError::folder_not_found()) };
        self.each_item(request.list("ItemIds"), &request.name, |place, (folder, uid)| {
            if place.address != target_place.address {
                return Err(EwsError::new("ErrorCrossMailboxMoveCopy", "The item is in another mailbox."));
            }
            place.mailbox.change(|folders| {
                let placed = if request.name == "MoveItem" {
                    folders.relocate(folder, &[uid], &target)
                } else {
                    folders.copy(folder, &[uid], &target)
                };
                let (folder, pairs) = placed.map_err(|_| EwsError::new("ErrorMoveCopyFailed", "The item stays."))?;
                let new = pairs.first().map_or(0, |(_, new)| *new);
                let message = folders.by_validity(folder).and_then(|folder| folder.message(new));
                let message = message.ok_or_else(EwsError::item_not_found)?;
                let id = item::item_id(&place.object_id, (folder, new, message));
                Ok(format!("<m:Items><t:Message>{id}</t:Message></m:Items>"))
            })
        })
    }

    /// The message of an `ItemId`, which exists.
    pub(super) fn item(&self, id: &Element) -> Result<(EnteredMailbox, (u32, u32)), EwsError> {
        let (place, id) = self.locate(id.attribute("Id").unwrap_or_default())?;
        if let ItemId::Folder(_) | ItemId::Root = id {
            return Err(EwsError::new("ErrorInvalidIdNotAnItemId", "Id must be an item."));
        }
        let found = place.mailbox.read(|folders| id.find(folders).map(|(folder, uid, _)| (folder, uid)));
        Ok((place, found.ok_or_else(EwsError::item_not_found)?))
    }

    /// Does `work` for each item; the answer has a message for each.
    pub(super) fn each_item(
        &self,
        ids: &[Element],
        operation: &str,
        work: impl Fn(&EnteredMailbox, (u32, u32)) -> Result<String, EwsError>,
    ) -> Result<String, EwsError> {
        let one = |id: &Element| {
            let (place, item) = self.item(id)?;
            work(&place, item)
        };
        Ok(soap::response(operation, &ids.iter().map(|id| message_of(operation, one(id))).collect::<String>()))
    }
}

pub(super) fn message_of(operation: &str, result: Result<String, EwsError>) -> String {
    match result {
        Ok(content) => soap::success(operation, &content),
        Err(error) => error.response_message(operation),
    }
}

/// One page of the messages in a folder, the newest first unless another order is asked for.
fn found_items(request: &Element, shape: &Shape, place: &EnteredMailbox, folder: u32) -> Result<String, EwsError> {
    let number = |view: Option<&Element>, name: &str| {
        view.and_then(|view| view.attribute(name)).and_then(|value| value.parse::<usize>().ok())
    };
    let view = request.child("IndexedPageItemView");
    let offset = number(view, "Offset").unwrap_or(0);
    let limit = number(view, "MaxEntriesReturned").unwrap_or(PAGE).min(PAGE);
    let order = request.list("SortOrder").first().filter(|order| {
        order.child("FieldURI").and_then(|field| field.attribute("FieldURI")) == Some("item:DateTimeReceived")
    });
    let oldest_first = order.is_some_and(|order| order.attribute("Order") == Some("Ascending"));
    let expression = request.child("Restriction").and_then(|restriction| restriction.children.first());
    place.mailbox.read(|folders| {
        let messages = folders.by_validity(folder).ok_or_else(EwsError::folder_not_found)?;
        let mut found: Vec<(u32, &Message)> = Vec::new();
        for (uid, message) in messages.by_uid() {
            if expression.map_or(Ok(true), |expression| restriction::matches(expression, message))? {
                found.push((uid, message));
            }
        }
        found.sort_by_key(|(uid, message)| (message.received_at, *uid));
        if !oldest_first {
            found.reverse();
        }
        let total = found.len();
        let page: Vec<String> = found
            .into_iter()
            .skip(offset)
            .take(limit)
            .map(|(uid, message)| item::message(&place.object_id, (folder, uid, message), shape))
            .collect();
        let next = offset.saturating_add(page.len());
        Ok(format!(
            "<m:RootFolder IndexedPagingOffset=\"{next}\" TotalItemsInView=\"{total}\" IncludesLastItemInRange=\"{}\">\
             <t:Items>{}</t:Items></m:RootFolder>",
            next >= total,
            page.concat()
        ))
    })
}
