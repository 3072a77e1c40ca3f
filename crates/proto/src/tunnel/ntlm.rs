//! NTLM authentication (MS-NLMP over MS-NTHT), as NTLMv2 only, because passwords can be recovered
//! from the older responses.
//!
//! A handshake has three messages on one connection: NEGOTIATE, the proxy's CHALLENGE,
//! AUTHENTICATE. Names are sent in UTF-16, whatever the proxy claims to support, because everything
//! since Windows NT supports it. No session security is negotiated, because only the messages
//! themselves need protection. The integrity code provides that if the proxy can check it.

use std::borrow::Cow;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;
use zeroize::Zeroizing;

use super::credentials::NtlmCredentials;
use super::scheme::{AuthenticationError, Challenge, Scheme};
use gatepost_core::secret::ProxyAuthorization;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

// Flags, MS-NLMP §2.2.2.5.
const UNICODE: u32 = 0x0000_0001;
const REQUEST_TARGET: u32 = 0x0000_0004;
const NTLM: u32 = 0x0000_0200;
const ALWAYS_SIGN: u32 = 0x0000_8000;
const EXTENDED_SESSION_SECURITY: u32 = 0x0008_0000;
const TARGET_INFO: u32 = 0x0080_0000;
const OFFERED: u32 = UNICODE | REQUEST_TARGET | NTLM | ALWAYS_SIGN | EXTENDED_SESSION_SECURITY;

// Attributes of the target, MS-NLMP §2.2.2.1.
const AV_END: u16 = 0;
const AV_FLAGS: u16 = 6;
const AV_TIMESTAMP: u16 = 7;
/// In [`AV_FLAGS`]: the AUTHENTICATE message holds an integrity code.
const AV_HAS_CODE: u32 = 0x0000_0002;

/// Octets of AUTHENTICATE before its payload, including the version (left empty) and the integrity
/// code.
const AUTHENTICATE_HEAD: usize = 88;
/// The position of the integrity code in it.
const CODE_AT: usize = 72;
/// The time from 1601, where Windows' time begins, to 1970.
const FILETIME_OF_1970: Duration = Duration::from_secs(11_644_473_600);

/// The client side, for one handshake.
pub struct Ntlm<'a> {
    credentials: &'a NtlmCredentials,
    step: Step,
}

enum Step {
    /// NEGOTIATE has not been sent on this connection.
    Start,
    /// NEGOTIATE has been sent.
    Negotiated,
    /// AUTHENTICATE has been sent as well.
    Authenticated,
}

impl<'a> Ntlm<'a> {
    /// Creates the client side for a handshake with these credentials.
    pub fn new(credentials: &'a NtlmCredentials) -> Self {
        Self { credentials, step: Step::Start }
    }

    /// The value of `Proxy-Authorization` that answers a challenge; `None` if there is nothing to
    /// answer. `since_1970` is the present time.
    ///
    /// # Errors
    /// See [`AuthenticationError`].
    pub fn answer(
        &mut self,
        challenge: &Challenge,
        since_1970: Duration,
    ) -> Result<Option<ProxyAuthorization>, AuthenticationError> {
        match (challenge, &self.step) {
            (Challenge::Start, _) | (Challenge::Continue(_), Step::Start) => {
                self.step = Step::Negotiated;
                Ok(Some(authorization(&negotiate())))
            }
            (Challenge::Continue(_), Step::Authenticated) => Err(AuthenticationError::Refused),
            (Challenge::Continue(token), Step::Negotiated) if token.is_empty() => {
                Err(wrong("it does not go on after the first message"))
            }
            (Challenge::Continue(token), Step::Negotiated) => {
                let message = STANDARD.decode(token).map_err(|_| wrong("it is not base64"))?;
                let mut nonce = [0; 8];
                rand::fill(&mut nonce).map_err(|_| AuthenticationError::Unavailable {
                    scheme: Scheme::Ntlm,
                    reason: "the system gives no random numbers".to_owned(),
                    remedy: "look at the system's log",
                    permanent: false,
                })?;
                let reply = authenticate(&message, self.credentials, nonce, since_1970)?;
                self.step = Step::Authenticated;
                Ok(Some(authorization(&reply)))
            }
            (Challenge::Last(_), _) => Ok(None),
        }
    }
}

fn wrong(reason: impl Into<Cow<'static, str>>) -> AuthenticationError {
    AuthenticationError::Challenge { scheme: Scheme::Ntlm, reason: reason.into() }
}

