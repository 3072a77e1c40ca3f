//! Reads the recipients that a message names, and adds further ones as blind copies.

use std::collections::HashSet;

use super::{Address, AddressList, Head, MimeError};

/// The addresses in To, Cc and Bcc. Resent fields are ignored (RFC 5322 §3.6.6: they are for
/// information only).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// Addresses that every reader finds.
    pub certain: Vec<Address>,
    /// Addresses that a reader may miss, because their field occurs twice or is written in an
    /// unusual way. None of them is among the certain ones.
    pub doubtful: Vec<Address>,
    bcc: Option<Bcc>,
}

/// The Bcc field of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bcc {
    /// The end of its value.
    end: usize,
    names_somebody: bool,
}

/// Octets to be inserted into a message; nothing is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insertion {
    /// The position, counted from the start of the message.
    pub at: usize,
    /// The octets: lines of at most 998 octets (RFC 5322 §2.1.1).
    pub octets: Vec<u8>,
}

impl Recipients {
    /// Reads To, Cc and Bcc.
    ///
    /// # Errors
    /// [`MimeError::Unreadable`] if a field names somebody and it is not certain who.
    /// [`MimeError::Repeated`] and [`MimeError::DoubtfulBcc`] if a reader might overlook a Bcc
    /// field, and so show it to everybody.
    pub fn of(head: &Head<'_>) -> Result<Self, MimeError> {
        let mut recipients = Self::default();
        let (mut certain, mut doubtful) = (HashSet::new(), HashSet::new());
        for name in ["To", "Cc", "Bcc"] {
            let only = head.named(name).count() == 1;
            for field in head.named(name) {
                let value = head.value(field);
                let list = AddressList::parse(value).map_err(|why| MimeError::Unreadable { field: name, why })?;
                if name == "Bcc" {
                    if !only {
                        return Err(MimeError::Repeated(name));
                    }
                    if !(field.plain && list.plain) {
                        return Err(MimeError::DoubtfulBcc);
                    }
                    let names_somebody = !value.trim_ascii().is_empty();
                    recipients.bcc = Some(Bcc { end: field.value.end, names_somebody });
                }
                let (known, into) = match only && field.plain && list.plain {
                    true => (&mut certain, &mut recipients.certain),
                    false => (&mut doubtful, &mut recipients.doubtful),
                };
                into.extend(list.addresses.into_iter().filter(|address| known.insert(address.clone())));
            }
        }
        recipients.doubtful.retain(|address| !certain.contains(address));
        Ok(recipients)
    }

    /// All addresses, the certain ones first.
    pub fn all(&self) -> impl Iterator<Item = &Address> {
        self.certain.iter().chain(&self.doubtful)
    }

