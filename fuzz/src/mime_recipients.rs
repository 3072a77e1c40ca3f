//! The recipients that a message names in its header, as `sendmail -t` reads them.

use gatepost_proto::mime::{Address, AddressList, Head, address_to};

/// Where names without a domain are users.
const HOST: &str = "localhost";
/// Most recipients that are written for one field.
const WRITTEN: usize = 64;

/// Addresses as they are written, and as they are read.
const ADDRESSES: [(&str, &str); 8] = [
    ("a@x.example", "a@x.example"),
    ("b.c+d@X.example", "b.c+d@x.example"),
    ("\"q, r\"@x.example", "\"q, r\"@x.example"),
    ("\"e\\\"f\\\\\"@x.example", "\"e\\\"f\\\\\"@x.example"),
    ("g@[192.0.2.1]", "g@[192.0.2.1]"),
    ("ö@bücher.example", "ö@xn--bcher-kva.example"),
    ("root", "root@localhost"),
    ("\"h\"@x.example", "h@x.example"),
];

/// The first octet chooses: `r` the rest is a message, anything else it is how a field is written.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((b'r', message)) => received(message),
        Some((_, choices)) => written(choices),
        None => {}
    }
}

/// What is read from any field can be written and read again, and does not depend on its place.
fn received(message: &[u8]) {
    let Ok(head) = Head::parse(message) else { return };
    let mut before: Option<(&[u8], AddressList)> = None;
    for field in head.fields() {
        let value = head.value(field);
        let read = AddressList::parse_on(value, HOST);
        let strict = AddressList::parse(value);
        let Ok(list) = read else {
            assert!(strict.is_err(), "a host makes no address of none");
            continue;
        };
        judge(&list, value);
        match strict {
            Ok(strict) => assert_eq!(strict, list, "a host changes no address that has a domain"),
            Err(_) => {
                let is_local = |address: &Address| address.as_str().ends_with("@localhost");
                assert!(!list.plain && list.addresses.iter().any(is_local));
            }
        }
        // Fields of one name are one list.
        if let Some((earlier, mut all)) = before.take().filter(|(_, list)| list.plain) {
            let joined = [earlier, b",", value].concat();
            let joined = AddressList::parse_on(&joined, HOST).expect("two lists are one");
            let more: Vec<_> = list.addresses.iter().filter(|more| !all.addresses.contains(more)).cloned().collect();
            all.addresses.extend(more);
            assert_eq!(joined.addresses, all.addresses);
        }
        before = Some((value, list));
    }
    without_blind_copies(&head, &message[head.body()..]);
}

/// Each address is one, once, and all of them can be written plainly.
fn judge(list: &AddressList, value: &[u8]) {
    assert_eq!(list.names.len(), list.addresses.len());
    for name in list.names.iter().flatten() {
        assert!(name.start < name.end && name.end <= value.len());
    }
    for (n, address) in list.addresses.iter().enumerate() {
        assert!(!list.addresses[..n].contains(address), "{address} is there twice");
        assert!(!address.as_str().chars().any(char::is_control), "{address:?} has control characters");
        let again = Address::parse(address.as_str());
        assert_eq!(again.as_ref().map(Address::as_str), Ok(address.as_str()));
        assert_eq!(again.as_ref(), Ok(address));
    }
    let plain = list.addresses.iter().map(Address::as_str).collect::<Vec<_>>().join(",\r\n ");
    let again = AddressList::parse(plain.as_bytes()).expect("a plain list");
    assert!(again.plain, "{plain:?} is plain");
    assert_eq!(again.addresses, list.addresses);
}

/// What takes the blind copies out changes no other recipient.
fn without_blind_copies(head: &Head<'_>, body: &[u8]) {
    let changes: Vec<_> = head.named("Bcc").map(|field| (field.all.clone(), Vec::new())).collect();
    if changes.is_empty() || head.is_mended() || !head.octets().ends_with(b"\r\n\r\n") {
        return;
    }
    let message = [&head.edited(changes), body].concat();
    let again = Head::parse(&message).expect("a header without a field is one");
    assert!(again.named("Bcc").next().is_none());
    assert_eq!(&message[again.body()..], body);
    for name in ["To", "Cc"] {
        let values = |head: &Head<'_>| head.named(name).map(|field| head.value(field).to_vec()).collect::<Vec<_>>();
        assert_eq!(values(&again), values(head));
    }
}

/// Whichever way recipients are written, exactly they are read. Each octet is a recipient; what
/// follows `0xFF` is a name.
fn written(choices: &[u8]) {
    let (items, name) = match choices.iter().position(|octet| *octet == 0xff) {
        Some(at) => (&choices[..at], &choices[at + 1..]),
        None => (choices, &b"N. N."[..]),
    };
    let name: String = String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).collect();
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    let mut value = String::new();
    let mut expected: Vec<Address> = Vec::new();
    for (n, item) in items.iter().take(WRITTEN).enumerate() {
        let (text, meant) = ADDRESSES[usize::from(item & 7)];
        if n > 0 {
            value.push_str([",", ", ", ",\r\n ", " ,,(c)\r\n\t"][usize::from(item >> 6)]);
        }
        value.push_str(&match (item >> 3) & 7 {
            0 => text.to_owned(),
            1 => format!("<{text}>"),
            2 => format!("Anna B. <{text}>"),
            3 => format!("\"{name}\" <{text}>"),
            4 => format!("(no, x@y \\) (z)) {text}"),
            5 => format!("=?utf-8?Q?J=C3=B6rg?= <{text}> (<x@y>)"),
            6 => format!("<@r.example,@s.example:{text}>"),
            _ => format!("Team: {text}, (x@y);"),
        });
        let meant = Address::parse(meant).expect("an address");
        if !expected.contains(&meant) {
            expected.push(meant);
        }
    }
    for field in ["To", "cc", "BCC"] {
        let message = format!("Subject: s\r\n{field}: {value}\r\n\r\nTo: never@x.example\r\n");
        let Ok(head) = Head::parse(message.as_bytes()) else { panic!("{message:?} has no header") };
        let found = head.named(field).map(|field| AddressList::parse_on(head.value(field), HOST));
        let found: Vec<_> = found.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].addresses, expected, "{value:?}");
        // A server that knows no envelope sends to the same.
        let edited = head.edited(address_to(&head, &expected).0);
        let again = Head::parse(&edited).expect("a header");
        let named = ["To", "Cc", "Bcc"].into_iter().flat_map(|name| again.named(name));
        let named = named.flat_map(|field| AddressList::parse(again.value(field)).expect("a list").addresses);
        let mut named: Vec<_> = named.map(|address| address.to_string().to_lowercase()).collect();
        named.sort();
        assert_eq!(named.len(), expected.len(), "{value:?} becomes {named:?}");
    }
}
