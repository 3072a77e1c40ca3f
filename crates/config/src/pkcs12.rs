//! Reads the private keys and X.509 certificates of password-protected PKCS#12 files (RFC 7292).
//! Pure: the caller reads the files.
//!
//! The MAC over the content is verified before anything is decrypted, so a file without one is not
//! read. Keys and certificates may be encrypted by PBES2 (RFC 8018 §6.2), or by triple DES or RC2
//! as Windows and OpenSSL before 3.0 do (RFC 7292 appendix C).
//!
//! Not supported: BER with indefinite lengths, PBMAC1 (RFC 9579), files protected by public keys
//! instead of a password, and bags within bags. Bags of other kinds are skipped.

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::hmac;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use des::TdesEde3;
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use pkcs8::pkcs5::pbes2::{self, Kdf, PBES2_OID};
use pkcs8::spki::AlgorithmIdentifierRef;
use rc2::Rc2;
use zeroize::Zeroizing;

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// The password is wrong.
    WrongPassword,
    /// The file is damaged, or in an unsupported form.
    Unreadable,
}

impl From<der::Error> for Error {
    fn from(_: der::Error) -> Self {
        Self::Unreadable
    }
}

type Result<T> = std::result::Result<T, Error>;

/// The content of a file, in its order.
#[derive(Default)]
pub(super) struct Archive {
    /// Private keys, as PKCS#8.
    pub(super) keys: Vec<Item>,
    /// X.509 certificates.
    pub(super) certificates: Vec<Item>,
}

/// A key or a certificate.
pub(super) struct Item {
    /// Its DER.
    pub(super) der: Zeroizing<Vec<u8>>,
    /// The `localKeyId`, which a key and its certificate have in common.
    pub(super) id: Option<Vec<u8>>,
}

/// Reads a file. Its memory is bounded by the length of `content`, its computing by
/// [`MAX_ITERATIONS`].
///
/// # Errors
/// [`Error::WrongPassword`] when the password does not fit the MAC or an encryption;
/// [`Error::Unreadable`] for all else.
pub(super) fn read(content: &[u8], password: &str) -> Result<Archive> {
    let (safe, mac) = whole(content, |pfx| {
        if u8::decode(pfx)? != VERSION {
            return Err(Error::Unreadable);
        }
        let (kind, safe) = content_info(pfx)?;
        if kind != DATA {
            return Err(Error::Unreadable);
        }
        Ok((octets(safe)?, Mac::decode(pfx)?))
    })?;
    let mut opener = Opener { password, utf16: utf16(password), left: MAX_ITERATIONS };
    opener.verify(&mac, safe)?;
    let mut archive = Archive::default();
    each(safe, |safes| match content_info(safes)? {
        (DATA, content) => opener.bags(octets(content)?, &mut archive),
        (ENCRYPTED_DATA, content) => {
            let (algorithm, sealed) = encrypted_data(content)?;
            let bags = opener.open(algorithm, sealed)?;
            opener.bags(&bags, &mut archive)
        }
        _ => Err(Error::Unreadable),
    })?;
    Ok(archive)
}

/// Most iterations of key derivation for one file, in total: some seconds. Programs write 2,000 to
/// 1,000,000.
pub(super) const MAX_ITERATIONS: u64 = 5_000_000;

/// The cost of a decryption, in iterations; `None` for meaningless parameters.
///
/// An iteration of scrypt takes memory, too. It is counted sixteenfold, so that [`MAX_ITERATIONS`]
/// keep it below 40 MiB.
pub(super) fn cost(scheme: &pbes2::Parameters) -> Option<u64> {
    match &scheme.kdf {
        Kdf::Pbkdf2(pbkdf2) => Some(pbkdf2.iteration_count.into()),
        Kdf::Scrypt(scrypt) if scrypt.cost_parameter.is_power_of_two() => scrypt
            .cost_parameter
            .checked_mul(u64::from(scrypt.block_size) * u64::from(scrypt.parallelization))?
            .checked_mul(16),
        _ => None,
    }
}

/// `MacData` of RFC 7292 §4.
struct Mac<'a> {
    algorithm: hmac::Algorithm,
    value: &'a [u8],
    salt: &'a [u8],
    iterations: u32,
}