fn authorization(message: &[u8]) -> ProxyAuthorization {
    ProxyAuthorization::new(format!("NTLM {}", STANDARD.encode(message)))
}

/// The NEGOTIATE message (MS-NLMP §2.2.1.1), without domain, workstation and version.
fn negotiate() -> Vec<u8> {
    [&SIGNATURE[..], &1_u32.to_le_bytes(), &OFFERED.to_le_bytes(), &[0; 16]].concat()
}

/// The AUTHENTICATE message (MS-NLMP §2.2.1.3) that answers a CHALLENGE, with the client's nonce
/// and the present time, counted from the beginning of 1970.
///
/// # Errors
/// [`AuthenticationError::Challenge`] if the message is not a well-formed CHALLENGE.
pub fn authenticate(
    message: &[u8],
    credentials: &NtlmCredentials,
    nonce: [u8; 8],
    since_1970: Duration,
) -> Result<Vec<u8>, AuthenticationError> {
    let challenge = ChallengeMessage::read(message)?;
    let since_1601 = since_1970 + FILETIME_OF_1970;
    let own_time = u64::try_from(since_1601.as_nanos() / 100).unwrap_or_default().to_le_bytes();
    let key = response_key(credentials);
    let responses = Responses::compute(&challenge, &key, nonce, challenge.timestamp.unwrap_or(own_time));

    let (domain, username) = (utf16(&credentials.domain), utf16(&credentials.username));
    let mut reply = [&SIGNATURE[..], &3_u32.to_le_bytes()].concat();
    let mut payload = Vec::new();
    // Workstation and session key are empty, but have fields too.
    for (field, name) in [
        (&responses.lm[..], "the response"),
        (&responses.nt, "the response"),
        (&domain, "the domain"),
        (&username, "the user name"),
        (&[], "the workstation"),
        (&[], "the session key"),
    ] {
        let length = u16::try_from(field.len()).map_err(|_| wrong(format!("{name} would be too long")))?;
        let offset = u32::try_from(AUTHENTICATE_HEAD + payload.len()).map_err(|_| wrong("it is too long"))?;
        reply.extend_from_slice(&length.to_le_bytes());
        reply.extend_from_slice(&length.to_le_bytes());
        reply.extend_from_slice(&offset.to_le_bytes());
        payload.extend_from_slice(field);
    }
    reply.extend_from_slice(&(challenge.flags & (OFFERED | TARGET_INFO) | UNICODE | NTLM).to_le_bytes());
    reply.resize(AUTHENTICATE_HEAD, 0);
    reply.extend_from_slice(&payload);
    if challenge.timestamp.is_some() {
        let code = hmac_md5(&responses.session_key, &[&negotiate(), message, &reply]);
        reply[CODE_AT..AUTHENTICATE_HEAD].copy_from_slice(&code);
    }
    Ok(reply)
}

/// The parts of a CHALLENGE (MS-NLMP §2.2.1.2) that are used.
struct ChallengeMessage {
    flags: u32,
    nonce: [u8; 8],
    /// The target attributes for the response: those of the proxy, with the flags set, and the end
    /// attribute.
    target: Vec<u8>,
    /// The proxy's time, as a FILETIME. If there is one, the answer holds an integrity code
    /// (MS-NLMP §3.1.5.1.2).
    timestamp: Option<[u8; 8]>,
}

impl ChallengeMessage {
    fn read(message: &[u8]) -> Result<Self, AuthenticationError> {
        let array = |at: usize| -> Result<[u8; 4], AuthenticationError> {
            let octets = message.get(at..at + 4).and_then(|octets| octets.try_into().ok());
            octets.ok_or_else(|| wrong("it is cut short"))
        };
        if message.get(..8) != Some(SIGNATURE) || array(8)? != [2, 0, 0, 0] {
            return Err(wrong("it is not a challenge message"));
        }
        let flags = u32::from_le_bytes(array(20)?);
        let mut nonce = [0; 8];
        nonce[..4].copy_from_slice(&array(24)?);
        nonce[4..].copy_from_slice(&array(28)?);
        let (mut target, mut timestamp) = (Vec::new(), None);
        // Messages from before Windows NT 4 SP 4 do not have this field.
        if flags & TARGET_INFO != 0 {
            let [low, high, ..] = array(40)?;
            let length = usize::from(u16::from_le_bytes([low, high]));
            let info = usize::try_from(u32::from_le_bytes(array(44)?))
                .ok()
                .and_then(|offset| message.get(offset..offset.checked_add(length)?))
                .ok_or_else(|| wrong("its target information lies outside of it"))?;
            (target, timestamp) = attributes(info)?;
        }
        target.extend_from_slice(&attribute(AV_END, &[]));
        Ok(Self { flags, nonce, target, timestamp })
    }
}

