//! A message's header.

use std::collections::HashSet;

use gatepost_core::account::MailAddress;
use gatepost_proto::mime::{Address, HEAD_OCTETS, Head, Recipients, check_lines, sender};

/// The whole input is a message.
pub fn check(message: &[u8]) {
    let Ok(head) = Head::parse(message) else { return };
    let mut at = 0;
    for field in head.fields() {
        assert_eq!(field.all.start, at, "fields lie one behind the other");
        assert!(field.name.end <= field.value.start && field.value.end <= field.all.end);
        at = field.all.end;
    }
    let (header, body) = message.split_at(head.body());
    assert!(at <= head.body() && matches!(&header[at..], b"" | b"\r\n"));
    assert!(header.len() <= HEAD_OCTETS + 2);
    assert_eq!(check_lines(header), Ok(()));
    if let Some(end) = Head::end(message, 0) {
        assert_eq!(end, head.body());
    }
    blind_copies(message, &head);
    replaced_from(&head, body);
    quoted_names(&head);
}

/// Who is added is named, whoever was there still is, and nothing else has changed.
fn blind_copies(message: &[u8], head: &Head<'_>) {
    let Ok(named) = Recipients::of(head) else { return };
    let before: HashSet<_> = named.all().cloned().collect();
    for address in &before {
        assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(address), "an address is read as it is written");
    }
    assert!(named.doubtful.iter().all(|address| !named.certain.contains(address)));
    let added = ["new@fuzz.example", "\"n, e; w\"@fuzz.example"].map(|text| Address::parse(text).unwrap());
    let Some(insertion) = named.blind_copies(&added.iter().collect::<Vec<_>>()) else { panic!("nothing to insert") };
    assert!(insertion.octets.split(|octet| *octet == b'\n').all(|line| line.len() <= 999));
    let (start, end) = message.split_at(insertion.at);
    let changed = [start, &insertion.octets, end].concat();
    let Ok(head) = Head::parse(&changed) else { panic!("the header is none any more") };
    let Ok(now) = Recipients::of(&head) else { panic!("the recipients are lost") };
    assert!(before.is_subset(&now.all().cloned().collect()));
    // Who was put in is certain: not to be overlooked.
    assert!(added.iter().all(|address| now.certain.contains(address)));
    assert_eq!(changed.len() - head.body(), message.len() - body_of(message));
}

fn body_of(message: &[u8]) -> usize {
    Head::parse(message).map_or(0, |head| head.body())
}

/// Quotes change nobody's address, and a second time they change nothing.
fn quoted_names(head: &Head<'_>) {
    let Some(changed) = sender::quote_names(head) else { return };
    let Ok(now) = Head::parse(&changed) else {
        return assert!(changed.len() > HEAD_OCTETS, "the header is none any more");
    };
    assert_eq!(now.fields().len(), head.fields().len());
    assert_eq!(sender::quote_names(&now), None);
    if let Ok(before) = sender::from(head) {
        assert_eq!(sender::from(&now).map(|list| list.addresses), Ok(before.addresses));
    }
}

/// The mailbox is the sender then, and a second time changes nothing.
fn replaced_from(head: &Head<'_>, body: &[u8]) {
    let mailbox = MailAddress::parse("mailbox@fuzz.example").unwrap();
    let Ok(Some(mut changed)) = sender::replace_from(head, &mailbox) else { return };
    let length = changed.len();
    changed.extend_from_slice(body);
    let Ok(head) = Head::parse(&changed) else { panic!("the header is none any more") };
    assert!(head.body() == length || body.is_empty());
    let Ok(from) = sender::from(&head) else { panic!("nobody can tell who it is from") };
    assert!(matches!(from.addresses.as_slice(), [address] if address.as_str() == mailbox.as_str()));
    assert_eq!(sender::replace_from(&head, &mailbox), Ok(None));
}
