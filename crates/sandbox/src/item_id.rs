//! Identifiers of items and folders, of the form that Exchange gives them: long, opaque,
//! case-sensitive base64 of octets that name the mailbox and the place in it.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::store::{Folders, Message};

/// Octets that only make an identifier as long as Microsoft's.
const FILLING: usize = 48;

/// The two alphabets of base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// The alphabet of Graph's identifiers.
    UrlSafe,
    /// The alphabet of EWS's identifiers.
    Standard,
}

/// What an identifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemId {
    /// A message in its folder: another one after a move.
    Place { folder: u32, uid: u32 },
    /// A message, wherever it is: Graph's immutable identifier.
    Immutable(u64),
    /// An attachment of the message with this identity, by its number there.
    Attachment { message: u32, index: u32 },
    /// A folder by its UIDVALIDITY; 0 is the one above the folders that a person sees.
    Folder(u32),
    /// The folder above that one.
    Root,
}

impl ItemId {
    /// The identifier of an item in the mailbox whose object id is `mailbox`.
    pub(super) fn write(self, mailbox: &str, alphabet: Alphabet) -> String {
        // Microsoft's begin so: `AAMk`, `AAkA`, `AQMk`.
        let (prefix, numbers) = match self {
            Self::Place { folder, uid } => ([0, 0x03, 0x24, 0], u64::from(folder) << 32 | u64::from(uid)),
            Self::Immutable(identity) => ([0, 0x09, 0, 0x2e], identity),
            Self::Attachment { message, index } => ([0, 0x03, 0x25, 0], u64::from(message) << 32 | u64::from(index)),
            Self::Folder(folder) => ([0x01, 0x03, 0x24, 0], u64::from(folder)),
            Self::Root => ([0x01, 0x03, 0x25, 0], 0),
        };
        let mut octets = prefix.to_vec();
        octets.extend(mailbox.as_bytes());
        octets.extend(filling(mailbox));
        octets.extend(numbers.to_be_bytes());
        match alphabet {
            Alphabet::UrlSafe => URL_SAFE.encode(octets),
            Alphabet::Standard => STANDARD.encode(octets),
        }
    }

    /// What the identifier names, if it is one of this mailbox.
    pub(super) fn read(text: &str, mailbox: &str, alphabet: Alphabet) -> Option<Self> {
        let octets = match alphabet {
            Alphabet::UrlSafe => URL_SAFE.decode(text),
            Alphabet::Standard => STANDARD.decode(text),
        };
        let octets = octets.ok()?;
        let (prefix, rest) = octets.split_first_chunk::<4>()?;
        let rest = rest.strip_prefix(mailbox.as_bytes())?.strip_prefix(filling(mailbox).as_slice())?;
        let numbers = u64::from_be_bytes(rest.try_into().ok()?);
        let low = u32::try_from(numbers & u64::from(u32::MAX)).ok()?;
        Some(match prefix {
            [0, 0x03, 0x24, 0] => Self::Place { folder: u32::try_from(numbers >> 32).ok()?, uid: low },
            [0, 0x03, 0x25, 0] => Self::Attachment { message: u32::try_from(numbers >> 32).ok()?, index: low },
            [0, 0x09, 0, 0x2e] => Self::Immutable(numbers),
            [0x01, 0x03, 0x24, 0] => Self::Folder(low),
            [0x01, 0x03, 0x25, 0] => Self::Root,
            _ => return None,
        })
    }

    /// The object id of the mailbox that an identifier is of.
    pub(super) fn mailbox_of(text: &str, alphabet: Alphabet) -> Option<String> {
        let octets = match alphabet {
            Alphabet::UrlSafe => URL_SAFE.decode(text),
            Alphabet::Standard => STANDARD.decode(text),
        };
        String::from_utf8(octets.ok()?.get(4..40)?.to_vec()).ok()
    }

    /// Finds the message: its folder (by UIDVALIDITY), its UID and itself, if it is there.
    pub(super) fn find(self, folders: &Folders) -> Option<(u32, u32, &Message)> {
        match self {
            Self::Place { folder, uid } => Some((folder, uid, folders.by_validity(folder)?.message(uid)?)),
            Self::Immutable(identity) => folders.iter().find_map(|(_, folder)| {
                let (uid, message) = folder.by_uid().find(|(_, message)| message.identity == identity)?;
                Some((folder.uid_validity, uid, message))
            }),
            Self::Attachment { .. } | Self::Folder(_) | Self::Root => None,
        }
    }
}

fn filling(mailbox: &str) -> Vec<u8> {
    digest::digest(&digest::SHA384, mailbox.as_bytes()).as_ref().iter().copied().take(FILLING).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILBOX: &str = "8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d";

    #[test]
    fn an_identifier_is_read_in_its_own_mailbox_and_alphabet_only() {
        let place = ItemId::Place { folder: 1_800_000_000, uid: 7 };
        let attachment = ItemId::Attachment { message: 3, index: 1 };
        for id in [place, ItemId::Immutable(u64::MAX), ItemId::Folder(u32::MAX), ItemId::Root, attachment] {
            for alphabet in [Alphabet::UrlSafe, Alphabet::Standard] {
                let text = id.write(MAILBOX, alphabet);
                assert!((100..200).contains(&text.len()), "{text}");
                assert_eq!(ItemId::read(&text, MAILBOX, alphabet), Some(id));
                assert_eq!(ItemId::mailbox_of(&text, alphabet).as_deref(), Some(MAILBOX));
                assert_eq!(ItemId::read(&text.to_lowercase(), MAILBOX, alphabet), None);
                assert_eq!(ItemId::read(&text, "8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3e", alphabet), None);
            }
        }
        let text = place.write(MAILBOX, Alphabet::UrlSafe);
        assert!(text.starts_with("AAMkA"), "{text}");
        assert_eq!(ItemId::read("inbox", MAILBOX, Alphabet::UrlSafe), None);
    }
}
