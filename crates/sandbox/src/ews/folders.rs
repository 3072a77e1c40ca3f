//! Folders.

use super::error::EwsError;
use super::session::{EnteredMailbox, EwsSession};
use super::soap;
use super::xml::{Element, escaped};
use crate::item_id::{Alphabet, ItemId};
use crate::store::{Folder, Folders};

/// The folders that have names of their own, with their names in the store. The others of Exchange
/// are not there.
const DISTINGUISHED: [(&str, &str); 6] = [
    ("inbox", "INBOX"),
    ("sentitems", "Sent Items"),
    ("drafts", "Drafts"),
    ("deleteditems", "Deleted Items"),
    ("junkemail", "Junk Email"),
    ("archiveinbox", "Archive"),
];

/// A folder that exists.
pub(super) enum FoundFolder {
    /// The folder above all others.
    Root,
    /// The folder "Top of Information Store".
    Top,
    /// A folder of mail, by its name in the store.
    Mail(String),
}

impl EwsSession<'_> {
    /// The folder of a `FolderId` or `DistinguishedFolderId`, and its mailbox.
    pub(super) fn folder(&self, id: &Element) -> Result<(EnteredMailbox, FoundFolder), EwsError> {
        let named = id.attribute("Id").unwrap_or_default();
        if id.name == "DistinguishedFolderId" {
            let mailbox = id.child("Mailbox").map_or("", |mailbox| mailbox.text_of("EmailAddress"));
            let place = self.enter(if mailbox.is_empty() { &self.own.address } else { mailbox })?;
            let found = match named {
                "root" => FoundFolder::Root,
                "msgfolderroot" => FoundFolder::Top,
                named => {
                    let known = DISTINGUISHED.iter().find(|(name, _)| *name == named);
                    FoundFolder::Mail(known.ok_or_else(EwsError::folder_not_found)?.1.to_owned())
                }
            };
            return Ok((place, found));
        }
        let (place, id) = self.locate(named)?;
        let found = match id {
            ItemId::Root => FoundFolder::Root,
            ItemId::Folder(0) => FoundFolder::Top,
            ItemId::Folder(validity) => FoundFolder::Mail(place.mailbox.read(|folders| {
                let found = folders.iter().find(|(_, folder)| folder.uid_validity == validity);
                found.map(|(name, _)| name.to_owned()).ok_or_else(EwsError::folder_not_found)
            })?),
            _ => return Err(EwsError::folder_not_found()),
        };
        Ok((place, found))
    }

    /// The folder of mail that is named, as UIDVALIDITY.
    pub(super) fn mail_folder(&self, id: &Element) -> Result<(EnteredMailbox, u32), EwsError> {
        let (place, found) = self.folder(id)?;
        let FoundFolder::Mail(name) = found else { return Err(EwsError::folder_not_found()) };
        let validity = place.mailbox.read(|folders| folders.get(&name).map(|folder| folder.uid_validity));
        Ok((place, validity.ok_or_else(EwsError::folder_not_found)?))
    }

    pub(super) fn get_folder(&self, request: &Element) -> Result<String, EwsError> {
        let one = |id: &Element| match self.folder(id) {
            Ok((place, found)) => {
                let shown = place.mailbox.read(|folders| place.shown(folders, &found));
                soap::success("GetFolder", &format!("<m:Folders>{shown}</m:Folders>"))
            }
            Err(error) => error.response_message("GetFolder"),
        };
        Ok(soap::response("GetFolder", &request.list("FolderIds").iter().map(one).collect::<String>()))
    }

    /// The folders below each of those named.
    pub(super) fn find_folder(&self, request: &Element) -> Result<String, EwsError> {
        let deep = request.attribute("Traversal") == Some("Deep");
        let one = |id: &Element| match self.folder(id) {
            Ok((place, found)) => {
                let shown = place.mailbox.read(|folders| {
                    below(folders, &found, deep)
                        .into_iter()
                        .map(|found| place.shown(folders, &found))
                        .collect::<Vec<_>>()
                });
                let count = shown.len();
                let content = format!(
                    "<m:RootFolder IndexedPagingOffset=\"{count}\" TotalItemsInView=\"{count}\" \
                     IncludesLastItemInRange=\"true\"><t:Folders>{}</t:Folders></m:RootFolder>",
                    shown.concat()
                );
                soap::success("FindFolder", &content)
            }
            Err(error) => error.response_message("FindFolder"),
        };
        Ok(soap::response("FindFolder", &request.list("ParentFolderIds").iter().map(one).collect::<String>()))
    }

    /// All folders at the first time, and nothing new afterwards.
    pub(super) fn sync_folder_hierarchy(&self, request: &Element) -> Result<String, EwsError> {
        let place = match request.list("SyncFolderId").first() {
            Some(id) => self.folder(id)?.0,
            None => self.enter(&self.own.address)?,
        };
        let changes = match request.text_of("SyncState") {
            "" => place.mailbox.read(|folders| {
                let all = below(folders, &FoundFolder::Top, true);
                all.iter().map(|found| format!("<t:Create>{}</t:Create>", place.shown(folders, found))).collect()
            }),
            _ => String::new(),
        };
        let content = format!(
            "<m:SyncState>H4sIAAA=</m:SyncState><m:IncludesLastFolderInRange>true</m:IncludesLastFolderInRange>\
             <m:Changes>{changes}</m:Changes>"
        );
        Ok(soap::response("SyncFolderHierarchy", &soap::success("SyncFolderHierarchy", &content)))
    }
}

