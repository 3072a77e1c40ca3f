//! A message's header.

use std::collections::HashSet;

use gatepost_core::account::MailAddress;
use gatepost_proto::mime::{Address, AddressList, HEAD_OCTETS, Head, address_to, check_lines, sender};

/// The whole input is a message.
pub fn check(message: &[u8]) {
    let Ok(head) = Head::parse(message) else { return };
    let mut at = 0;
    for field in head.fields() {
        assert_eq!(field.all.start, at, "fields lie one behind the other");
        assert!(field.name.end <= field.value.start && field.value.end <= field.all.end);
        at = field.all.end;
    }
    let (header, body) = (head.octets(), &message[head.body()..]);
    assert!(matches!(&header[at..], b"" | b"\r\n"));
    assert!(header.len() <= HEAD_OCTETS + 2);
    assert_eq!(check_lines(header), Ok(()));
    if !head.is_mended() {
        assert_eq!(header, &message[..head.body()]);
        assert!(Head::end(message, 0).is_none_or(|end| end == head.body()));
    }
    addressed(&head);
    replaced_from(&head, body);
    quoted_names(&head);
}

/// The recipients are named, certainly and alone, and a second time changes nothing.
fn addressed(head: &Head<'_>) {
    for field in head.fields() {
        let Ok(list) = AddressList::parse(head.value(field)) else { continue };
        for address in &list.addresses {
            assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(address), "an address is read as it is written");
        }
    }
    let mut recipients: Vec<_> =
        ["new@fuzz.example", "\"n, e; w\"@fuzz.example"].map(|text| Address::parse(text).unwrap()).into();
    let to = head.named("To").find_map(|field| AddressList::parse(head.value(field)).ok());
    recipients.extend(to.into_iter().flat_map(|list| list.addresses));
    let header = head.edited(address_to(head, &recipients).0);
    let Ok(head) = Head::parse(&header) else { panic!("the header is none any more") };
    let mut found = HashSet::new();
    for name in ["To", "Cc", "Bcc"] {
        for field in head.named(name) {
            let Ok(list) = AddressList::parse(head.value(field)) else { panic!("{name} cannot be read") };
            assert!(field.plain && list.plain, "{name} is written plainly");
            found.extend(list.addresses);
        }
    }
    assert_eq!(found, recipients.iter().cloned().collect());
    assert_eq!(address_to(&head, &recipients), (Vec::new(), Vec::new()));
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
