//! The mail store: mailboxes in memory, shared by IMAP, POP3 and SMTP.
//!
//! A lock is held for one step at a time and never across an await; message contents are shared,
//! not copied.

mod folder;
mod sample;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

pub(super) use folder::{Flags, Folder, Message};
pub(super) use sample::messages as sample_messages;

/// What one mailbox may hold, in octets. Beyond it, delivery and APPEND answer "mailbox full".
const MAILBOX_OCTETS: usize = 1 << 30;
/// What the outbox keeps, in octets; the oldest messages make room.
const OUTBOX_OCTETS: usize = 256 << 20;
/// Folders in one mailbox.
const FOLDERS: usize = 1_000;

/// Where new mail arrives.
pub(super) const INBOX: &str = "INBOX";
/// Where a copy of submitted mail is kept.
pub(super) const SENT_ITEMS: &str = "Sent Items";

/// The folders of a new mailbox, as Exchange Online names them, with their RFC 6154 attribute.
const INITIAL_FOLDERS: [(&str, Option<&str>); 6] = [
    (INBOX, None),
    (SENT_ITEMS, Some("\\Sent")),
    ("Drafts", Some("\\Drafts")),
    ("Deleted Items", Some("\\Trash")),
    ("Junk Email", Some("\\Junk")),
    ("Archive", Some("\\Archive")),
];

/// Why the store did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreError {
    NoSuchFolder,
    FolderExists,
    /// The folder may not be deleted or renamed, the name is unusable, or the folder has
    /// subfolders.
    NotPossible,
    Full,
}

/// One mailbox. [`Mailbox::read`] looks, [`Mailbox::change`] changes and tells the sessions that
/// watch.
pub(super) struct Mailbox {
    folders: Mutex<Folders>,
    changed: watch::Sender<()>,
}

impl Mailbox {
    /// A mailbox with the usual folders and nothing in them. `now` (seconds since 1970) seeds
    /// UIDVALIDITY, so that a client which kept its cache from an earlier sandbox notices.
    pub(super) fn new(now: i64) -> Self {
        let mut folders = Folders {
            by_name: BTreeMap::new(),
            next_id: u32::try_from(now).unwrap_or(1).max(1),
            next_identity: 1,
            octets: 0,
        };
        for (name, special_use) in INITIAL_FOLDERS {
            folders.insert(name, special_use);
        }
        Self { folders: Mutex::new(folders), changed: watch::Sender::new(()) }
    }

    pub(super) fn read<R>(&self, look: impl FnOnce(&Folders) -> R) -> R {
        look(&self.folders.lock())
    }

    pub(super) fn change<R>(&self, work: impl FnOnce(&mut Folders) -> R) -> R {
        let result = work(&mut self.folders.lock());
        self.changed.send_replace(());
        result
    }

    /// A receiver that wakes after each [`Mailbox::change`].
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Puts a message into a folder; gives its UIDVALIDITY and UID.
    pub(super) fn append(
        &self,
        folder: &str,
        content: Arc<[u8]>,
        flags: Flags,
        received_at: i64,
    ) -> Result<(u32, u32), StoreError> {
        self.change(|folders| folders.append(folder, content, flags, received_at))
    }
}

/// The folders of one mailbox, by name. `/` divides levels; INBOX is found in any case (RFC 9051
/// §5.1).
pub(super) struct Folders {
    by_name: BTreeMap<String, Folder>,
    next_id: u32,
    next_identity: u64,
    octets: usize,
}

/// The name under which a folder is kept.
pub(super) fn canonical(name: &str) -> String {
    match name.split_at_checked(INBOX.len()) {
        Some((head, tail)) if head.eq_ignore_ascii_case(INBOX) && (tail.is_empty() || tail.starts_with('/')) => {
            format!("{INBOX}{tail}")
        }
        _ => name.to_owned(),
    }
}