impl<'a> Mac<'a> {
    fn decode(pfx: &mut SliceReader<'a>) -> Result<Self> {
        pfx.sequence(|mac| {
            let (algorithm, value) = encrypted(mac)?;
            let algorithm = match algorithm.oid {
                SHA1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                SHA256 => hmac::HMAC_SHA256,
                SHA384 => hmac::HMAC_SHA384,
                SHA512 => hmac::HMAC_SHA512,
                _ => return Err(Error::Unreadable),
            };
            let salt = <&OctetStringRef>::decode(mac)?.as_bytes();
            let iterations = if mac.is_finished() { 1 } else { u32::decode(mac)? };
            Ok(Self { algorithm, value, salt, iterations })
        })
    }
}

/// The password, and the remaining budget of computing.
struct Opener<'a> {
    password: &'a str,
    utf16: Zeroizing<Vec<u8>>,
    left: u64,
}

impl Opener<'_> {
    /// Verifies the MAC in constant time.
    fn verify(&mut self, mac: &Mac<'_>, content: &[u8]) -> Result<()> {
        let hash = mac.algorithm.digest_algorithm();
        loop {
            let key = self.derive(hash, FOR_MAC, mac.salt, mac.iterations, hash.output_len())?;
            if hmac::verify(&hmac::Key::new(mac.algorithm, &key), content, mac.value).is_ok() {
                return Ok(());
            }
            if !self.password.is_empty() || self.utf16.is_empty() {
                return Err(Error::WrongPassword);
            }
            // An absent password differs from an empty one here, and programs write both for a file
            // without a password.
            self.utf16.clear();
        }
    }

    /// Reads `SafeContents` (RFC 7292 §4.2).
    fn bags(&mut self, contents: &[u8], archive: &mut Archive) -> Result<()> {
        each(contents, |bags| {
            let (kind, value, id) = bags.sequence(|bag| {
                let (kind, value) = (ObjectIdentifier::decode(bag)?, explicit(bag)?);
                Ok::<_, Error>((kind, value, local_key_id(bag)?))
            })?;
            match kind {
                KEY_BAG => archive.keys.push(Item { der: value.to_vec().into(), id }),
                SHROUDED_KEY_BAG => {
                    let mut bag = SliceReader::new(value)?;
                    let (algorithm, sealed) = encrypted(&mut bag)?;
                    bag.finish()?;
                    archive.keys.push(Item { der: self.open(algorithm, sealed)?, id });
                }
                CERTIFICATE_BAG => {
                    let (kind, value) = content_info(&mut SliceReader::new(value)?)?;
                    if kind == X509_CERTIFICATE {
                        archive.certificates.push(Item { der: octets(value)?.to_vec().into(), id });
                    }
                }
                SAFE_CONTENTS_BAG => return Err(Error::Unreadable),
                _ => {}
            }
            Ok(())
        })
    }

    /// Decrypts.
    fn open(&mut self, algorithm: AlgorithmIdentifierRef<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let parameters = algorithm.parameters.ok_or(Error::Unreadable)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let length = match algorithm.oid {
            PBES2_OID => {
                let scheme = pbes2::Parameters::try_from(parameters)?;
                self.spend(cost(&scheme))?;
                scheme
                    .decrypt_in_place(self.password, &mut buffer)
                    .map_err(|error| match error {
                        pkcs8::pkcs5::Error::DecryptFailed => Error::WrongPassword,
                        _ => Error::Unreadable,
                    })?
                    .len()
            }
            TRIPLE_DES => self.pbes1::<TdesEde3>(parameters, 24, &mut buffer)?,
            RC2_128 => self.pbes1::<Rc2>(parameters, 16, &mut buffer)?,
            RC2_40 => self.pbes1::<Rc2>(parameters, 5, &mut buffer)?,
            _ => return Err(Error::Unreadable),
        };
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Decrypts in place according to RFC 7292 appendix C, with a key of `key_length` octets.
    /// Returns the length of the content.
    fn pbes1<C>(&mut self, parameters: AnyRef<'_>, key_length: usize, buffer: &mut [u8]) -> Result<usize>
    where
        C: KeyInit + BlockCipherDecrypt,
    {
        let (salt, iterations) = parameters
            .sequence(|field| Ok::<_, Error>((<&OctetStringRef>::decode(field)?.as_bytes(), u32::decode(field)?)))?;
        let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        let key = self.derive(hash, FOR_KEY, salt, iterations, key_length)?;
        let iv = self.derive(hash, FOR_IV, salt, iterations, 8)?;
        let cipher = cbc::Decryptor::<C>::new_from_slices(&key, &iv).map_err(|_| Error::Unreadable)?;
        cipher.decrypt_padded::<Pkcs7>(buffer).map(<[u8]>::len).map_err(|_| Error::WrongPassword)
    }

    /// Derives a key from the password: RFC 7292 appendix B.2, with its names in the comments.
    fn derive(
        &mut self,
        hash: &'static digest::Algorithm,
        purpose: u8,
        salt: &[u8],
        iterations: u32,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let block = hash.block_len();
        let repeated = |text: &[u8]| text.len().next_multiple_of(block);
        // D, followed by I, which is S and P. Reserved at full length, so that growing leaves no
        // copy behind.
        let mut input = Zeroizing::new(Vec::with_capacity(block + repeated(salt) + repeated(&self.utf16)));
        input.resize(block, purpose);
        for text in [salt, self.utf16.as_slice()] {
            input.extend(text.iter().cycle().take(repeated(text)));
        }
        let mut derived = Zeroizing::new(Vec::with_capacity(length + hash.output_len()));
        while derived.len() < length {
            self.spend(Some(iterations.into()))?;
            // A
            let mut round = digest(hash, &input);
            for _ in 1..iterations {
                round = digest(hash, round.as_ref());
            }
            derived.extend_from_slice(round.as_ref());
            // B, which is added to each block of I, and one more.
            let added: Zeroizing<Vec<u8>> =
                Zeroizing::new(round.as_ref().iter().copied().cycle().take(block).collect());
            for block in input.chunks_exact_mut(block).skip(1) {
                let mut carry = 1_u16;
                for (octet, added) in block.iter_mut().zip(added.iter()).rev() {
                    let sum = u16::from(*octet) + u16::from(*added) + carry;
                    [_, *octet] = sum.to_be_bytes();
                    carry = sum >> 8;
                }
            }
        }
        derived.truncate(length);
        Ok(derived)
    }

    /// Subtracts the cost of a derivation from the remaining budget.
    fn spend(&mut self, iterations: Option<u64>) -> Result<()> {
        self.left = iterations.and_then(|iterations| self.left.checked_sub(iterations)).ok_or(Error::Unreadable)?;
        Ok(())
    }
}

/// The password as a `BMPString` with a zero at its end (RFC 7292 appendix B.1).
fn utf16(password: &str) -> Zeroizing<Vec<u8>> {
    // No text is longer in UTF-16 than twice its length in UTF-8. So the buffer does not grow and
    // leaves no copy behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(2 * password.len() + 2));
    for unit in password.encode_utf16().chain([0]) {
        octets.extend_from_slice(&unit.to_be_bytes());
    }
    octets
}

/// Reads the one SEQUENCE that is all of `der`.
fn whole<'a, T>(der: &'a [u8], read: impl FnOnce(&mut SliceReader<'a>) -> Result<T>) -> Result<T> {
    let mut outer = SliceReader::new(der)?;
    let found = outer.sequence(read)?;
    outer.finish()?;
    Ok(found)
}

/// Reads the elements of the one SEQUENCE OF that is all of `der`.
fn each<'a>(der: &'a [u8], mut read: impl FnMut(&mut SliceReader<'a>) -> Result<()>) -> Result<()> {
    whole(der, |elements| {
        while !elements.is_finished() {
            read(elements)?;
        }
        Ok(())
    })
}

/// Reads a type and what belongs to it: `ContentInfo` (RFC 5652 §3) and `CertBag` (RFC 7292
/// §4.2.3).
fn content_info<'a>(reader: &mut SliceReader<'a>) -> Result<(ObjectIdentifier, &'a [u8])> {
    reader.sequence(|info| Ok((ObjectIdentifier::decode(info)?, explicit(info)?)))
}

