//! The key of a queue. It is made with the queue and kept in its index, sealed under each state key
//! that the source gives. It stays when the state key is rotated.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::seal::{KEY_OCTETS, Kind, Place, SealingKey, expand};
use crate::sealed_file::FileKey;

const KEY: Place = Place { kind: Kind::QueueKey, name: [0; 32] };

/// The random name of a message's file, and of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileName(pub(super) [u8; 16]);

impl FileName {
    pub(super) fn random() -> Result<Self, Unspecified> {
        let mut name = [0; 16];
        rand::fill(&mut name)?;
        Ok(Self(name))
    }

    /// The name that [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 32 && text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|name| Self(name.to_be_bytes()))
    }

    fn place(self, kind: Kind) -> Place {
        let mut name = [0; 32];
        let (own, _) = name.split_at_mut(16);
        own.copy_from_slice(&self.0);
        Place { kind, name }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Seals all of one queue.
pub(super) struct QueueKey {
    octets: Zeroizing<[u8; KEY_OCTETS]>,
    records: SealingKey,
    files: Prk,
}

impl QueueKey {
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        rand::fill(&mut octets[..])?;
        Self::new(octets)
    }

    fn new(octets: Zeroizing<[u8; KEY_OCTETS]>) -> Result<Self, Unspecified> {
        let files = Salt::new(HKDF_SHA256, b"gatepost queue").extract(&octets[..]);
        Ok(Self { records: SealingKey::derive(&octets)?, files, octets })
    }

    /// This key, sealed under a state key.
    pub(super) fn seal(&self, under: &SealingKey) -> Result<Vec<u8>, Unspecified> {
        under.seal(&KEY, 0, Zeroizing::new(self.octets.to_vec()))
    }

    pub(super) fn open(under: &SealingKey, sealed: &[u8]) -> Result<Self, Unspecified> {
        let plain = under.open(&KEY, 0, sealed)?;
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        if plain.len() != KEY_OCTETS {
            return Err(Unspecified);
        }
        octets.copy_from_slice(&plain);
        Self::new(octets)
    }

    /// The key of a message's file.
    pub(super) fn file(&self, name: FileName) -> Result<FileKey, Unspecified> {
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        expand(&self.files, &name.0, &mut octets[..])?;
        FileKey::new(&octets)
    }

    /// What stands for the copy of a message that cannot be searched for.
    pub(super) fn no_copy() -> Result<[u8; 32], Unspecified> {
        let mut name = [0; 32];
        rand::fill(&mut name)?;
        Ok(name)
    }

    /// What stands for the copy of a message in Sent Items, by which it is searched for there.
    pub(super) fn copy(&self, mailbox: &str, message_id: &str) -> Result<[u8; 32], Unspecified> {
        let mut name = [0; 32];
        let info = format!("copy\0{}\0{message_id}", mailbox.to_lowercase());
        expand(&self.files, info.as_bytes(), &mut name)?;
        Ok(name)
    }

    /// Seals the mailbox from which a message left, of which the copy is known by this.
    pub(super) fn seal_mailbox(&self, copy: [u8; 32], mailbox: &str) -> Result<Vec<u8>, Unspecified> {
        let place = Place { kind: Kind::QueueMailbox, name: copy };
        self.records.seal(&place, 0, Zeroizing::new(mailbox.as_bytes().to_vec()))
    }

    /// The mailbox that was sealed, unless it was altered.
    pub(super) fn open_mailbox(&self, copy: [u8; 32], sealed: &[u8]) -> Option<String> {
        let place = Place { kind: Kind::QueueMailbox, name: copy };
        String::from_utf8(self.records.open(&place, 0, sealed).ok()?.to_vec()).ok()
    }

    /// Seals what is known about a message, as JSON.
    pub(super) fn seal_record<T: Serialize>(
        &self,
        kind: Kind,
        name: FileName,
        record: &T,
    ) -> Result<Vec<u8>, Unspecified> {
        let plain = Zeroizing::new(serde_json::to_vec(record).map_err(|_| Unspecified)?);
        self.records.seal(&name.place(kind), 0, plain)
    }

    /// The record that was sealed for this message, unless it was altered.
    pub(super) fn open_record<T: DeserializeOwned>(&self, kind: Kind, name: FileName, sealed: &[u8]) -> Option<T> {
        serde_json::from_slice(&self.records.open(&name.place(kind), 0, sealed).ok()?).ok()
    }
}

impl fmt::Debug for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_queue_names_is_taken_for_a_message() {
        let name = FileName([0xAB; 16]);
        assert_eq!(FileName::parse(&name.to_string()), Some(name));
        assert_eq!(FileName::parse(&FileName([0; 16]).to_string()), Some(FileName([0; 16])));
        let digits = "ab".repeat(16);
        let plus = format!("+{}", &digits[1..]);
        for other in ["", &digits[1..], &format!("{digits}a"), &digits.to_uppercase(), &plus, &"g".repeat(32)] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_copy_that_cannot_be_searched_for_is_like_no_other() {
        let key = QueueKey::generate().unwrap();
        let (one, two) = (QueueKey::no_copy().unwrap(), QueueKey::no_copy().unwrap());
        assert!(one != two && one != [0; 32]);
        let copy = key.copy("Scanner@contoso.example", "<1@scanner.example>").unwrap();
        assert_eq!(key.copy("scanner@contoso.example", "<1@scanner.example>").unwrap(), copy);
        for (mailbox, message_id) in
            [("scanner@contoso.example", "<2@scanner.example>"), ("alice@contoso.example", "<1@scanner.example>")]
        {
            assert_ne!(key.copy(mailbox, message_id).unwrap(), copy, "{mailbox} {message_id}");
        }
        let sealed = key.seal_mailbox(copy, "scanner@contoso.example").unwrap();
        assert_eq!(key.open_mailbox(copy, &sealed).as_deref(), Some("scanner@contoso.example"));
        assert_eq!(key.open_mailbox(one, &sealed), None, "it belongs to another copy");
    }
}
