//! Address lists in header fields (RFC 5322 §3.4).

/// One entry of an address list.
#[derive(Default)]
pub(super) struct Address {
    /// The display name, as it stands there.
    pub(super) name: Option<Vec<u8>>,
    /// The local part; the group's name where a group begins, nothing where it ends.
    pub(super) mailbox: Option<Vec<u8>>,
    pub(super) host: Option<Vec<u8>>,
}

impl Address {
    /// `local@domain`; none for the marks of a group and for what has no domain.
    pub(super) fn spec(&self) -> Option<String> {
        let (mailbox, host) = (self.mailbox.as_ref()?, self.host.as_ref()?);
        let spec = format!("{}@{}", String::from_utf8_lossy(mailbox), String::from_utf8_lossy(host));
        (!mailbox.is_empty() && !host.is_empty()).then_some(spec)
    }
}

/// An address list (RFC 5322 §3.4). A group opens with an address that has a mailbox only and
/// closes with an empty one.
pub(super) fn list(value: &[u8]) -> Vec<Address> {
    let mut list = Vec::new();
    let mut word = Vec::new();
    let mut name: Option<Vec<u8>> = None;
    let mut octets = value.iter().copied();
    let finish = |list: &mut Vec<Address>, name: &mut Option<Vec<u8>>, word: &mut Vec<u8>| {
        let spec = std::mem::take(word);
        let spec = spec.trim_ascii();
        if !spec.is_empty() || name.is_some() {
            list.push(address(name.take(), spec));
        }
    };
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => {
                while let Some(octet) = octets.next().filter(|&octet| octet != b'"') {
                    word.extend(if octet == b'\\' { octets.next() } else { Some(octet) });
                }
            }
            b'(' => {
                let mut depth = 1;
                while depth > 0 {
                    match octets.next() {
                        Some(b'(') => depth += 1,
                        Some(b')') => depth -= 1,
                        Some(b'\\') => drop(octets.next()),
                        Some(_) => {}
                        None => return list,
                    }
                }
            }
            b'<' => {
                let display = std::mem::take(&mut word);
                name = Some(display.trim_ascii().to_vec()).filter(|name| !name.is_empty());
                word.extend(octets.by_ref().take_while(|&octet| octet != b'>'));
                // A route in front (RFC 5322 §4.4) is left out.
                if let Some(end) = word.iter().rposition(|&octet| octet == b':').filter(|_| word.starts_with(b"@")) {
                    word.drain(..=end);
                }
            }
            b',' => finish(&mut list, &mut name, &mut word),
            b':' => {
                let group = std::mem::take(&mut word).trim_ascii().to_vec();
                list.push(Address { mailbox: Some(group), ..Address::default() });
            }
            b';' => {
                finish(&mut list, &mut name, &mut word);
                list.push(Address::default());
            }
            octet => word.push(octet),
        }
    }
    finish(&mut list, &mut name, &mut word);
    list
}

fn address(name: Option<Vec<u8>>, spec: &[u8]) -> Address {
    match spec.iter().rposition(|&octet| octet == b'@') {
        Some(at) => Address { name, mailbox: Some(spec[..at].to_vec()), host: Some(spec[at + 1..].to_vec()) },
        None => Address { name, mailbox: Some(spec.to_vec()), host: Some(Vec::new()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_quotes_and_comments_are_understood() {
        let specs = |value: &str| list(value.as_bytes()).iter().filter_map(Address::spec).collect::<Vec<_>>();
        assert_eq!(
            specs("\"Doe, J\" <j@x> (he), All: a@b,\r\n c@d;, undisclosed-recipients:;, plain"),
            ["j@x", "a@b", "c@d"]
        );
        assert_eq!(specs(""), [""; 0]);
    }
}
