//! The selected folder as the client knows it: message numbers are promises that hold until the
//! client hears otherwise.

use std::sync::Arc;

use super::command::FlagChange;
use super::fetch;
use super::folders::result;
use super::lexer::{SequenceSet, holds};
use super::reply::Reply;
use super::search::{Key, MessageNumbers};
use crate::store::{Flags, Folder, Mailbox, Message};

/// A selected folder.
pub(super) struct Selected {
    mailbox: Arc<Mailbox>,
    uid_validity: u32,
    pub(super) read_only: bool,
    // UIDs and flags as announced; the message number is the place in this list, counted from 1.
    known: Vec<(u32, Flags)>,
    // UIDs from here on are not yet announced.
    uid_next: u32,
    // The folder's version when everything in it was announced.
    version: Option<u64>,
}

/// A message that a command names: number and UID.
pub(super) type MessageTarget = (u32, u32);

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Selected {
    /// Executes SELECT or EXAMINE. `None` when there is no such folder.
    pub(super) fn open(out: &mut Vec<u8>, mailbox: &Arc<Mailbox>, name: &str, read_only: bool) -> Option<Self> {
        mailbox.read(|folders| {
            let folder = folders.get(name)?;
            let known: Vec<(u32, Flags)> = folder.by_uid().map(|(uid, message)| (uid, message.flags)).collect();
            let permanent = if read_only { "" } else { "\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent" };
            let mut lines = format!(
                "* {} EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent)\r\n\
                 * OK [PERMANENTFLAGS ({permanent})] Permanent flags\r\n",
                known.len()
            );
            if let Some(first) = known.iter().position(|(_, flags)| !flags.intersects(Flags::SEEN)) {
                lines.push_str(&format!("* OK [UNSEEN {}] Is the first unseen message\r\n", first + 1));
            }
            lines.push_str(&format!(
                "* OK [UIDVALIDITY {}] UIDVALIDITY value\r\n* OK [UIDNEXT {}] The next unique identifier value\r\n",
                folder.uid_validity, folder.uid_next
            ));
            out.extend(lines.into_bytes());
            Some(Self {
                mailbox: Arc::clone(mailbox),
                uid_validity: folder.uid_validity,
                read_only,
                known,
                uid_next: folder.uid_next,
                version: Some(folder.version),
            })
        })
    }

    /// Announces what has changed. `EXPUNGE` renumbers, so it is not allowed after commands that
    /// speak in message numbers (RFC 9051 §7.5.1).
    pub(super) fn announce(&mut self, out: &mut Vec<u8>, expunges_allowed: bool) {
        let mailbox = Arc::clone(&self.mailbox);
        mailbox.read(|folders| {
            let folder = folders.by_validity(self.uid_validity);
            if folder.is_some_and(|folder| self.version == Some(folder.version)) {
                return;
            }
            let current = |uid| folder.and_then(|folder| folder.message(uid)).map(|message| message.flags);
            if expunges_allowed {
                let mut kept = 0;
                self.known.retain(|&(uid, _)| {
                    let stays = current(uid).is_some();
                    if stays {
                        kept += 1;
                    } else {
                        out.extend(format!("* {} EXPUNGE\r\n", kept + 1).into_bytes());
                    }
                    stays
                });
            }
            let mut missing = false;
            for (index, (uid, known)) in self.known.iter_mut().enumerate() {
                match current(*uid) {
                    Some(flags) if flags != *known => {
                        *known = flags;
                        out.extend(format!("* {} FETCH (", index + 1).into_bytes());
                        fetch::flags(out, flags);
                        out.extend_from_slice(b")\r\n");
                    }
                    Some(_) => {}
                    None => missing = true,
                }
            }
            if let Some(folder) = folder.filter(|folder| folder.uid_next > self.uid_next) {
                let first = self.uid_next;
                let arrived = folder.by_uid().filter(|(uid, _)| *uid >= first);
                self.known.extend(arrived.map(|(uid, message)| (uid, message.flags)));
                self.uid_next = folder.uid_next;
                out.extend(format!("* {} EXISTS\r\n* 0 RECENT\r\n", self.known.len()).into_bytes());
            }
            self.version = folder.map(|folder| folder.version).filter(|_| !missing);
        });
    }

    /// The messages that a set names; `None` when it names numbers that do not exist.
    pub(super) fn targets(&self, set: &SequenceSet, by_uid: bool) -> Option<Vec<MessageTarget>> {
        let largest = if by_uid { self.largest_uid() } else { count(self.known.len()) };
        let ranges = set.resolve(largest);
        if !by_uid && ranges.iter().any(|range| *range.end() > largest || *range.start() == 0) {
            return None;
        }
        let numbered = self.known.iter().enumerate().map(|(index, (uid, _))| (count(index + 1), *uid));
        Some(numbered.filter(|&(number, uid)| holds(&ranges, if by_uid { uid } else { number })).collect())
    }

    fn largest_uid(&self) -> u32 {
        self.known.last().map_or(0, |(uid, _)| *uid)
    }

    /// All messages.
    pub(super) fn all(&self) -> Vec<MessageTarget> {
        self.known.iter().enumerate().map(|(index, (uid, _))| (count(index + 1), *uid)).collect()
    }

    fn folder<R>(&self, look: impl FnOnce(&Folder) -> R) -> Option<R> {
        self.mailbox.read(|folders| folders.by_validity(self.uid_validity).map(look))
    }

    /// The message, unless it is gone.
    pub(super) fn message(&self, uid: u32) -> Option<Message> {
        self.folder(|folder| folder.message(uid).cloned()).flatten()
    }

    /// Whether the message matches a search.
    pub(super) fn matches(&self, key: &Key, (number, uid): MessageTarget) -> bool {
        let (largest_number, largest_uid) = (count(self.known.len()), self.largest_uid());
        let numbers = MessageNumbers { number, largest_number, uid, largest_uid };
        self.message(uid).is_some_and(|message| key.matches(numbers, &message))
    }

    /// Changes the flags of a message, and returns the new ones. The client is taken to know them.
    pub(super) fn set_flags(
        &mut self,
        (number, uid): MessageTarget,
        new: impl FnOnce(Flags) -> Flags,
    ) -> Option<Flags> {
        let flags = self.mailbox.change(|folders| folders.by_validity_mut(self.uid_validity)?.set_flags(uid, new))?;
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        if let Some((_, known)) = self.known.get_mut(index) {
            *known = flags;
        }
        Some(flags)
    }

    /// Executes STORE on one message.
    pub(super) fn store(&mut self, target: MessageTarget, change: FlagChange, flags: Flags) -> Option<Flags> {
        self.set_flags(target, |old| match change {
            FlagChange::Replace => flags,
            FlagChange::Add => old.with(flags),
            FlagChange::Remove => old.without(flags),
        })
    }

    /// Executes EXPUNGE: removes what is `\Deleted`, within `uids` if given. [`Selected::announce`]
    /// then tells.
    pub(super) fn expunge(&self, uids: Option<&SequenceSet>) {
        let ranges = uids.map(|set| set.resolve(self.largest_uid()));
        let named = |uid| ranges.as_ref().is_none_or(|ranges| holds(ranges, uid));
        self.mailbox.change(|folders| {
            folders.expunge(self.uid_validity, |uid, message| message.flags.intersects(Flags::DELETED) && named(uid))
        });
    }

    /// Executes COPY, or MOVE with `and_remove`.
    pub(super) fn copy(&self, out: &mut Vec<u8>, targets: &[MessageTarget], to: &str, and_remove: bool) -> Reply {
        let command = if and_remove { "MOVE" } else { "COPY" };
        let uids: Vec<u32> = targets.iter().map(|(_, uid)| *uid).collect();
        let copied = self.mailbox.change(|folders| {
            if and_remove {
                folders.relocate(self.uid_validity, &uids, to)
            } else {
                folders.copy(self.uid_validity, &uids, to)
            }
        });
        let (target, pairs) = match copied {
            Ok(copied) => copied,
            Err(error) => return result(command, Err(error)),
        };
        if pairs.is_empty() {
            return Reply::completed(command);
        }
        let (old, new): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let code = format!("[COPYUID {target} {} {}]", uid_set(&old), uid_set(&new));
        if and_remove {
            // RFC 6851 §4.3: before the EXPUNGE responses.
            out.extend(format!("* OK {code}\r\n").into_bytes());
            Reply::completed(command)
        } else {
            Reply::ok(format!("{code} {command} completed."))
        }
    }
}