/// The attributes without the end attribute, with the flags if needed, and the timestamp.
fn attributes(mut rest: &[u8]) -> Result<(Vec<u8>, Option<[u8; 8]>), AuthenticationError> {
    let cut_short = || wrong("its target information is cut short");
    let (mut attributes, mut timestamp, mut flags) = (Vec::new(), None, 0);
    while !rest.is_empty() {
        let (&[a, b, c, d], behind) = rest.split_first_chunk().ok_or_else(cut_short)?;
        let (name, length) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        if name == AV_END {
            if timestamp.is_some() {
                attributes.extend_from_slice(&attribute(AV_FLAGS, &(flags | AV_HAS_CODE).to_le_bytes()));
            } else if flags != 0 {
                attributes.extend_from_slice(&attribute(AV_FLAGS, &u32::to_le_bytes(flags)));
            }
            return Ok((attributes, timestamp));
        }
        let (value, behind) = behind.split_at_checked(length.into()).ok_or_else(cut_short)?;
        let odd = |_| wrong("an attribute of its target information has an odd length");
        match name {
            AV_FLAGS => flags = u32::from_le_bytes(value.try_into().map_err(odd)?),
            AV_TIMESTAMP => {
                timestamp = Some(value.try_into().map_err(odd)?);
                attributes.extend_from_slice(&attribute(name, value));
            }
            _ => attributes.extend_from_slice(&attribute(name, value)),
        }
        rest = behind;
    }
    // An empty list has no end attribute.
    if attributes.is_empty() { Ok((attributes, None)) } else { Err(cut_short()) }
}

fn attribute(name: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    [&name.to_le_bytes()[..], &length.to_le_bytes(), value].concat()
}

/// The two responses to a challenge, and the key that results (MS-NLMP §3.3.2).
struct Responses {
    lm: [u8; 24],
    nt: Vec<u8>,
    session_key: [u8; 16],
}

impl Responses {
    fn compute(challenge: &ChallengeMessage, key: &[u8; 16], nonce: [u8; 8], time: [u8; 8]) -> Self {
        let blob = [&[1, 1, 0, 0, 0, 0, 0, 0], &time[..], &nonce, &[0; 4], &challenge.target, &[0; 4]].concat();
        let proof = hmac_md5(key, &[&challenge.nonce, &blob]);
        let mut lm = [0; 24];
        // If the integrity code protects the exchange, this response is left empty.
        if challenge.timestamp.is_none() {
            lm[..16].copy_from_slice(&hmac_md5(key, &[&challenge.nonce, &nonce]));
            lm[16..].copy_from_slice(&nonce);
        }
        Self { lm, nt: [&proof[..], &blob].concat(), session_key: hmac_md5(key, &[&proof]) }
    }
}

/// NTOWFv2 (MS-NLMP §3.3.2): the key derived from the password.
fn response_key(credentials: &NtlmCredentials) -> Zeroizing<[u8; 16]> {
    let NtlmCredentials { username, domain, password } = credentials;
    let hash = Zeroizing::new(<[u8; 16]>::from(Md4::digest(utf16(password.expose()))));
    // Windows has only capitals of a single letter, so not SS for ß.
    let capital = |letter: char| {
        let mut capitals = letter.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(capital), None) => capital,
            _ => letter,
        }
    };
    let name: String = username.chars().map(capital).chain(domain.chars()).collect();
    Zeroizing::new(hmac_md5(&hash, &[&utf16(&name)]))
}

fn utf16(text: &str) -> Zeroizing<Vec<u8>> {
    // Reserved at once, because a buffer that grows leaves a copy of the password behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(2 * text.len()));
    text.encode_utf16().for_each(|unit| octets.extend_from_slice(&unit.to_le_bytes()));
    octets
}

