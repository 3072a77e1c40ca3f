//! The messages of an Inbox, as they were when it was listed.

use std::collections::HashSet;
use std::mem;

use crate::graph::messages::{Listed, NextPage, Page};
use gatepost_proto::mail::pop3::maildrop::{Maildrop, Message, UniqueId};

/// A list under construction, and then the ids of its messages by their numbers.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Filled until the list is complete.
    listed: Vec<Listed>,
    ids: Vec<Box<str>>,
    next: Option<NextPage>,
    most: usize,
    cut: bool,
}

impl Inbox {
    /// Starts with the first part of a list. Keeps at most `most` messages, the oldest.
    pub(super) fn new(first: Page, most: usize) -> Self {
        let mut inbox = Self { listed: Vec::new(), ids: Vec::new(), next: None, most, cut: false };
        inbox.add(first);
        inbox
    }

    /// Returns where the list continues, if it does.
    pub(super) fn next(&self) -> Option<&NextPage> {
        self.next.as_ref()
    }

    /// Adds a further part.
    pub(super) fn add(&mut self, page: Page) {
        self.listed.extend(page.messages);
        self.cut = self.listed.len() > self.most || self.listed.len() == self.most && page.next.is_some();
        self.listed.truncate(self.most);
        self.next = page.next.filter(|_| !self.cut);
    }

    /// Whether there are more messages than are kept.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Returns the id of the message with this number.
    pub(super) fn id(&self, number: u32) -> Option<&str> {
        self.ids.get(usize::try_from(number.checked_sub(1)?).ok()?).map(Box::as_ref)
    }

    /// Returns the complete list, for the session.
    pub(super) fn maildrop(&mut self) -> Maildrop {
        let listed = mem::take(&mut self.listed);
        let again = named_before(&listed);
        let kept = listed.into_iter().enumerate().filter(|(index, _)| !again.contains(index)).map(|(_, listed)| listed);
        let mut ids = Vec::new();
        let message = |Listed { id, octets }| {
            let unique_id = UniqueId::of(&id);
            ids.push(id);
            Message { octets, unique_id }
        };
        let maildrop = Maildrop::new(kept.map(message));
        self.ids = ids;
        maildrop
    }
}

/// Returns the indices of repeated messages. Pages shift when mail comes and goes while they are
/// fetched.
fn named_before(listed: &[Listed]) -> HashSet<usize> {
    let mut in_order: Vec<(&str, usize)> =
        listed.iter().enumerate().map(|(index, listed)| (&*listed.id, index)).collect();
    in_order.sort_unstable();
    let neighbours = in_order.iter().zip(in_order.iter().skip(1));
    neighbours.filter(|((id, _), (again, _))| id == again).map(|(_, (_, index))| *index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[&str], more: bool) -> Page {
        let listed = |id: &&str| Listed { id: (*id).into(), octets: 1 };
        Page { messages: ids.iter().map(listed).collect(), next: more.then(|| NextPage::test("/more")) }
    }

    #[test]
    fn the_oldest_are_kept_and_the_list_goes_no_further() {
        for (pages, cut) in [
            (vec![page(&["a", "b", "c", "d"], false)], true),
            (vec![page(&["a", "b", "c"], false)], false),
            (vec![page(&["a", "b", "c"], true)], true),
            (vec![page(&["a", "b"], true), page(&["c", "d"], true)], true),
            (vec![page(&["a", "b"], true), page(&["c"], false)], false),
        ] {
            let mut pages = pages.into_iter();
            let mut inbox = Inbox::new(pages.next().unwrap(), 3);
            pages.for_each(|page| {
                assert!(inbox.next().is_some());
                inbox.add(page);
            });
            assert_eq!((inbox.next(), inbox.is_cut()), (None, cut));
            inbox.maildrop();
            assert_eq!((inbox.id(1), inbox.id(3), inbox.id(4), inbox.id(0)), (Some("a"), Some("c"), None, None));
        }
    }

    #[test]
    fn a_message_that_two_pages_name_has_one_number() {
        let mut inbox = Inbox::new(page(&["a", "b"], true), 10);
        inbox.add(page(&["b", "c", "a"], false));
        inbox.maildrop();
        assert_eq!((inbox.id(1), inbox.id(2), inbox.id(3), inbox.id(4)), (Some("a"), Some("b"), Some("c"), None));
    }
}