/// Ascending UIDs as a set.
fn uid_set(uids: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    let text = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}:{last}") };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::lexer::Lexer;
    use crate::store::INBOX;

    fn mailbox(messages: usize) -> Arc<Mailbox> {
        let mailbox = Mailbox::new(9);
        for _ in 0..messages {
            mailbox.append(INBOX, Arc::from(&b"x"[..]), Flags::default(), 0).unwrap();
        }
        Arc::new(mailbox)
    }

    fn open(mailbox: &Arc<Mailbox>) -> Selected {
        Selected::open(&mut Vec::new(), mailbox, INBOX, false).unwrap()
    }

    fn announced(selected: &mut Selected, expunges_allowed: bool) -> String {
        let mut out = Vec::new();
        selected.announce(&mut out, expunges_allowed);
        String::from_utf8(out).unwrap()
    }

    fn set(text: &str) -> SequenceSet {
        Lexer::new(text.as_bytes()).sequence_set().unwrap()
    }

    #[test]
    fn each_session_hears_of_the_others_changes_once() {
        let mailbox = mailbox(4);
        let (mut one, mut two) = (open(&mailbox), open(&mailbox));
        one.store((2, 2), FlagChange::Add, Flags::DELETED);
        one.store((3, 3), FlagChange::Add, Flags::DELETED);
        assert_eq!(announced(&mut one, true), "", "the client changed them itself");
        assert_eq!(announced(&mut two, false), "* 2 FETCH (FLAGS (\\Deleted))\r\n* 3 FETCH (FLAGS (\\Deleted))\r\n");
        one.expunge(Some(&set("3:*")));
        one.expunge(None);
        mailbox.append(INBOX, Arc::from(&b"y"[..]), Flags::default(), 0).unwrap();
        assert_eq!(announced(&mut two, false), "* 5 EXISTS\r\n* 0 RECENT\r\n", "numbers may not change yet");
        assert_eq!(announced(&mut two, true), "* 2 EXPUNGE\r\n* 2 EXPUNGE\r\n");
        assert_eq!(announced(&mut two, true), "");
        assert_eq!(announced(&mut one, true), "* 2 EXPUNGE\r\n* 2 EXPUNGE\r\n* 3 EXISTS\r\n* 0 RECENT\r\n");
        assert_eq!(two.all(), one.all());
    }

    #[test]
    fn sets_name_messages_by_number_or_uid() {
        let mailbox = mailbox(3);
        let mut selected = open(&mailbox);
        selected.store((1, 1), FlagChange::Add, Flags::DELETED);
        selected.expunge(None);
        announced(&mut selected, true);
        assert_eq!(selected.targets(&set("1:*"), false), Some(vec![(1, 2), (2, 3)]));
        assert_eq!(selected.targets(&set("3:9"), true), Some(vec![(2, 3)]));
        assert_eq!(selected.targets(&set("9:*"), true), Some(vec![(2, 3)]), "`*` is the last, even below 9");
        assert_eq!(selected.targets(&set("3"), false), None);
    }

    #[test]
    fn copying_tells_old_and_new_uids() {
        let mailbox = mailbox(4);
        let selected = open(&mailbox);
        let mut out = Vec::new();
        let reply = selected.copy(&mut out, &[(1, 1), (2, 2), (4, 4)], "Archive", false);
        assert!(reply.text.ends_with(" 1:2,4 1:3] COPY completed."), "{reply:?}");
        let reply = selected.copy(&mut out, &[(2, 2)], "Archive", true);
        assert_eq!(reply, Reply::completed("MOVE"));
        assert!(String::from_utf8(out).unwrap().ends_with(" 2 4]\r\n"));
        assert!(selected.message(2).is_none());
        assert!(selected.copy(&mut Vec::new(), &[(1, 1)], "None", false).text.starts_with("[TRYCREATE]"));
    }
}
