//! Makes the header of a message name exactly the recipients of its envelope, for servers that know
//! no envelope.

use std::collections::HashSet;

use super::{Address, AddressList, Change, Field, Head};

/// The changes that make To, Cc and Bcc name exactly `recipients`, for every reader, and the names
/// of the fields that are set aside.
///
/// - A field stays if it is the only one of its name, is written plainly, and names recipients
///   alone.
/// - To and Cc fields that cannot be read, or that name others, get the name `X-Original-To` or
///   `X-Original-Cc`.
/// - To and Cc fields that name recipients alone, but that a reader may misunderstand or overlook,
///   are set aside too, and a plain field of their addresses takes their place.
/// - Recipients that To and Cc do not name go into Bcc. Other Bcc fields are removed: whom they
///   name must not be shown to everybody.
///
/// New fields come first, so that they are in the header wherever a reader thinks that it ends.
/// Resent fields stay, because they are for information only (RFC 5322 §3.6.6).
pub fn address_to(head: &Head<'_>, recipients: &[Address]) -> (Vec<Change>, Vec<&'static str>) {
    let envelope: HashSet<&Address> = recipients.iter().collect();
    let (mut changes, mut set_aside) = (Vec::new(), Vec::new());
    let mut named = HashSet::new();
    for (name, original) in [("To", "X-Original-To:"), ("Cc", "X-Original-Cc:")] {
        let fields = AddressFields::read(head, name, &envelope);
        named.extend(fields.addresses.iter().cloned());
        if fields.are_plain {
            continue;
        }
        let renamed = |field: &&Field| (field.name.start..field.value.start, original.into());
        changes.extend(fields.fields.iter().map(renamed));
        changes.extend(new_field(name, &fields.addresses));
        set_aside.push(name);
    }
    let blind = AddressFields::read(head, "Bcc", &envelope);
    let unnamed: Vec<_> = recipients.iter().filter(|address| !named.contains(*address)).cloned().collect();
    let are_named = unnamed.iter().all(|address| blind.addresses.contains(address));
    if !(blind.are_plain && are_named) {
        changes.extend(blind.fields.iter().map(|field| (field.all.clone(), Vec::new())));
        changes.extend(new_field("Bcc", &unnamed));
    }
    (changes, set_aside)
}

/// The fields of one name.
struct AddressFields<'h> {
    fields: Vec<&'h Field>,
    /// The addresses of those fields that name recipients alone.
    addresses: Vec<Address>,
    /// Whether every reader finds exactly these addresses.
    are_plain: bool,
}

impl<'h> AddressFields<'h> {
    fn read(head: &'h Head<'_>, name: &'static str, envelope: &HashSet<&Address>) -> Self {
        let fields: Vec<_> = head.named(name).collect();
        let mut are_plain = fields.len() <= 1;
        let (mut addresses, mut known) = (Vec::new(), HashSet::new());
        for field in &fields {
            let list = AddressList::parse(head.value(field)).ok();
            let list = list.filter(|list| list.addresses.iter().all(|address| envelope.contains(address)));
            are_plain &= field.plain && list.as_ref().is_some_and(|list| list.plain);
            let found = list.into_iter().flat_map(|list| list.addresses);
            addresses.extend(found.filter(|address| known.insert(address.clone())));
        }
        Self { fields, addresses, are_plain }
    }
}