impl Folders {
    fn insert(&mut self, name: &str, special_use: Option<&'static str>) {
        self.by_name.insert(name.to_owned(), Folder::new(self.next_id, special_use));
        self.next_id = self.next_id.wrapping_add(1).max(1);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Folder> {
        self.by_name.get(&canonical(name))
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Folder> {
        self.by_name.get_mut(&canonical(name))
    }

    /// A folder by its UIDVALIDITY, which no two folders share; it outlives a RENAME.
    pub(super) fn by_validity(&self, uid_validity: u32) -> Option<&Folder> {
        self.by_name.values().find(|folder| folder.uid_validity == uid_validity)
    }

    pub(super) fn by_validity_mut(&mut self, uid_validity: u32) -> Option<&mut Folder> {
        self.by_name.values_mut().find(|folder| folder.uid_validity == uid_validity)
    }

    /// All folders with their names, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Folder)> {
        self.by_name.iter().map(|(name, folder)| (name.as_str(), folder))
    }

    pub(super) fn has_children(&self, name: &str) -> bool {
        let prefix = format!("{name}/");
        self.by_name.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// Creates a folder and the levels above it. A trailing `/` is dropped (RFC 9051 §6.3.4).
    pub(super) fn create(&mut self, name: &str) -> Result<(), StoreError> {
        let name = canonical(name.strip_suffix('/').unwrap_or(name));
        let bad = |level: &str| level.is_empty() || level.bytes().any(|b| b < 0x20 || b == 0x7f || b"%*".contains(&b));
        if name.split('/').any(bad) {
            return Err(StoreError::NotPossible);
        }
        if self.by_name.contains_key(&name) {
            return Err(StoreError::FolderExists);
        }
        for (end, _) in name.match_indices('/').chain(std::iter::once((name.len(), ""))) {
            if self.by_name.len() >= FOLDERS {
                return Err(StoreError::Full);
            }
            if !self.by_name.contains_key(&name[..end]) {
                self.insert(&name[..end], None);
            }
        }
        Ok(())
    }

    /// Deletes a folder that has no subfolders. The folders of a new mailbox stay.
    pub(super) fn delete(&mut self, name: &str) -> Result<(), StoreError> {
        let name = canonical(name);
        let folder = self.by_name.get(&name).ok_or(StoreError::NoSuchFolder)?;
        if name == INBOX || folder.special_use.is_some() || self.has_children(&name) {
            return Err(StoreError::NotPossible);
        }
        if let Some(folder) = self.by_name.remove(&name) {
            self.octets -= folder.messages().map(|message| message.content.len()).sum::<usize>();
        }
        Ok(())
    }

    /// Renames a folder and all below it. The folders of a new mailbox keep their names.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (canonical(from), canonical(to));
        let folder = self.by_name.get(&from).ok_or(StoreError::NoSuchFolder)?;
        if from == INBOX || folder.special_use.is_some() || to.starts_with(&format!("{from}/")) {
            return Err(StoreError::NotPossible);
        }
        self.create(&to)?;
        let below = format!("{from}/");
        let moving: Vec<String> =
            self.by_name.keys().filter(|name| **name == from || name.starts_with(&below)).cloned().collect();
        for name in moving {
            if let Some(folder) = self.by_name.remove(&name) {
                self.by_name.insert(format!("{to}{}", &name[from.len()..]), folder);
            }
        }
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        folder: &str,
        content: Arc<[u8]>,
        flags: Flags,
        received_at: i64,
    ) -> Result<(u32, u32), StoreError> {
        let identity = self.next_identity;
        self.next_identity += 1;
        self.put(folder, Message { content, flags, received_at, identity })
    }

    fn put(&mut self, folder: &str, message: Message) -> Result<(u32, u32), StoreError> {
        let octets = message.content.len();
        if octets > MAILBOX_OCTETS - self.octets.min(MAILBOX_OCTETS) {
            return Err(StoreError::Full);
        }
        let folder = self.by_name.get_mut(&canonical(folder)).ok_or(StoreError::NoSuchFolder)?;
        let uid = folder.append(message).ok_or(StoreError::Full)?;
        self.octets += octets;
        Ok((folder.uid_validity, uid))
    }

    /// Copies messages to another folder; gives its UIDVALIDITY and the pairs of old and new UID.
    pub(super) fn copy(&mut self, from: u32, uids: &[u32], to: &str) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
        let target = self.get(to).ok_or(StoreError::NoSuchFolder)?.uid_validity;
        let source = self.by_validity(from).ok_or(StoreError::NoSuchFolder)?;
        let messages: Vec<(u32, Message)> =
            uids.iter().filter_map(|uid| Some((*uid, source.message(*uid)?.clone()))).collect();
        let mut pairs = Vec::with_capacity(messages.len());
        for (uid, message) in messages {
            let (_, new) = self.append(to, message.content, message.flags, message.received_at)?;
            pairs.push((uid, new));
        }
        Ok((target, pairs))
    }