#[allow(clippy::unreachable, reason = "HMAC takes keys of any length (RFC 2104 §2)")]
fn hmac_md5(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    let Ok(mut code) = Hmac::<Md5>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
    parts.iter().for_each(|part| code.update(part));
    code.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::secret::ProxyPassword;

    /// The credentials of MS-NLMP §4.2.1.
    fn microsofts() -> NtlmCredentials {
        NtlmCredentials {
            username: "User".into(),
            domain: "Domain".into(),
            password: ProxyPassword::new("Password".into()),
        }
    }

    const NONCE: [u8; 8] = [0xaa; 8];

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// The CHALLENGE of MS-NLMP §4.2.4.3, with this target information.
    fn challenge(info: &[u8]) -> Vec<u8> {
        let mut message = octets(
            "4e544c4d5353500002000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000 2400240044000000 \
             060070170000000f 530065007200760065007200",
        );
        message[40..42].copy_from_slice(&u16::try_from(info.len()).unwrap().to_le_bytes());
        message.extend_from_slice(info);
        message
    }

    /// The attributes in that CHALLENGE: NetBIOS names of domain and server.
    fn names() -> Vec<u8> {
        octets("02000c0044006f006d00610069006e00 01000c00530065007200760065007200")
    }

    fn with_end(attributes: &[u8]) -> Vec<u8> {
        [attributes, &[0; 4]].concat()
    }

    /// The field of an AUTHENTICATE whose description is at `at`.
    fn field(message: &[u8], at: usize) -> &[u8] {
        let length = usize::from(u16::from_le_bytes([message[at], message[at + 1]]));
        let offset = usize::from(u16::from_le_bytes([message[at + 4], message[at + 5]]));
        &message[offset..offset + length]
    }

    #[test]
    fn microsofts_example_of_ntlm_v2() {
        let key = response_key(&microsofts());
        assert_eq!(key[..], octets("0c868a403bfd7a93a3001ef22ef02e3f"));
        let read = ChallengeMessage::read(&challenge(&with_end(&names()))).ok().unwrap();
        let responses = Responses::compute(&read, &key, NONCE, [0; 8]);
        assert_eq!(responses.lm[..], octets("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa"));
        assert_eq!(responses.nt[..16], octets("68cd0ab851e51c96aabc927bebef6a1c"));
        assert_eq!(responses.session_key[..], octets("8de40ccadbc14a82f15cb0ad0de95ca3"));
        let blob = "0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000";
        assert_eq!(responses.nt[16..], [&octets(blob)[..], &names(), &[0; 8]].concat());
    }

    #[test]
    fn the_message_holds_the_responses_and_the_names() {
        let message = authenticate(&challenge(&with_end(&names())), &microsofts(), NONCE, Duration::ZERO).unwrap();
        assert_eq!(message[..12], *b"NTLMSSP\0\x03\0\0\0");
        assert_eq!(field(&message, 12).len(), 24);
        // Without a time from the proxy, our own is used: 1970 is 0x019db1ded53e8000 in Windows'
        // count.
        assert_eq!(field(&message, 20)[24..32], octets("00803ed5deb19d01"));
        assert_eq!(field(&message, 28), octets("44006f006d00610069006e00"));
        assert_eq!(field(&message, 36), octets("5500730065007200"));
        assert!(field(&message, 44).is_empty() && field(&message, 52).is_empty());
        assert_eq!(message[CODE_AT..AUTHENTICATE_HEAD], [0; 16]);
        assert_eq!(message.len(), AUTHENTICATE_HEAD + 24 + field(&message, 20).len() + 12 + 8);
    }

    #[test]
    fn a_proxy_with_a_clock_gets_an_integrity_code() {
        let time = octets("0090d336b734c301");
        let attributes = [names(), attribute(AV_TIMESTAMP, &time)].concat();
        let challenge = challenge(&with_end(&attributes));
        let message = authenticate(&challenge, &microsofts(), NONCE, Duration::ZERO).unwrap();
        assert_eq!(field(&message, 12), [0; 24]);
        let nt = field(&message, 20);
        assert_eq!(nt[24..32], time);
        assert_eq!(nt[44..], [&attributes[..], &octets("06000400 02000000"), &[0; 8]].concat());
        let key = hmac_md5(&response_key(&microsofts()), &[&nt[..16]]);
        let mut without = message.clone();
        without[CODE_AT..AUTHENTICATE_HEAD].fill(0);
        assert_eq!(message[CODE_AT..AUTHENTICATE_HEAD], hmac_md5(&key, &[&negotiate(), &challenge, &without]));
        // The proxy's own flags are kept.
        let flags = [attribute(AV_FLAGS, &[1, 0, 0, 0]), attributes.clone()].concat();
        let read = ChallengeMessage::read(&super::tests::challenge(&with_end(&flags))).ok().unwrap();
        assert_eq!(read.target, [&attributes[..], &octets("06000400 03000000"), &[0; 4]].concat());
        // The flag of the code stays set if the proxy has set it already.
        let flags = [attribute(AV_FLAGS, &[3, 0, 0, 0]), attributes.clone()].concat();
        let read = ChallengeMessage::read(&super::tests::challenge(&with_end(&flags))).ok().unwrap();
        assert_eq!(read.target, [&attributes[..], &octets("06000400 03000000"), &[0; 4]].concat());
    }

    #[test]
    fn only_what_was_offered_is_agreed_to_and_always_unicode_and_ntlm() {
        for (theirs, agreed) in [
            ("ffffffff", "05828800"),
            ("00000000", "01020000"),
            ("01000000", "01020000"),
            ("00020000", "01020000"),
            ("00000030", "01020000"),
            ("00008000", "01028000"),
        ] {
            let mut message = challenge(&with_end(&names()));
            message[20..24].copy_from_slice(&octets(theirs));
            let reply = authenticate(&message, &microsofts(), NONCE, Duration::ZERO).unwrap();
            assert_eq!(reply[60..64], octets(agreed), "{theirs}");
        }
    }

    #[test]
    fn a_proxy_that_tells_nothing_of_itself_gets_ntlm_v2_all_the_same() {
        let mut short = challenge(&[])[..32].to_vec();
        short[20..24].copy_from_slice(&UNICODE.to_le_bytes());
        for message in [short, challenge(&[])] {
            let reply = authenticate(&message, &microsofts(), NONCE, Duration::ZERO).unwrap();
            assert_eq!(field(&reply, 20).len(), 16 + 28 + 4 + 4);
        }
    }

    #[test]
    fn malformed_challenges_are_refused_whatever_is_cut_off() {
        let whole = challenge(&with_end(&names()));
        let answer = |message: &[u8]| authenticate(message, &microsofts(), NONCE, Duration::ZERO);
        assert!(answer(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(matches!(answer(&whole[..length]), Err(AuthenticationError::Challenge { .. })), "{length}");
        }
        let changed = |at: usize, to: &[u8]| {
            let mut message = whole.clone();
            message[at..at + to.len()].copy_from_slice(to);
            message
        };
        for message in [
            changed(0, b"X"),
            changed(8, &[3]),
            changed(40, &[0xff, 0xff]),
            changed(44, &[0xff, 0xff, 0xff, 0xff]),
            challenge(&names()),
            challenge(&with_end(&attribute(AV_TIMESTAMP, &[0; 7]))),
            challenge(&with_end(&attribute(AV_FLAGS, &[0; 5]))),
            challenge(&[1, 0, 0xff, 0xff, 0]),
        ] {
            assert!(answer(&message).is_err(), "{message:?}");
        }
    }

    #[test]
    fn a_name_is_capitalised_letter_by_letter() {
        let key =
            |username: &str| response_key(&NtlmCredentials { username: username.into(), ..microsofts() }).to_vec();
        assert_eq!(key("üser"), key("ÜSER"));
        assert_ne!(key("weiß"), key("WEISS"));
    }

    #[test]
    fn the_steps() {
        let credentials = microsofts();
        let mut ntlm = Ntlm::new(&credentials);
        let start = ntlm.answer(&Challenge::Start, Duration::ZERO).unwrap().unwrap();
        assert_eq!(start.expose(), "NTLM TlRMTVNTUAABAAAABYIIAAAAAAAAAAAAAAAAAAAAAAA=");
        let silent = ntlm.answer(&Challenge::Continue(String::new()), Duration::ZERO).unwrap_err();
        assert!(matches!(&silent, AuthenticationError::Challenge { reason, .. } if reason.contains("does not go on")));
        assert!(ntlm.answer(&Challenge::Continue("%".into()), Duration::ZERO).is_err());
        let token = STANDARD.encode(challenge(&with_end(&names())));
        let one = ntlm.answer(&Challenge::Continue(token.clone()), Duration::ZERO).unwrap().unwrap();
        // A new handshake has a new nonce.
        ntlm.answer(&Challenge::Start, Duration::ZERO).unwrap();
        let two = ntlm.answer(&Challenge::Continue(token.clone()), Duration::ZERO).unwrap().unwrap();
        assert!(one.expose().starts_with("NTLM TlRMTVNTUAADAAAA") && one.expose() != two.expose());
        for token in [token, String::new()] {
            assert_eq!(
                ntlm.answer(&Challenge::Continue(token), Duration::ZERO).err(),
                Some(AuthenticationError::Refused)
            );
        }
    }
}
