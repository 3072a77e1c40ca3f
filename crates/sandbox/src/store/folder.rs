//! One folder: messages by UID, and a version that tells a session whether to look again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The flags that Exchange Online keeps: the five of RFC 9051 and `$MDNSent`. It forgets all
/// others.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Flags(u8);

const NAMES: [(&str, Flags); 6] = [
    ("\\Seen", Flags::SEEN),
    ("\\Answered", Flags::ANSWERED),
    ("\\Flagged", Flags::FLAGGED),
    ("\\Deleted", Flags::DELETED),
    ("\\Draft", Flags::DRAFT),
    ("$MDNSent", Flags::MDN_SENT),
];

impl Flags {
    pub(crate) const SEEN: Self = Self(1);
    pub(crate) const ANSWERED: Self = Self(2);
    pub(crate) const FLAGGED: Self = Self(4);
    pub(crate) const DELETED: Self = Self(8);
    pub(crate) const DRAFT: Self = Self(16);
    pub(crate) const MDN_SENT: Self = Self(32);

    /// The flag of that name; none for one that is not kept.
    pub(crate) fn named(name: &str) -> Self {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(Self(0), |(_, flag)| *flag)
    }

    /// Whether any flag of `other` is set.
    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut divider = "";
        for (name, flag) in NAMES {
            if self.intersects(flag) {
                write!(f, "{divider}{name}")?;
                divider = " ";
            }
        }
        Ok(())
    }
}

/// A message as it lies in a folder.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) content: Arc<[u8]>,
    pub(crate) flags: Flags,
    /// Its INTERNALDATE, in seconds since 1970.
    pub(crate) received_at: i64,
    /// A number that stays the same when the message is moved; no two in a mailbox share it.
    pub(crate) identity: u64,
}

/// A folder.
pub(crate) struct Folder {
    /// Its UIDVALIDITY, which is also its identity: no two folders in a mailbox share it.
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) special_use: Option<&'static str>,
    pub(crate) subscribed: bool,
    /// A number that grows with every change of messages or flags.
    pub(crate) version: u64,
    messages: BTreeMap<u32, Message>,
}

impl Folder {
    pub(super) fn new(uid_validity: u32, special_use: Option<&'static str>) -> Self {
        Self { uid_validity, uid_next: 1, special_use, subscribed: true, version: 0, messages: BTreeMap::new() }
    }

    pub(crate) fn message(&self, uid: u32) -> Option<&Message> {
        self.messages.get(&uid)
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }

    /// The messages with their UIDs, ascending.
    pub(crate) fn by_uid(&self) -> impl Iterator<Item = (u32, &Message)> {
        self.messages.iter().map(|(uid, message)| (*uid, message))
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn unseen(&self) -> usize {
        self.messages.values().filter(|message| !message.flags.intersects(Flags::SEEN)).count()
    }

    /// Gives the message a new set of flags, and returns that set if the message exists.
    pub(crate) fn set_flags(&mut self, uid: u32, new: impl FnOnce(Flags) -> Flags) -> Option<Flags> {
        let message = self.messages.get_mut(&uid)?;
        let flags = new(message.flags);
        if message.flags != flags {
            message.flags = flags;
            self.version += 1;
        }
        Some(flags)
    }

    /// Gives a message another content, and returns the length of the one before.
    pub(super) fn rewrite(&mut self, uid: u32, content: Arc<[u8]>) -> Option<usize> {
        let message = self.messages.get_mut(&uid)?;
        self.version += 1;
        Some(std::mem::replace(&mut message.content, content).len())
    }

    /// `None` when the UIDs are used up.
    pub(super) fn append(&mut self, message: Message) -> Option<u32> {
        let uid = self.uid_next;
        self.uid_next = uid.checked_add(1)?;
        self.messages.insert(uid, message);
        self.version += 1;
        Some(uid)
    }

    /// Removes what `doomed` picks; gives the UIDs and the octets freed.
    pub(super) fn remove(&mut self, doomed: impl Fn(u32, &Message) -> bool) -> (Vec<u32>, usize) {
        let uids: Vec<u32> = self.by_uid().filter(|(uid, message)| doomed(*uid, message)).map(|(uid, _)| uid).collect();
        let octets = uids.iter().filter_map(|uid| self.messages.remove(uid)).map(|message| message.content.len()).sum();
        if !uids.is_empty() {
            self.version += 1;
        }
        (uids, octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_in_any_case_and_unknown_ones_are_forgotten() {
        let flags = Flags::named("\\SEEN").with(Flags::named("$mdnsent")).with(Flags::named("$Label1"));
        assert_eq!(flags.to_string(), "\\Seen $MDNSent");
        assert_eq!(flags.without(Flags::SEEN).to_string(), "$MDNSent");
        assert_eq!(Flags::default().to_string(), "");
    }

    #[test]
    fn the_version_grows_only_with_a_change() {
        let mut folder = Folder::new(1, None);
        let uid = folder
            .append(Message { content: Arc::from(&b"x"[..]), flags: Flags::default(), received_at: 0, identity: 1 })
            .unwrap();
        let version = folder.version;
        assert_eq!(folder.set_flags(uid, |flags| flags), Some(Flags::default()));
        assert_eq!(folder.version, version);
        folder.set_flags(uid, |flags| flags.with(Flags::SEEN));
        assert!(folder.version > version);
        assert_eq!(folder.set_flags(99, |flags| flags), None);
        assert_eq!(folder.remove(|_, _| true), (vec![uid], 1));
    }
}