    /// Moves messages to another folder, where they keep their identity; gives what
    /// [`Folders::copy`] gives.
    pub(super) fn relocate(&mut self, from: u32, uids: &[u32], to: &str) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
        let target = self.get(to).ok_or(StoreError::NoSuchFolder)?.uid_validity;
        let source = self.by_validity_mut(from).ok_or(StoreError::NoSuchFolder)?;
        let messages: Vec<(u32, Message)> =
            uids.iter().filter_map(|uid| Some((*uid, source.message(*uid)?.clone()))).collect();
        self.expunge(from, |uid, _| messages.iter().any(|(moving, _)| *moving == uid));
        let mut pairs = Vec::with_capacity(messages.len());
        for (uid, message) in messages {
            // There is room, because the message was removed from this mailbox a moment ago.
            let (_, new) = self.put(to, message)?;
            pairs.push((uid, new));
        }
        Ok((target, pairs))
    }

    /// Gives a message another content.
    pub(super) fn rewrite(&mut self, uid_validity: u32, uid: u32, content: Arc<[u8]>) {
        let octets = content.len();
        let folder = self.by_validity_mut(uid_validity);
        if let Some(before) = folder.and_then(|folder| folder.rewrite(uid, content)) {
            self.octets = self.octets - before + octets;
        }
    }

    /// Removes the messages of a folder that `doomed` picks; gives their UIDs.
    pub(super) fn expunge(&mut self, uid_validity: u32, doomed: impl Fn(u32, &Message) -> bool) -> Vec<u32> {
        let Some(folder) = self.by_validity_mut(uid_validity) else { return Vec::new() };
        let (uids, octets) = folder.remove(doomed);
        self.octets -= octets;
        uids
    }
}

/// A message that was submitted for recipients outside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundMessage {
    /// The envelope sender, as given in MAIL.
    pub sender: String,
    /// The recipients outside the sandbox, as given in RCPT.
    pub recipients: Vec<String>,
    /// The message as submitted, without the dots that SMTP stuffs.
    pub content: Arc<[u8]>,
}

/// Messages for the outside world, which the sandbox has none of.
#[derive(Default)]
pub(super) struct Outbox(Mutex<VecDeque<OutboundMessage>>);

impl Outbox {
    pub(super) fn push(&self, message: OutboundMessage) {
        let mut kept = self.0.lock();
        kept.push_back(message);
        let mut octets: usize = kept.iter().map(|message| message.content.len()).sum();
        while octets > OUTBOX_OCTETS && kept.len() > 1 {
            octets -= kept.pop_front().map_or(0, |message| message.content.len());
        }
    }

    pub(super) fn messages(&self) -> Vec<OutboundMessage> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Arc<[u8]> {
        Arc::from(text.as_bytes())
    }

