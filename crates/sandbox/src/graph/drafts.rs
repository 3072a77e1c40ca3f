//! Drafts that are still in pieces, and the files that are on their way to them. A large attachment
//! is kept once, and becomes part of a message when the draft is sent or read.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::compose::Draft;
use crate::letter::Attachment;
use crate::random;

/// The largest file that an upload session takes (Microsoft, "attachment: createUploadSession").
pub(super) const FILE_OCTETS: usize = 150 << 20;
/// The smallest one. Smaller files are posted.
pub(super) const SMALLEST_FILE: usize = 3_000_000;
/// The largest range of a file in one request.
pub(super) const RANGE_OCTETS: usize = 4 << 20;
/// How long a session waits for the next range, in seconds.
const SESSION: i64 = 24 * 60 * 60;

/// A mailbox's address, and the identity of a message in it.
type Place = (String, u64);

/// All drafts and sessions of a sandbox.
#[derive(Default)]
pub(crate) struct Drafts(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    drafts: HashMap<Place, KeptDraft>,
    sessions: HashMap<String, Session>,
}

struct KeptDraft {
    draft: Draft,
    /// Extended properties: id and value.
    properties: Vec<(String, String)>,
}

struct Session {
    of: Place,
    file: Attachment,
    octets: usize,
    expires: i64,
}

/// What became of a range.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// There is more of the file to come.
    More,
    /// The file is attached; its number.
    Attached(usize),
    /// It is not the next range of the file; that begins here.
    OutOfOrder(usize),
    NoSession,
}

impl Drafts {
    pub(super) fn keep(&self, mailbox: &str, identity: u64, draft: Draft, properties: Vec<(String, String)>) {
        self.0.lock().drafts.insert((mailbox.to_owned(), identity), KeptDraft { draft, properties });
    }

    /// Forgets a draft that was sent or deleted, with its sessions.
    pub(super) fn forget(&self, mailbox: &str, identity: u64) {
        let mut kept = self.0.lock();
        let place = (mailbox.to_owned(), identity);
        kept.drafts.remove(&place);
        kept.sessions.retain(|_, session| session.of != place);
    }

    /// The whole message; `None` if the draft is not kept in pieces.
    pub(super) fn compose(&self, mailbox: &str, identity: u64, now: i64) -> Option<Vec<u8>> {
        let kept = self.0.lock();
        kept.drafts.get(&(mailbox.to_owned(), identity)).map(|kept| kept.draft.compose(now))
    }

    pub(super) fn has_property(&self, mailbox: &str, identity: u64, id: &str, value: &str) -> bool {
        let kept = self.0.lock();
        let draft = kept.drafts.get(&(mailbox.to_owned(), identity));
        draft.is_some_and(|draft| draft.properties.iter().any(|(of, is)| of == id && is == value))
    }

    /// Attaches a file. Returns its number; `None` if the draft is not kept in pieces.
    pub(super) fn attach(&self, mailbox: &str, identity: u64, file: Attachment) -> Option<usize> {
        attach(&mut self.0.lock(), &(mailbox.to_owned(), identity), file)
    }

    /// Opens a session for a file of this length. Returns its token, and when it ends.
    pub(super) fn open(
        &self,
        mailbox: &str,
        identity: u64,
        file: Attachment,
        octets: usize,
        now: i64,
    ) -> Option<(String, i64)> {
        let mut kept = self.0.lock();
        let of = (mailbox.to_owned(), identity);
        kept.drafts.get(&of)?;
        let (token, expires) = (random::guid(), now + SESSION);
        kept.sessions.insert(token.clone(), Session { of, file, octets, expires });
        Some((token, expires))
    }