    /// The insertion that adds `addresses` at the end of the message's only Bcc field, each on a
    /// line of its own. If there is no Bcc field, a new one becomes the first field of the message,
    /// so that it is in the header wherever a reader thinks that the header ends. `None` if there
    /// are no addresses.
    pub fn blind_copies(&self, addresses: &[&Address]) -> Option<Insertion> {
        let (first, rest) = addresses.split_first()?;
        let mut text = match self.bcc {
            None => format!("Bcc: {first}"),
            Some(Bcc { names_somebody: false, .. }) => format!("\r\n {first}"),
            // The comma is on the new line, because the line before it may already have the maximum
            // length.
            Some(_) => format!("\r\n , {first}"),
        };
        for address in rest {
            text.push_str(",\r\n ");
            text.push_str(address.as_str());
        }
        if self.bcc.is_none() {
            text.push_str("\r\n");
        }
        Some(Insertion { at: self.bcc.map_or(0, |bcc| bcc.end), octets: text.into_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipients(message: &str) -> Result<Recipients, MimeError> {
        Recipients::of(&Head::parse(message.as_bytes())?)
    }

    fn texts(addresses: &[Address]) -> Vec<&str> {
        addresses.iter().map(Address::as_str).collect()
    }

    fn with_blind_copies(message: &str, addresses: &[&str]) -> String {
        let addresses: Vec<_> = addresses.iter().map(|address| Address::parse(address).unwrap()).collect();
        let insertion = recipients(message).unwrap().blind_copies(&addresses.iter().collect::<Vec<_>>()).unwrap();
        let (before, after) = message.split_at(insertion.at);
        format!("{before}{}{after}", String::from_utf8(insertion.octets).unwrap())
    }

    #[test]
    fn to_cc_and_bcc_count_and_nothing_else() {
        let found = recipients(
            "From: f@x\r\nTO: a@x\r\ncc: b@x, A@X\r\nBcc: c@x\r\nReply-To: d@x\r\nResent-To: e@x\r\n\r\nTo: g@x\r\n",
        )
        .unwrap();
        assert_eq!((texts(&found.certain), texts(&found.doubtful)), (vec!["a@x", "b@x", "c@x"], vec![]));
    }

    #[test]
    fn what_a_reader_may_miss_is_doubtful() {
        for message in [
            "To: a@x\r\nTo: b@x\r\nCc: c@x\r\n\r\n",
            "To : a@x, b@x\r\nCc: c@x\r\n\r\n",
            "Cc: c@x\r\nSubject: s\r\n \r\nTo: a@x, b@x\r\n\r\n",
            "Cc: c@x\r\nTo: a@x; b@x\r\n\r\n",
            "Cc: c@x\r\nTo: group: a@x, b@x\r\n\r\n",
            "Cc: c@x\r\nTo: <@relay:a@x>, b@x\r\n\r\n",
            "Cc: c@x\r\nTo: a..a@x, b@x, c@x\r\n\r\n",
        ] {
            let found = recipients(message).unwrap();
            assert_eq!((texts(&found.certain), found.doubtful.len()), (vec!["c@x"], 2), "{message:?}");
        }
    }

    #[test]
    fn a_blind_copy_that_could_be_shown_is_refused() {
        assert_eq!(recipients("Bcc : a@x\r\n\r\n"), Err(MimeError::DoubtfulBcc));
        assert_eq!(recipients("Bcc: a@x; b@x\r\n\r\n"), Err(MimeError::DoubtfulBcc));
        assert_eq!(recipients("Subject: s\r\n\t\r\nBcc: a@x\r\n\r\n"), Err(MimeError::DoubtfulBcc));
        assert_eq!(recipients("Bcc: a@x\r\nBcc: b@x\r\n\r\n"), Err(MimeError::Repeated("Bcc")));
    }

    #[test]
    fn who_cannot_be_read_is_not_left_out() {
        assert_eq!(
            recipients("Cc: a@x\r\nTo: root\r\n\r\n"),
            Err(MimeError::Unreadable { field: "To", why: super::super::AddressError::NotAnAddress })
        );
    }

    #[test]
    fn a_new_bcc_field_comes_first() {
        assert_eq!(with_blind_copies("To: a@x\r\n\r\nb", &["b@x"]), "Bcc: b@x\r\nTo: a@x\r\n\r\nb");
        assert_eq!(with_blind_copies("\r\nb", &["b@x", "c@x"]), "Bcc: b@x,\r\n c@x\r\n\r\nb");
        assert_eq!(with_blind_copies("Subject: no end", &["b@x"]), "Bcc: b@x\r\nSubject: no end");
    }

    #[test]
    fn a_bcc_field_that_is_there_goes_on() {
        for (before, after) in [
            ("Bcc: a@x\r\nX: y\r\n\r\n", "Bcc: a@x\r\n , b@x\r\nX: y\r\n\r\n"),
            ("Bcc:\r\n\r\n", "Bcc:\r\n b@x\r\n\r\n"),
            ("Bcc: \r\n \r\n\r\n", "Bcc: \r\n \r\n b@x\r\n\r\n"),
            ("Bcc:\r\n a@x\r\n\t(c)\r\n\r\n", "Bcc:\r\n a@x\r\n\t(c)\r\n , b@x\r\n\r\n"),
            ("Bcc: a@x", "Bcc: a@x\r\n , b@x"),
        ] {
            assert_eq!(with_blind_copies(before, &["b@x"]), after);
            let found = recipients(after).unwrap();
            assert!(found.all().any(|address| address.as_str() == "b@x"), "{after:?}");
        }
    }
}