/// Reads an algorithm and octets: `EncryptedPrivateKeyInfo` (RFC 5958 §3) and `DigestInfo` (RFC
/// 8017 §9.2).
fn encrypted<'a>(reader: &mut SliceReader<'a>) -> Result<(AlgorithmIdentifierRef<'a>, &'a [u8])> {
    reader.sequence(|info| Ok((AlgorithmIdentifierRef::decode(info)?, <&OctetStringRef>::decode(info)?.as_bytes())))
}

/// Reads `EncryptedData` (RFC 5652 §8).
fn encrypted_data(der: &[u8]) -> Result<(AlgorithmIdentifierRef<'_>, &[u8])> {
    whole(der, |data| {
        if u8::decode(data)? != 0 {
            return Err(Error::Unreadable);
        }
        data.sequence(|info| {
            if ObjectIdentifier::decode(info)? != DATA {
                return Err(Error::Unreadable);
            }
            Ok((AlgorithmIdentifierRef::decode(info)?, tagged(info, false)?))
        })
    })
}

/// Reads the `localKeyId` among the attributes that end a bag, where there are any.
fn local_key_id(bag: &mut SliceReader<'_>) -> Result<Option<Vec<u8>>> {
    let mut found = None;
    if !bag.is_finished() {
        let set = AnyRef::decode(bag)?;
        set.tag().assert_eq(Tag::Set)?;
        let mut attributes = SliceReader::new(set.value())?;
        while !attributes.is_finished() {
            let (kind, values) = attributes
                .sequence(|field| Ok::<_, Error>((ObjectIdentifier::decode(field)?, AnyRef::decode(field)?)))?;
            if kind == LOCAL_KEY_ID {
                found = Some(octets(values.value())?.to_vec());
            }
        }
    }
    Ok(found)
}

