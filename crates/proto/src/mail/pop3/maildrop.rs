//! The messages of a maildrop during one session (RFC 1939 §3 to §6): their numbers, sizes, unique
//! ids, and deletion marks. Their content is not known here.

use std::fmt;

use aws_lc_rs::digest;

/// The ID that UIDL shows for a message: the same in every session, different for each message, and
/// short enough for RFC 1939 §7 whatever the store's own name for the message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueId([u8; 16]);

impl UniqueId {
    /// Derives the ID from the store's name for the message, which never changes.
    pub fn of(name: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, name.as_bytes());
        let mut id = [0; 16];
        for (octet, of_digest) in id.iter_mut().zip(digest.as_ref()) {
            *octet = *of_digest;
        }
        Self(id)
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A message, as LIST and UIDL show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its size, or an estimate until it has been sent once.
    pub octets: u32,
    /// Its unique id.
    pub unique_id: UniqueId,
}

/// All messages. They are numbered from 1, and a message keeps its number until the session ends.
#[derive(Debug, Default)]
pub struct Maildrop {
    entries: Vec<Entry>,
    left: usize,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    deleted: bool,
}

impl Maildrop {
    /// Creates a maildrop of messages in this order, without deletion marks.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        let entries: Vec<_> = messages.into_iter().map(|message| Entry { message, deleted: false }).collect();
        Self { left: entries.len(), entries }
    }

    /// How many messages are not marked as deleted.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// The octets of the messages that are not marked.
    pub(super) fn octets(&self) -> u64 {
        self.entries.iter().filter(|entry| !entry.deleted).map(|entry| u64::from(entry.message.octets)).sum()
    }

    /// The message with this number, unless it is marked.
    pub(super) fn message(&self, number: u32) -> Option<&Message> {
        self.entry(number).map(|entry| &entry.message)
    }

    /// The first message from this number on that is not marked.
    pub(super) fn next(&self, number: u32) -> Option<(u32, &Message)> {
        let entries = self.entries.get(index(number)?..)?;
        let (ahead, entry) = entries.iter().enumerate().find(|(_, entry)| !entry.deleted)?;
        Some((number.checked_add(u32::try_from(ahead).ok()?)?, &entry.message))
    }

    /// Marks a message as deleted. False if there is none with this number, or if it is already
    /// marked.
    pub(super) fn delete(&mut self, number: u32) -> bool {
        let Some(entry) = self.entry_mut(number) else { return false };
        entry.deleted = true;
        self.left -= 1;
        true
    }

    /// Removes all deletion marks.
    pub(super) fn reset(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.deleted = false);
        self.left = self.entries.len();
    }

    /// The numbers of the marked messages.
    pub(super) fn deleted(&self) -> Vec<u32> {
        let marked = (1_u32..).zip(&self.entries).filter(|(_, entry)| entry.deleted);
        marked.map(|(number, _)| number).collect()
    }

    /// Stores the size of a message that is now known.
    pub(super) fn measured(&mut self, number: u32, octets: u64) {
        if let Some(entry) = self.entry_mut(number) {
            entry.message.octets = u32::try_from(octets).unwrap_or(u32::MAX);
        }
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(index(number)?).filter(|entry| !entry.deleted)
    }

    fn entry_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index(number)?).filter(|entry| !entry.deleted)
    }
}

fn index(number: u32) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildrop(sizes: &[u32]) -> Maildrop {
        let message = |(at, &octets)| Message { octets, unique_id: UniqueId::of(&format!("message {at}")) };
        Maildrop::new(sizes.iter().enumerate().map(message))
    }

    #[test]
    fn a_unique_id_is_what_rfc_1939_allows_and_always_the_same() {
        let id = UniqueId::of("AAkALgAAAAAAHYQDEapmEc2byACqAC").to_string();
        assert_eq!(id, UniqueId::of("AAkALgAAAAAAHYQDEapmEc2byACqAC").to_string());
        assert!((1..=70).contains(&id.len()) && id.bytes().all(|b| matches!(b, 0x21..=0x7E)), "{id}");
        // Some names at Microsoft differ only in case.
        assert_ne!(id, UniqueId::of("aAkALgAAAAAAHYQDEapmEc2byACqAC").to_string());
    }

    #[test]
    fn marks_come_and_go_and_numbers_stay() {
        let mut maildrop = maildrop(&[100, 20, 3]);
        assert_eq!((maildrop.left(), maildrop.octets()), (3, 123));
        assert!(maildrop.delete(2));
        assert!(!maildrop.delete(2));
        assert!(!maildrop.delete(0) && !maildrop.delete(4) && !maildrop.delete(u32::MAX));
        assert_eq!((maildrop.left(), maildrop.octets()), (2, 103));
        assert_eq!(maildrop.message(2), None);
        assert_eq!(maildrop.next(2).map(|(number, message)| (number, message.octets)), Some((3, 3)));
        assert_eq!(maildrop.next(4), None);
        assert_eq!(maildrop.deleted(), [2]);
        maildrop.reset();
        assert_eq!((maildrop.left(), maildrop.octets(), maildrop.deleted()), (3, 123, vec![]));
    }

    #[test]
    fn a_size_that_was_measured_counts_from_then_on() {
        let mut maildrop = maildrop(&[100, 20]);
        maildrop.measured(1, 111);
        assert_eq!(maildrop.octets(), 131);
        maildrop.measured(2, u64::MAX);
        maildrop.measured(3, 1);
        assert_eq!(maildrop.message(2).map(|message| message.octets), Some(u32::MAX));
    }
}