    /// Takes the range of a file that begins at `start`, of a file of `total` octets.
    pub(super) fn put(&self, token: &str, start: usize, total: usize, range: &[u8], now: i64) -> Taken {
        let mut kept = self.0.lock();
        let Some(session) = kept.sessions.get_mut(token).filter(|session| now < session.expires) else {
            return Taken::NoSession;
        };
        let so_far = &mut session.file.content;
        if start != so_far.len() || total != session.octets || start + range.len() > total {
            return Taken::OutOfOrder(so_far.len());
        }
        so_far.reserve_exact(total - start);
        so_far.extend_from_slice(range);
        session.expires = now + SESSION;
        if session.file.content.len() < total {
            return Taken::More;
        }
        let Some(Session { of, file, .. }) = kept.sessions.remove(token) else { return Taken::NoSession };
        attach(&mut kept, &of, file).map_or(Taken::NoSession, Taken::Attached)
    }

    /// Where the next range begins, and when the session ends.
    pub(super) fn progress(&self, token: &str, now: i64) -> Option<(usize, i64)> {
        let kept = self.0.lock();
        let session = kept.sessions.get(token).filter(|session| now < session.expires)?;
        Some((session.file.content.len(), session.expires))
    }

    /// Ends a session. Returns whether there was one.
    pub(super) fn cancel(&self, token: &str) -> bool {
        self.0.lock().sessions.remove(token).is_some()
    }

    /// The mailbox of a session.
    pub(super) fn mailbox(&self, token: &str) -> Option<String> {
        self.0.lock().sessions.get(token).map(|session| session.of.0.clone())
    }
}

fn attach(kept: &mut Kept, of: &Place, file: Attachment) -> Option<usize> {
    let attachments = &mut kept.drafts.get_mut(of)?.draft.attachments;
    attachments.push(file);
    Some(attachments.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Attachment {
        Attachment {
            name: "scan.pdf".into(),
            content_type: "application/pdf".into(),
            content_id: None,
            content: Vec::new(),
        }
    }

    #[test]
    fn ranges_come_in_order_and_the_last_one_attaches_the_file() {
        let drafts = Drafts::default();
        assert_eq!(drafts.open("a@x", 1, file(), 6, 0), None);
        drafts.keep("a@x", 1, Draft::default(), Vec::new());
        let (token, _) = drafts.open("a@x", 1, file(), 6, 0).unwrap();
        assert_eq!(drafts.put(&token, 0, 6, b"abcd", 0), Taken::More);
        for (start, total, range) in [(0, 6, &b"abcd"[..]), (5, 6, b"f"), (4, 7, b"ef"), (4, 6, b"efg")] {
            assert_eq!(drafts.put(&token, start, total, range, 0), Taken::OutOfOrder(4));
        }
        assert_eq!(drafts.progress(&token, 1), Some((4, SESSION)));
        assert_eq!(drafts.progress(&token, SESSION), None);
        assert_eq!(drafts.put(&token, 4, 6, b"ef", SESSION), Taken::NoSession);
        assert_eq!(drafts.put(&token, 4, 6, b"ef", 1), Taken::Attached(0));
        assert_eq!(drafts.put(&token, 6, 6, b"", 1), Taken::NoSession);
        assert_eq!(drafts.progress(&token, 1), None, "it ends with the file");
        assert!(String::from_utf8(drafts.compose("a@x", 1, 0).unwrap()).unwrap().contains("YWJjZGVm"));
    }

    #[test]
    fn a_draft_that_is_gone_takes_its_sessions_along() {
        let drafts = Drafts::default();
        drafts.keep("a@x", 1, Draft::default(), vec![("String {x} Name y".into(), "z".into())]);
        let (token, _) = drafts.open("a@x", 1, file(), 6, 0).unwrap();
        assert!(drafts.has_property("a@x", 1, "String {x} Name y", "z"));
        assert!(!drafts.has_property("a@x", 1, "String {x} Name y", ""));
        drafts.forget("a@x", 1);
        assert_eq!((drafts.mailbox(&token), drafts.compose("a@x", 1, 0)), (None, None));
        assert!(!drafts.cancel(&token));
    }
}