    #[test]
    fn inbox_is_found_in_any_case_and_nothing_else_is() {
        let mailbox = Mailbox::new(1);
        assert!(mailbox.read(|f| f.get("inBox").is_some()));
        assert!(mailbox.read(|f| f.get("drafts").is_none()));
        assert_eq!(canonical("inbox/Sub"), "INBOX/Sub");
        assert_eq!(canonical("inboxes"), "inboxes");
    }

    #[test]
    fn folders_are_created_with_their_parents_and_renamed_with_their_children() {
        let mailbox = Mailbox::new(1);
        mailbox.change(|f| {
            f.create("A/B/C").unwrap();
            assert_eq!(f.create("A/B"), Err(StoreError::FolderExists));
            assert_eq!(f.create("A//B"), Err(StoreError::NotPossible));
            assert_eq!(f.delete("A"), Err(StoreError::NotPossible));
            let id = f.get("A/B/C").unwrap().uid_validity;
            f.rename("A", "Z").unwrap();
            assert_eq!(f.get("Z/B/C").unwrap().uid_validity, id);
            assert!(f.get("A").is_none());
            assert_eq!(f.rename("Z", "Z/inside"), Err(StoreError::NotPossible));
            assert_eq!(f.delete("Drafts"), Err(StoreError::NotPossible));
            f.delete("Z/B/C").unwrap();
            assert_eq!(f.delete("Z/B/C"), Err(StoreError::NoSuchFolder));
        });
    }

    #[test]
    fn uids_only_grow() {
        let mailbox = Mailbox::new(7);
        let (validity, first) = mailbox.append(INBOX, content("a"), Flags::default(), 0).unwrap();
        let removed = mailbox.change(|f| f.expunge(validity, |_, _| true));
        assert_eq!(removed, [first]);
        let (_, second) = mailbox.append(INBOX, content("b"), Flags::default(), 0).unwrap();
        assert!(second > first);
        let (target, pairs) = mailbox.change(|f| f.copy(validity, &[second, 99], "Archive")).unwrap();
        assert_ne!(target, validity);
        assert_eq!(pairs, [(second, 1)]);
    }

    #[test]
    fn a_moved_message_keeps_its_identity_and_a_copy_gets_another() {
        let mailbox = Mailbox::new(7);
        let (inbox, uid) = mailbox.append(INBOX, content("a"), Flags::default(), 0).unwrap();
        let identity = |folder: &str| mailbox.read(|f| f.get(folder).unwrap().messages().next().unwrap().identity);
        let original = identity(INBOX);
        mailbox.change(|f| f.copy(inbox, &[uid], "Drafts").unwrap());
        assert_ne!(identity("Drafts"), original);
        let (archive, pairs) = mailbox.change(|f| f.relocate(inbox, &[uid, 99], "Archive").unwrap());
        assert_eq!((pairs.as_slice(), identity("Archive")), (&[(uid, 1)][..], original));
        assert_eq!(mailbox.read(|f| f.get(INBOX).unwrap().len()), 0);
        let pairs = mailbox.change(|f| f.relocate(archive, &[1], "Archive").unwrap().1);
        assert_eq!(pairs, [(1, 2)], "a move to the same folder is a move, too");
    }

    #[tokio::test]
    async fn a_change_wakes_the_watchers() {
        let mailbox = Mailbox::new(1);
        let mut watch = mailbox.watch();
        mailbox.append(INBOX, content("a"), Flags::default(), 0).unwrap();
        watch.changed().await.unwrap();
    }

    #[test]
    fn the_outbox_forgets_the_oldest_first() {
        let outbox = Outbox::default();
        let big: Arc<[u8]> = Arc::from(vec![0; OUTBOX_OCTETS / 2 + 1]);
        for sender in ["first", "second"] {
            outbox.push(OutboundMessage { sender: sender.into(), recipients: Vec::new(), content: Arc::clone(&big) });
        }
        let senders: Vec<String> = outbox.messages().into_iter().map(|m| m.sender).collect();
        assert_eq!(senders, ["second"]);
    }
}
