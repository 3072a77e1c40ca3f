//! Encrypts and decrypts the records of one direction: AEAD ciphers of TLS 1.3 (RFC 8446 §5.2,
//! §5.3) and of TLS 1.2 (RFC 5288 for AES-GCM, RFC 7905 for ChaCha20-Poly1305). Plain and encrypted
//! octets are in different buffers, so that nothing is copied in between.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, Error, PeerMisbehaved};

use super::record::{
    ContentType, HEADER, MOST_CONTENT_TLS12, MOST_CONTENT_TLS13, MOST_PLAIN, content_length, unexpected,
};

/// Length of the tag of all three ciphers.
const TAG: usize = 16;

/// Length of the nonce that AES-GCM of TLS 1.2 sends with each record.
const EXPLICIT_NONCE: usize = 8;

/// Most octets by which an encrypted record is longer than its content: header, explicit nonce or
/// type, tag.
pub const MOST_OVERHEAD: usize = HEADER + EXPLICIT_NONCE + TAG;

/// The layout of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// The type follows the content, and both are encrypted.
    Tls13,
    /// A part of the nonce precedes the content.
    Tls12Explicit,
    Tls12,
}

/// The keys of one direction. Sequence numbers only grow, so no nonce is used twice with one key.
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    layout: Layout,
}

impl Keys {
    fn new(secrets: ConnectionTrafficSecrets, sequence: u64, tls13: bool) -> Result<Self, Error> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("a cipher that is not known".into())),
        };
        let layout = match (tls13, algorithm == &CHACHA20_POLY1305) {
            (true, _) => Layout::Tls13,
            (false, false) => Layout::Tls12Explicit,
            (false, true) => Layout::Tls12,
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Error::EncryptError)?;
        let iv = iv.as_ref().try_into().map_err(|_| Error::EncryptError)?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence, layout })
    }

    /// Returns the next sequence number and advances it.
    fn advance(&mut self) -> Result<u64, Error> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(Error::EncryptError)?;
        Ok(sequence)
    }

    /// RFC 8446 §5.3: the sequence number, combined by XOR with the end of the IV.
    fn nonce(&self, sequence: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        for (octet, of_sequence) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *octet ^= of_sequence;
        }
        nonce
    }
}

/// RFC 5246 §6.2.3.3: what TLS 1.2 authenticates besides the content.
fn tls12_aad(sequence: u64, kind: u8, length: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8..].copy_from_slice(&header(kind, length));
    aad
}

/// The header of a record whose content has `length` octets, which is below 2^16.
fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [kind, 3, 3, high, low]
}

/// Encrypts the records that are sent.
pub(super) struct Sealer(Keys);

impl Sealer {
    pub(super) fn new(secrets: ConnectionTrafficSecrets, sequence: u64, tls13: bool) -> Result<Self, Error> {
        Keys::new(secrets, sequence, tls13).map(Self)
    }

    /// Records that the present key has encrypted.
    pub(super) fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// How much longer a record is than its content.
    pub(super) fn overhead(&self) -> usize {
        match self.0.layout {
            Layout::Tls13 => HEADER + 1 + TAG,
            Layout::Tls12Explicit => MOST_OVERHEAD,
            Layout::Tls12 => HEADER + TAG,
        }
    }

    /// Encrypts `plain`, at most [`MOST_PLAIN`] octets, as one record at the beginning of `wire`,
    /// which must have room for it and for [`Sealer::overhead`]. The result is the length of the
    /// record.
    pub(super) fn seal(&mut self, kind: ContentType, plain: &[u8], wire: &mut [u8]) -> Result<usize, Error> {
        let length = plain.len() + self.overhead();
        let sequence = self.0.advance()?;
        let nonce = self.0.nonce(sequence);
        let (head, body) = wire.split_at_mut(HEADER);
        let sealed = match self.0.layout {
            Layout::Tls13 => {
                head.copy_from_slice(&header(ContentType::ApplicationData as u8, length - HEADER));
                let (text, rest) = body[..length - HEADER].split_at_mut(plain.len());
                let aad = Aad::from(&*head);
                let nonce = Nonce::assume_unique_for_key(nonce);
                self.0.key.seal_out_of_place_scatter(nonce, aad, plain, text, &[kind as u8], rest)
            }
            Layout::Tls12Explicit | Layout::Tls12 => {
                head.copy_from_slice(&header(kind as u8, length - HEADER));
                let explicit = if self.0.layout == Layout::Tls12 { &[][..] } else { &nonce[4..] };
                let (front, body) = body.split_at_mut(explicit.len());
                front.copy_from_slice(explicit);
                let (text, tag) = body[..plain.len() + TAG].split_at_mut(plain.len());
                let aad = Aad::from(tls12_aad(sequence, kind as u8, plain.len()));
                let nonce = Nonce::assume_unique_for_key(nonce);
                self.0.key.seal_out_of_place_scatter(nonce, aad, plain, text, &[], tag)
            }
        };
        sealed.map(|()| length).map_err(|_| Error::EncryptError)
    }
}