/// The folders below one.
fn below(folders: &Folders, parent: &FoundFolder, deep: bool) -> Vec<FoundFolder> {
    let (prefix, mut found) = match parent {
        FoundFolder::Root if !deep => return vec![FoundFolder::Top],
        FoundFolder::Root => (String::new(), vec![FoundFolder::Top]),
        FoundFolder::Top => (String::new(), Vec::new()),
        FoundFolder::Mail(name) => (format!("{name}/"), Vec::new()),
    };
    let names =
        folders.iter().filter(|(name, _)| name.strip_prefix(&prefix).is_some_and(|rest| deep || !rest.contains('/')));
    found.extend(names.map(|(name, _)| FoundFolder::Mail(name.to_owned())));
    found
}

impl EnteredMailbox {
    fn shown(&self, folders: &Folders, found: &FoundFolder) -> String {
        let write = |id: ItemId| id.write(&self.object_id, Alphabet::Standard);
        let children = below(folders, found, false).len();
        match found {
            FoundFolder::Root => folder(&write(ItemId::Root), &write(ItemId::Root), "root", "", children, None),
            FoundFolder::Top => {
                let name = "Top of Information Store";
                folder(&write(ItemId::Folder(0)), &write(ItemId::Root), name, "IPF", children, None)
            }
            FoundFolder::Mail(name) => {
                let of = |name: &str| folders.get(name).map_or(0, |folder| folder.uid_validity);
                let (parent, display) = name.rsplit_once('/').unwrap_or(("", name));
                let parent = ItemId::Folder(if parent.is_empty() { 0 } else { of(parent) });
                let display = if display == "INBOX" { "Inbox" } else { display };
                folder(
                    &write(ItemId::Folder(of(name))),
                    &write(parent),
                    display,
                    "IPF.Note",
                    children,
                    folders.get(name),
                )
            }
        }
    }
}

fn folder(id: &str, parent: &str, name: &str, class: &str, children: usize, counts: Option<&Folder>) -> String {
    let (total, unread) = counts.map_or((0, 0), |folder| (folder.len(), folder.unseen()));
    let class = if class.is_empty() { String::new() } else { format!("<t:FolderClass>{class}</t:FolderClass>") };
    format!(
        "<t:Folder><t:FolderId Id=\"{id}\" ChangeKey=\"AQAAAA==\"/><t:ParentFolderId Id=\"{parent}\" ChangeKey=\"AQAAAA==\"/>\
         {class}<t:DisplayName>{}</t:DisplayName><t:TotalCount>{total}</t:TotalCount>\
         <t:ChildFolderCount>{children}</t:ChildFolderCount><t:UnreadCount>{unread}</t:UnreadCount></t:Folder>",
        escaped(name)
    )
}