/// The insertion of a field with an address in each line, so that no line exceeds 998 octets (RFC
/// 5322 §2.1.1); `None` if there are no addresses.
fn new_field(name: &str, addresses: &[Address]) -> Option<Change> {
    let addresses: Vec<_> = addresses.iter().map(Address::as_str).collect();
    (!addresses.is_empty()).then(|| (0..0, format!("{name}: {}\r\n", addresses.join(",\r\n ")).into_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// The header after its changes, and what is set aside.
    fn addressed(header: &[u8], recipients: &[&str]) -> (Vec<u8>, Vec<&'static str>) {
        let head = Head::parse(header).unwrap();
        let recipients: Vec<_> = recipients.iter().map(|address| Address::parse(address).unwrap()).collect();
        let (changes, set_aside) = address_to(&head, &recipients);
        (head.edited(changes), set_aside)
    }

    fn becomes(before: &str, recipients: &[&str], after: &str) {
        let (header, _) = addressed(before.as_bytes(), recipients);
        assert_eq!(String::from_utf8(header).unwrap(), after, "{before:?}");
    }

    #[test]
    fn fields_that_name_the_recipients_stay() {
        for header in [
            "From: f@x\r\nTo: A@x\r\nCc: B <\"b\"@X>\r\n\r\n",
            "To: Team: a@x, b@x;\r\nCc:\r\n\r\n",
            "To: a@x\r\nCc: undisclosed-recipients:;\r\nBcc: Bert <b@x>\r\n\r\n",
            "To: a@x,\r\n \"c@z\" <b@x>\r\nReply-To: d@x\r\nResent-To: e@x\r\n\r\n",
        ] {
            becomes(header, &["b@x", "a@x"], header);
        }
    }

    #[test]
    fn recipients_that_no_field_names_get_a_blind_copy() {
        for (before, after) in [
            ("To: a@x\r\n\r\n", "Bcc: b@x,\r\n c@x\r\nTo: a@x\r\n\r\n"),
            ("Subject: no end", "Bcc: a@x,\r\n b@x,\r\n c@x\r\nSubject: no end"),
            ("\r\n", "Bcc: a@x,\r\n b@x,\r\n c@x\r\n\r\n"),
            ("To: a@x\r\nBcc: Bert <b@x>\r\n (c)\r\nX: y\r\n\r\n", "Bcc: b@x,\r\n c@x\r\nTo: a@x\r\nX: y\r\n\r\n"),
            ("Bcc:\r\nTo: a@x\r\n\r\n", "Bcc: b@x,\r\n c@x\r\nTo: a@x\r\n\r\n"),
        ] {
            becomes(before, &["a@x", "b@x", "c@x"], after);
        }
    }

    #[test]
    fn fields_that_cannot_be_read_or_name_others_are_set_aside() {
        for (before, after) in [
            ("To: Miller, Bob <a@x>\r\n\r\n", "Bcc: a@x\r\nX-Original-To: Miller, Bob <a@x>\r\n\r\n"),
            ("TO : undisclosed recipients\r\n\r\n", "Bcc: a@x\r\nX-Original-To: undisclosed recipients\r\n\r\n"),
            ("To: undisclosed-recipients:\r\n\r\n", "Bcc: a@x\r\nX-Original-To: undisclosed-recipients:\r\n\r\n"),
            ("To: a@x,\r\n b@x\r\n\r\n", "Bcc: a@x\r\nX-Original-To: a@x,\r\n b@x\r\n\r\n"),
            ("To: a@x\r\ncc: b@x\r\n\r\n", "To: a@x\r\nX-Original-Cc: b@x\r\n\r\n"),
            ("To: root\r\nTo: a@x\r\n\r\n", "To: a@x\r\nX-Original-To: root\r\nX-Original-To: a@x\r\n\r\n"),
        ] {
            becomes(before, &["a@x"], after);
        }
        assert_eq!(addressed(b"To: root\r\nCc: b@x\r\nBcc: c@x\r\n\r\n", &["a@x"]).1, ["To", "Cc"]);
        assert_eq!(addressed(b"To: \xB1\xF2@x\r\n\r\n", &["a@x"]).0, b"Bcc: a@x\r\nX-Original-To: \xB1\xF2@x\r\n\r\n");
    }

    #[test]
    fn an_unusual_field_of_recipients_is_written_plainly() {
        for field in [
            "To: Anna <a@x>; b@x",
            "To : a@x, b@x",
            "To: Team: a@x, b@x",
            "To: <@relay:a@x>, b@x",
            "To: [External] Anna <a@x>, b@x",
            "To: a@x <a@x>, b@x",
        ] {
            let (_, value) = field.split_once(':').unwrap();
            let after = format!("To: a@x,\r\n b@x\r\nX-Original-To:{value}\r\n\r\n");
            becomes(&format!("{field}\r\n\r\n"), &["a@x", "b@x"], &after);
        }
        becomes(
            "To: a@x\r\nTo: b@x\r\n\r\n",
            &["a@x", "b@x"],
            "To: a@x,\r\n b@x\r\nX-Original-To: a@x\r\nX-Original-To: b@x\r\n\r\n",
        );
        becomes(
            "Subject: s\r\n \r\nCc: a@x\r\n\r\n",
            &["a@x"],
            "Cc: a@x\r\nSubject: s\r\n \r\nX-Original-Cc: a@x\r\n\r\n",
        );
    }

    #[test]
    fn a_blind_copy_is_never_shown() {
        for bcc in [
            "Bcc : b@x",
            "Bcc: b@x; c@x",
            "Bcc: b@x\r\nBcc: c@x",
            "Bcc: root",
            "Bcc: b@x, d@x",
            "X: y\r\n \r\nBcc: b@x",
        ] {
            let before = format!("To: a@x\r\n{bcc}\r\n\r\n");
            let (header, set_aside) = addressed(before.as_bytes(), &["a@x", "b@x", "c@x"]);
            let header = String::from_utf8(header).unwrap();
            assert!(header.starts_with("Bcc: b@x,\r\n c@x\r\nTo: a@x\r\n"), "{header:?}");
            assert_eq!((header.to_lowercase().matches("bcc").count(), set_aside), (1, vec![]), "{header:?}");
        }
    }

    /// Pieces of which fields are made: what lists are made of, and what makes them unreadable.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&[u8]> = vec![
            b"a@x",
            b"B@x",
            b"\"c d\"@x",
            b"e@y",
            b"<a@x>",
            b"<B@x>",
            b"Anna",
            b"\"f@z\"",
            b"(g@z)",
            b"root",
            b"Team:",
            b";",
            b",",
            b", ",
            b" ",
            b"\r\n ",
            b"\r\n\t\r\n ",
            b"<",
            b">",
            b"\"",
            b"(",
            b")",
            b"\\",
            b"@",
            b"@r,@s:",
            b":",
            b"[",
            b"]",
            b"=?utf-8?Q?h=40z,?=",
            b"\xFC",
            b"\xC3\xBC",
            b"\x01",
            b"undisclosed-recipients:;",
        ];
        vec(select(pieces), 0..8).prop_map(|pieces| pieces.concat())
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let names: Vec<&[u8]> = vec![
            b"To:",
            b"TO :",
            b"to:",
            b"Cc:",
            b"cC\t:",
            b"Bcc:",
            b"BCC :",
            b"Resent-To:",
            b"From:",
            b"Subject:",
            b"X-Original-To:",
            b"No field",
            b" To:",
            b"T\xF6:",
        ];
        (select(names), value()).prop_map(|(name, value)| [name, b" ", &value].concat())
    }

    proptest! {
        /// Whatever the header is, it then names the recipients and nobody else, a second time
        /// changes nothing, and whom Bcc named stays unknown to the others.
        #[test]
        fn any_header_names_exactly_the_recipients(
            lines in vec(line(), 0..6),
            ends in any::<bool>(),
            recipients in vec(select(vec!["a@x", "A@X", "b@x", "\"c d\"@x", "i@x"]), 1..5),
        ) {
            let mut message = lines.join(&b"\r\n"[..]);
            message.extend_from_slice(if ends { b"\r\n\r\nTo: body@x\r\n" } else { b"" });
            let (header, _) = addressed(&message, &recipients);
            let head = Head::parse(&header).unwrap();
            prop_assert!(!head.is_mended());
            let mut found = HashSet::new();
            for name in ["To", "Cc", "Bcc"] {
                prop_assert!(head.named(name).count() <= 1);
                for field in head.named(name) {
                    let list = AddressList::parse(head.value(field)).unwrap();
                    prop_assert!(field.plain && list.plain);
                    found.extend(list.addresses);
                }
            }
            let envelope = recipients.iter().map(|address| Address::parse(address).unwrap()).collect::<Vec<_>>();
            prop_assert_eq!(&found, &envelope.iter().cloned().collect());
            prop_assert_eq!(address_to(&head, &envelope), (vec![], vec![]));
            let is_shown = |field: &Field| head.name(field).to_ascii_lowercase().starts_with(b"x-original-bcc");
            prop_assert!(!head.fields().iter().any(is_shown));
        }
    }
}