/// Decrypts the records that are received.
pub(super) struct Opener(Keys);

impl Opener {
    pub(super) fn new(secrets: ConnectionTrafficSecrets, sequence: u64, tls13: bool) -> Result<Self, Error> {
        Keys::new(secrets, sequence, tls13).map(Self)
    }

    /// The longest content of a record on the wire.
    pub(super) fn most_content(&self) -> usize {
        match self.0.layout {
            Layout::Tls13 => MOST_CONTENT_TLS13,
            Layout::Tls12Explicit | Layout::Tls12 => MOST_CONTENT_TLS12,
        }
    }

    /// Decrypts a whole record into the beginning of `plain`, which must be as long as the record,
    /// or refuses an impossible header. The result is the type and the length of the content.
    pub(super) fn open(&mut self, record: &[u8], plain: &mut [u8]) -> Result<(ContentType, usize), Error> {
        let (head, body) = record.split_first_chunk::<HEADER>().ok_or(Error::DecryptError)?;
        if body.len() != content_length(*head, self.most_content())? {
            return Err(Error::DecryptError);
        }
        let outer = head[0];
        let sequence = self.0.advance()?;
        let mut nonce = self.0.nonce(sequence);
        let sealed = match self.0.layout {
            // The outer type of an encrypted record is application data, whatever it holds.
            Layout::Tls13 if outer != ContentType::ApplicationData as u8 => return Err(unexpected(outer)),
            Layout::Tls13 | Layout::Tls12 => body,
            Layout::Tls12Explicit => {
                let (explicit, sealed) = body.split_first_chunk::<EXPLICIT_NONCE>().ok_or(Error::DecryptError)?;
                nonce[4..].copy_from_slice(explicit);
                sealed
            }
        };
        let length = sealed.len().checked_sub(TAG).ok_or(Error::DecryptError)?;
        let (text, tag) = sealed.split_at(length);
        let plain = &mut plain[..length];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = match self.0.layout {
            Layout::Tls13 => self.0.key.open_separate_gather(nonce, Aad::from(head), text, tag, plain),
            Layout::Tls12Explicit | Layout::Tls12 => {
                let aad = Aad::from(tls12_aad(sequence, outer, length));
                self.0.key.open_separate_gather(nonce, aad, text, tag, plain)
            }
        };
        opened.map_err(|_| Error::DecryptError)?;
        // In TLS 1.3 the type and the padding count (RFC 8446 §5.4).
        if length > MOST_PLAIN + usize::from(self.0.layout == Layout::Tls13) {
            return Err(Error::PeerSentOversizedRecord);
        }
        let (kind, length) = match self.0.layout {
            Layout::Tls13 => {
                // RFC 8446 §5.4: the type follows the content, and zeros may follow the type.
                let last = plain.iter().rposition(|&octet| octet != 0);
                let last = last.ok_or(Error::PeerMisbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext))?;
                (plain[last], last)
            }
            Layout::Tls12Explicit | Layout::Tls12 => (outer, length),
        };
        Ok((ContentType::of(kind).ok_or_else(|| unexpected(kind))?, length))
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    fn secrets() -> ConnectionTrafficSecrets {
        ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([7; 32]), iv: Iv::new([9; 12]) }
    }

    fn chacha() -> ConnectionTrafficSecrets {
        ConnectionTrafficSecrets::Chacha20Poly1305 { key: AeadKey::from([7; 32]), iv: Iv::new([9; 12]) }
    }

    /// Decrypts a record of TLS 1.3 whose inner content is exactly this.
    fn open(inner: &[u8]) -> Result<(ContentType, Vec<u8>), Error> {
        let (sealer, mut opener) = (Sealer::new(secrets(), 0, true)?, Opener::new(secrets(), 0, true)?);
        let header = header(23, inner.len() + TAG);
        let mut sealed = inner.to_vec();
        let nonce = Nonce::assume_unique_for_key(sealer.0.nonce(0));
        let tag = sealer.0.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut sealed).unwrap();
        let record = [&header, &sealed[..], tag.as_ref()].concat();
        let mut plain = vec![0; record.len()];
        let (kind, length) = opener.open(&record, &mut plain)?;
        plain.truncate(length);
        Ok((kind, plain))
    }

    #[test]
    fn padding_is_taken_off() {
        assert_eq!(open(b"text\x17").unwrap(), (ContentType::ApplicationData, b"text".to_vec()));
        assert_eq!(open(b"te\0\0\x16\0\0\0").unwrap(), (ContentType::Handshake, b"te\0\0".to_vec()));
        assert_eq!(open(b"\x15").unwrap(), (ContentType::Alert, Vec::new()));
        let nothing = Error::PeerMisbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext);
        assert_eq!((open(b"\0\0\0"), open(b"")), (Err(nothing.clone()), Err(nothing)));
        assert_eq!(open(b"text\x63"), Err(unexpected(0x63)));
    }

    #[test]
    fn a_record_may_hold_sixteen_kibibytes() {
        let most = [&[7; MOST_PLAIN][..], &[23]].concat();
        assert_eq!(open(&most).unwrap().1.len(), MOST_PLAIN);
        assert_eq!(open(&[&[7; MOST_PLAIN + 1][..], &[23]].concat()), Err(Error::PeerSentOversizedRecord));
        // Padding counts.
        let padded = |zeros: usize| [&b"x NOOP\r\n"[..], &[23], &vec![0; zeros]].concat();
        assert_eq!(open(&padded(MOST_PLAIN - 8)).unwrap().1, b"x NOOP\r\n");
        assert_eq!(open(&padded(MOST_PLAIN - 7)), Err(Error::PeerSentOversizedRecord));
    }

    /// RFC 8446 §5.3. Two ends that both leave the number out understand each other all the same.
    #[test]
    fn each_record_has_its_own_nonce() {
        let keys = Keys::new(secrets(), 0, true).unwrap();
        assert_eq!(keys.nonce(0), [9; 12]);
        assert_eq!(keys.nonce(0x0102_0304_0506_0908), [9, 9, 9, 9, 8, 11, 10, 13, 12, 15, 0, 1]);
    }

    #[test]
    fn tls12_authenticates_number_type_and_length_of_a_record() {
        assert_eq!(tls12_aad(1, 23, 0x1234), [0, 0, 0, 0, 0, 0, 0, 1, 23, 3, 3, 0x12, 0x34]);
        let swapped = |first: &[u8], second: &[u8]| {
            let mut sealer = Sealer::new(chacha(), 0, false).unwrap();
            let mut wires = [[0; 64]; 2];
            for (wire, text) in wires.iter_mut().zip([first, second]) {
                sealer.seal(ContentType::ApplicationData, text, wire).unwrap();
            }
            let mut opener = Opener::new(chacha(), 0, false).unwrap();
            opener.open(&wires[1][..second.len() + sealer.overhead()], &mut [0; 64])
        };
        assert_eq!(swapped(b"one", b"two"), Err(Error::DecryptError));
    }

    /// The size of the buffer for a record depends on it (RFC 8446 §5.2, RFC 5288 §3, RFC 7905 §2).
    #[test]
    fn a_record_is_as_much_longer_as_its_layout_says() {
        for (name, secrets, tls13, overhead) in [
            ("TLS 1.3", secrets as fn() -> _, true, 5 + 1 + 16),
            ("TLS 1.2, AES-GCM", secrets, false, 5 + 8 + 16),
            ("TLS 1.2, ChaCha20", chacha, false, 5 + 16),
        ] {
            let (mut sealer, mut opener) =
                (Sealer::new(secrets(), 3, tls13).unwrap(), Opener::new(secrets(), 3, tls13).unwrap());
            assert_eq!(sealer.overhead(), overhead, "{name}");
            let (mut wire, mut plain) = ([0; 64], [0; 64]);
            let length = sealer.seal(ContentType::ApplicationData, b"x NOOP\r\n", &mut wire).unwrap();
            assert_eq!(length, 8 + overhead, "{name}");
            assert_eq!(opener.open(&wire[..length], &mut plain), Ok((ContentType::ApplicationData, 8)), "{name}");
            assert_eq!(&plain[..8], b"x NOOP\r\n", "{name}");
        }
    }

    #[test]
    fn in_tls13_only_application_data_is_encrypted() {
        let (mut sealer, mut opener) =
            (Sealer::new(secrets(), 0, true).unwrap(), Opener::new(secrets(), 0, true).unwrap());
        let mut wire = [0; 64];
        let length = sealer.seal(ContentType::Alert, &[1, 0], &mut wire).unwrap();
        wire[0] = ContentType::Alert as u8;
        assert_eq!(opener.open(&wire[..length], &mut [0; 64]), Err(unexpected(21)));
    }

    #[test]
    fn a_sequence_number_is_never_used_twice() {
        let mut sealer = Sealer::new(secrets(), u64::MAX - 1, true).unwrap();
        let mut wire = [0; 64];
        assert!(sealer.seal(ContentType::ApplicationData, b"last", &mut wire).is_ok());
        assert_eq!(sealer.seal(ContentType::ApplicationData, b"more", &mut wire), Err(Error::EncryptError));
    }
}