/// The content of the one OCTET STRING that is all of `der`.
fn octets(der: &[u8]) -> Result<&[u8]> {
    Ok(<&OctetStringRef>::from_der(der)?.as_bytes())
}

/// Reads what is in `[0] EXPLICIT`.
fn explicit<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8]> {
    tagged(reader, true)
}

fn tagged<'a>(reader: &mut SliceReader<'a>, constructed: bool) -> Result<&'a [u8]> {
    let any = AnyRef::decode(reader)?;
    any.tag().assert_eq(Tag::ContextSpecific { constructed, number: TagNumber(0) })?;
    Ok(any.value())
}

const VERSION: u8 = 3;

/// What a key is derived for: `ID` of RFC 7292 appendix B.3.
const FOR_KEY: u8 = 1;
const FOR_IV: u8 = 2;
const FOR_MAC: u8 = 3;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
const SHROUDED_KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const CERTIFICATE_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const SAFE_CONTENTS_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.6");
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
const LOCAL_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.21");
const TRIPLE_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const RC2_128: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.5");
const RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let header = match length {
            [0, short @ ..=0x7f] => vec![tag, short],
            [0, long] => vec![tag, 0x81, long],
            [high, low] => vec![tag, 0x82, high, low],
        };
        [header, content].concat()
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        tlv(0x30, parts)
    }

    fn octet_string(content: &[u8]) -> Vec<u8> {
        tlv(4, &[content])
    }

    fn oid(identifier: ObjectIdentifier) -> Vec<u8> {
        tlv(6, &[identifier.as_bytes()])
    }

    fn integer(value: u64) -> Vec<u8> {
        let octets = [&[0][..], &value.to_be_bytes()].concat();
        let needless = octets.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
        tlv(2, &[&octets[needless..]])
    }

    fn info(kind: ObjectIdentifier, content: &[u8]) -> Vec<u8> {
        sequence(&[&oid(kind), &tlv(0xa0, &[content])])
    }

    fn bag(kind: ObjectIdentifier, value: &[u8], id: &str) -> Vec<u8> {
        let id = sequence(&[&oid(LOCAL_KEY_ID), &tlv(0x31, &[&octet_string(id.as_bytes())])]);
        sequence(&[&oid(kind), &tlv(0xa0, &[value]), &tlv(0x31, &[&id])])
    }

    pub(crate) fn key_bag(der: &[u8], id: &str) -> Vec<u8> {
        bag(KEY_BAG, der, id)
    }

    pub(crate) fn certificate_bag(der: &[u8], id: &str) -> Vec<u8> {
        bag(CERTIFICATE_BAG, &info(X509_CERTIFICATE, &octet_string(der)), id)
    }

    /// An `EncryptedPrivateKeyInfo` that asks for so many iterations.
    pub(crate) fn sealed_by_pbkdf2(iterations: u64) -> Vec<u8> {
        sealed_by_pbes2(pbes2::PBKDF2_OID, &[integer(iterations)])
    }

    /// One by scrypt, with N, r and p.
    pub(crate) fn sealed_by_scrypt(parameters: [u64; 3]) -> Vec<u8> {
        sealed_by_pbes2(pbes2::SCRYPT_OID, &parameters.map(integer))
    }

    fn sealed_by_pbes2(derivation: ObjectIdentifier, parameters: &[Vec<u8>]) -> Vec<u8> {
        let derivation = sequence(&[&oid(derivation), &sequence(&[&octet_string(SALT), &parameters.concat()])]);
        let cipher = sequence(&[&oid(pbes2::AES_256_CBC_OID), &octet_string(&[0; 16])]);
        sealed(PBES2_OID, &sequence(&[&derivation, &cipher]))
    }

    fn sealed_by_triple_des(iterations: u64) -> Vec<u8> {
        sealed(TRIPLE_DES, &sequence(&[&octet_string(SALT), &integer(iterations)]))
    }

    fn sealed(algorithm: ObjectIdentifier, parameters: &[u8]) -> Vec<u8> {
        sequence(&[&sequence(&[&oid(algorithm), parameters]), &octet_string(&[0; 32])])
    }

    fn plain_safe(bags: &[Vec<u8>]) -> Vec<u8> {
        sequence(&[&info(DATA, &octet_string(&sequence(&[&bags.concat()])))])
    }

    /// Bags that are encrypted by RC2, or rather zeros.
    fn encrypted_safe() -> Vec<u8> {
        let algorithm = sequence(&[&oid(RC2_40), &sequence(&[&octet_string(SALT), &integer(1)])]);
        let content = sequence(&[&oid(DATA), &algorithm, &tlv(0x80, &[&[0; 32]])]);
        sequence(&[&info(ENCRYPTED_DATA, &sequence(&[&integer(0), &content]))])
    }

    const SALT: &[u8] = b"some salt";

    /// A file without a password around an `AuthenticatedSafe`. Its MAC is of one iteration,
    /// whatever it says.
    fn file(safe: &[u8], iterations: u64) -> Vec<u8> {
        let mut opener = Opener { password: "", utf16: utf16(""), left: 1 };
        let key = opener.derive(&digest::SHA256, FOR_MAC, SALT, 1, 32).unwrap();
        let value = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), safe);
        let mac = sequence(&[&sequence(&[&oid(SHA256)]), &octet_string(value.as_ref())]);
        let mac = sequence(&[&mac, &octet_string(SALT), &integer(iterations)]);
        sequence(&[&integer(3), &info(DATA, &octet_string(safe)), &mac])
    }

    /// A file without a password and without encryption.
    pub(crate) fn plain(bags: &[Vec<u8>]) -> Vec<u8> {
        file(&plain_safe(bags), 1)
    }

    fn error(content: &[u8]) -> Error {
        read(content, "").err().unwrap()
    }

    #[test]
    fn bags_are_read_in_their_order_and_others_are_skipped() {
        let other = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.5");
        let other_certificate = info(other, &octet_string(b"x"));
        let bags = [
            bag(other, b"x", "1"),
            certificate_bag(b"c1", "1"),
            key_bag(b"k1", "2"),
            bag(CERTIFICATE_BAG, &other_certificate, "1"),
            sequence(&[&oid(KEY_BAG), &tlv(0xa0, &[b"k2"])]),
        ];
        let archive = read(&plain(&bags), "").unwrap();
        let shown =
            |items: &[Item]| -> Vec<_> { items.iter().map(|item| (item.der.to_vec(), item.id.clone())).collect() };
        assert_eq!(shown(&archive.keys), [(b"k1".to_vec(), Some(b"2".to_vec())), (b"k2".to_vec(), None)]);
        assert_eq!(shown(&archive.certificates), [(b"c1".to_vec(), Some(b"1".to_vec()))]);
    }

    #[test]
    fn what_is_not_read_is_told_from_a_wrong_password() {
        let safe = plain_safe(&[key_bag(b"k", "1")]);
        let unknown = ObjectIdentifier::new_unwrap("1.2.3");
        assert_eq!(error(&file(&sequence(&[&info(unknown, &octet_string(b"x"))]), 1)), Error::Unreadable);
        assert_eq!(error(&plain(&[bag(SAFE_CONTENTS_BAG, &sequence(&[]), "1")])), Error::Unreadable);
        assert_eq!(error(&plain(&[bag(SHROUDED_KEY_BAG, &sealed(unknown, &[5, 0]), "1")])), Error::Unreadable);
        let without_mac = sequence(&[&integer(3), &info(DATA, &octet_string(&safe))]);
        assert_eq!(error(&without_mac), Error::Unreadable);
        let indefinite = [&[0x30, 0x80][..], &integer(3), &info(DATA, &octet_string(&safe)), &[0, 0]].concat();
        assert_eq!(error(&indefinite), Error::Unreadable);
        assert_eq!(error(&file(&encrypted_safe(), 1)), Error::WrongPassword, "of its encryption");
        assert_eq!(read(&file(&safe, 1), "x").err(), Some(Error::WrongPassword));
    }

    #[test]
    fn nothing_is_looked_at_before_the_mac_is_verified() {
        let safe = plain_safe(&[key_bag(b"k", "1")]);
        let content = file(&safe, 1);
        let start = memchr::memmem::find(&content, &safe).unwrap();
        for at in start..start + safe.len() {
            let mut changed = content.clone();
            changed[at] ^= 1;
            assert_eq!(error(&changed), Error::WrongPassword);
        }
    }

    #[test]
    fn computing_is_bounded_for_the_whole_file() {
        let keys = |sealed: &[Vec<u8>]| {
            plain(&sealed.iter().map(|sealed| bag(SHROUDED_KEY_BAG, sealed, "1")).collect::<Vec<_>>())
        };
        let safe = plain_safe(&[key_bag(b"k", "1")]);
        for iterations in [MAX_ITERATIONS + 1, u32::MAX.into(), u64::MAX] {
            assert_eq!(error(&file(&safe, iterations)), Error::Unreadable);
            assert_eq!(error(&keys(&[sealed_by_pbkdf2(iterations)])), Error::Unreadable);
            assert_eq!(error(&keys(&[sealed_by_triple_des(iterations)])), Error::Unreadable);
        }
        for parameters in [[0, 8, 1], [3, 8, 1], [1 << 63, 8, 1], [1 << 16, 8, 1], [2, 65_535, 65_535], [2, 0, 1]] {
            assert_eq!(error(&keys(&[sealed_by_scrypt(parameters)])), Error::Unreadable, "{parameters:?}");
        }
        // One is taken (and is of another password), as the same is not once the rest has been
        // spent.
        assert_eq!(error(&keys(&[sealed_by_scrypt([2, 1, 1])])), Error::WrongPassword);
        let mut opener = Opener { password: "", utf16: utf16(""), left: MAX_ITERATIONS };
        for half in [MAX_ITERATIONS / 2; 2] {
            assert_eq!(opener.spend(Some(half)), Ok(()));
        }
        assert_eq!(opener.spend(Some(1)), Err(Error::Unreadable));
    }

    #[test]
    fn no_truncated_file_is_read_or_makes_it_panic() {
        let content = plain(&[certificate_bag(b"c", "1"), key_bag(b"k", "1")]);
        for length in 0..content.len() {
            assert_eq!(error(&content[..length]), Error::Unreadable);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_changed_octet_makes_it_panic(at in 0_usize..1_000, octet in proptest::num::u8::ANY, cut in 0_usize..1_000) {
            let bags = [
                certificate_bag(b"c", "1"),
                key_bag(b"k", "1"),
                bag(SHROUDED_KEY_BAG, &sealed_by_triple_des(1), "1"),
                bag(SHROUDED_KEY_BAG, &sealed_by_pbkdf2(1), "1"),
                bag(SHROUDED_KEY_BAG, &sealed_by_scrypt([2, 1, 1]), "1"),
            ];
            let safes = [&bags[..3], &bags[3..4], &bags[4..]].map(plain_safe);
            // One kind of encryption each, since the first that fails ends it.
            for unchanged in safes.into_iter().chain([encrypted_safe()]) {
                // What the MAC protects, under a MAC that is right; then all of the file.
                let mut safe = unchanged.clone();
                let length = safe.len();
                safe[at % length] = octet;
                let _ = read(&file(&safe, 1), "");
                let _ = read(&file(&safe[..cut % length], 1), "");
                let mut whole = file(&unchanged, 1);
                let length = whole.len();
                whole[at % length] = octet;
                let _ = read(&whole, "");
            }
        }
    }
}
