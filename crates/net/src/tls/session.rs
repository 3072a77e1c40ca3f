//! TLS after its handshake: decrypts and encrypts records, and handles key updates, tickets, alerts
//! and the end.
//!
//! rustls does the handshake. Afterwards it hands over its keys (`rustls::kernel`), and keeps the
//! key schedule and the tickets. The records are decrypted and encrypted here, from one buffer
//! directly into another, because a relay spends its time on that. This module has no sockets.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, Error, ExtractedSecrets, HandshakeType, InvalidMessage, PeerMisbehaved,
    ProtocolVersion, Side, SupportedCipherSuite,
};

use super::protection::{MOST_OVERHEAD, Opener, Sealer};
use super::record::{self, ContentType, MOST_PLAIN, unexpected};

/// Type and length of a handshake message (RFC 8446 §4).
const MESSAGE_HEADER: usize = 4;

/// The longest ticket accepted. No other message needs more than one record.
const MOST_TICKET: usize = 64 * 1024;

/// Most records in a row without data, because each costs work and brings nothing.
const MOST_FRUITLESS: u8 = 32;

/// Octets of data that pay for one handshake message, which costs as much work as several records:
/// a key update derives keys, and a ticket is derived and kept.
const MESSAGE_PRICE: usize = 1024;

/// The credit at the start, which pays for 32 messages before any data. It is also the most credit
/// that is kept.
const MOST_CREDIT: usize = 32 * MESSAGE_PRICE;

/// Most octets of our own records that wait to be sent: an answer and the last alert.
pub const MOST_OUTBOX: usize = 2 * (LONGEST_ANSWER + MOST_OVERHEAD);

/// Length of a key update.
const LONGEST_ANSWER: usize = 5;

/// Derives further keys of an established connection in TLS 1.3.
pub trait KeySchedule: Send + Sync {
    /// The next secrets for sending (`own`) or for receiving, and the sequence number at which they
    /// begin.
    ///
    /// # Errors
    /// The TLS library refuses.
    fn next_secrets(&mut self, own: bool) -> Result<(u64, ConnectionTrafficSecrets), Error>;

    /// Takes the body of a ticket; only a client gets one.
    ///
    /// # Errors
    /// The ticket is malformed.
    fn ticket(&mut self, body: &[u8]) -> Result<(), Error>;
}

impl KeySchedule for KernelConnection<ClientConnectionData> {
    fn next_secrets(&mut self, own: bool) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        if own { self.update_tx_secret() } else { self.update_rx_secret() }
    }

    fn ticket(&mut self, body: &[u8]) -> Result<(), Error> {
        self.handle_new_session_ticket(body)
    }
}

impl KeySchedule for KernelConnection<ServerConnectionData> {
    fn next_secrets(&mut self, own: bool) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        if own { self.update_tx_secret() } else { self.update_rx_secret() }
    }

    fn ticket(&mut self, _body: &[u8]) -> Result<(), Error> {
        Err(unasked(HandshakeType::NewSessionTicket))
    }
}

/// An established TLS connection, in either role.
///
/// Its memory is bounded whatever the peer sends: at most one handshake message is held while it is
/// incomplete, and at most [`MOST_OUTBOX`] octets wait to be sent.
pub struct Session {
    role: Side,
    opener: Opener,
    sealer: Sealer,
    /// `None` in TLS 1.2, which has one set of keys for each connection.
    schedule: Option<Box<dyn KeySchedule>>,
    /// Most records that a key may encrypt.
    key_life: u64,
    /// A handshake message that is not complete yet.
    message: Vec<u8>,
    /// Our own encrypted records. An answer to a key update or to a renegotiation request is
    /// encrypted only while nothing waits here. Nothing is encrypted after the last alert. There is
    /// no room for more.
    outbox: [u8; MOST_OUTBOX],
    waiting: usize,
    fruitless: u8,
    /// Octets of received data not yet used to pay for handshake messages.
    credit: usize,
    /// TLS 1.2: the peer's request for renegotiation was declined once.
    declined: bool,
    ended: bool,
    closing: bool,
    failed: Option<Error>,
}

impl Session {
    /// The connection of a TLS client.
    ///
    /// # Errors
    /// The cipher is not known.
    pub fn client(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ClientConnectionData>,
    ) -> Result<Self, Error> {
        let (version, suite) = (connection.protocol_version(), connection.negotiated_cipher_suite());
        Self::of(Side::Client, secrets, version, suite, connection)
    }

    /// The connection of a TLS server.
    ///
    /// # Errors
    /// The cipher is not known.
    pub fn server(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ServerConnectionData>,
    ) -> Result<Self, Error> {
        let (version, suite) = (connection.protocol_version(), connection.negotiated_cipher_suite());
        Self::of(Side::Server, secrets, version, suite, connection)
    }

    fn of(
        role: Side,
        secrets: ExtractedSecrets,
        version: ProtocolVersion,
        suite: SupportedCipherSuite,
        schedule: impl KeySchedule + 'static,
    ) -> Result<Self, Error> {
        let key_life = match suite {
            SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
            SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        };
        let tls13 = version == ProtocolVersion::TLSv1_3;
        Self::new(role, secrets, key_life, tls13.then(|| Box::new(schedule) as Box<dyn KeySchedule>))
    }

    /// An established connection with the secrets of both directions: TLS 1.3 with a key schedule,
    /// TLS 1.2 without. A key encrypts at most `key_life` records.
    ///
    /// # Errors
    /// The cipher is not known.
    pub fn new(
        role: Side,
        secrets: ExtractedSecrets,
        key_life: u64,
        schedule: Option<Box<dyn KeySchedule>>,
    ) -> Result<Self, Error> {
        let ((tx_sequence, tx), (rx_sequence, rx)) = (secrets.tx, secrets.rx);
        Ok(Self {
            role,
            opener: Opener::new(rx, rx_sequence, schedule.is_some())?,
            sealer: Sealer::new(tx, tx_sequence, schedule.is_some())?,
            schedule,
            key_life,
            message: Vec::new(),
            outbox: [0; MOST_OUTBOX],
            waiting: 0,
            fruitless: 0,
            credit: MOST_CREDIT,
            declined: false,
            ended: false,
            closing: false,
            failed: None,
        })
    }

    /// The version of TLS.
    pub fn version(&self) -> &'static str {
        if self.schedule.is_some() { "TLS 1.3" } else { "TLS 1.2" }
    }

    /// Length of the first record in `wire`, with its header, once [`Session::open`] can handle it:
    /// when it is complete, or when its header cannot be that of a record.
    pub fn first_record(&self, wire: &[u8]) -> Option<usize> {
        record::first_record(wire, self.opener.most_content())
    }

    /// Decrypts one whole record into the beginning of `plain`, which must be as long as the
    /// record. The result is the length of the application data. It is 0 if the record held
    /// something else, or came after the peer's end.
    ///
    /// # Errors
    /// The record is not from the peer or is not allowed here, or the peer reported an error. The
    /// connection is over then: nothing more is decrypted or encrypted. An alert waits in the
    /// outbox, unless the peer sent one.
    pub fn open(&mut self, record: &[u8], plain: &mut [u8]) -> Result<usize, Error> {
        if self.ended {
            return Ok(0);
        }
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.open_record(record, plain).inspect_err(|error| self.fail(error))
    }

    fn open_record(&mut self, record: &[u8], plain: &mut [u8]) -> Result<usize, Error> {
        let (kind, length) = self.opener.open(record, plain)?;
        let content = &plain[..length];
        if kind != ContentType::Handshake && !self.message.is_empty() {
            // RFC 8446 §5.1: nothing may come between the parts of a handshake message.
            return Err(Error::PeerMisbehaved(PeerMisbehaved::MessageInterleavedWithHandshakeMessage));
        }
        match kind {
            ContentType::ApplicationData if length > 0 => {
                self.fruitless = 0;
                self.credit = (self.credit + length).min(MOST_CREDIT);
                return Ok(length);
            }
            ContentType::ApplicationData => {}
            ContentType::Alert => {
                self.alert(content)?;
                if self.ended {
                    return Ok(0);
                }
            }
            ContentType::Handshake => self.handshake(content)?,
            ContentType::ChangeCipherSpec => return Err(unexpected(kind as u8)),
        }
        self.fruitless += 1;
        if self.fruitless > MOST_FRUITLESS {
            return Err(Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments));
        }
        Ok(0)
    }

    /// RFC 8446 §6: every alert ends the connection, and `close_notify` ends it cleanly.
    /// `user_canceled` only announces an end. TLS 1.2 also knows warnings (RFC 5246 §7.2).
    fn alert(&mut self, content: &[u8]) -> Result<(), Error> {
        let [level, description] = *content else {
            return Err(match content {
                // RFC 8446 §5.4.
                [] => unexpected(ContentType::Alert as u8),
                _ => Error::InvalidMessage(InvalidMessage::MessageTooShort),
            });
        };
        let warning = level == 1 && self.schedule.is_none();
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => self.ended = true,
            AlertDescription::UserCanceled => {}
            _ if warning => {}
            description => return Err(Error::AlertReceived(description)),
        }
        Ok(())
    }

    fn handshake(&mut self, content: &[u8]) -> Result<(), Error> {
        if content.is_empty() {
            // RFC 8446 §5.1, RFC 5246 §6.2.1.
            return Err(unexpected(ContentType::Handshake as u8));
        }
        let mut message = std::mem::take(&mut self.message);
        message.extend_from_slice(content);
        let mut rest = &message[..];
        while let Some((&kind, _)) = rest.split_first() {
            let kind = HandshakeType::from(kind);
            let Some(length) = first_message(rest, self.longest(kind)?)? else { break };
            let (message, behind) = rest.split_at(length);
            self.handle(kind, &message[MESSAGE_HEADER..], behind)?;
            rest = behind;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    /// Longest body of a message that is allowed now.
    fn longest(&self, kind: HandshakeType) -> Result<usize, Error> {
        match (kind, self.role, &self.schedule) {
            (HandshakeType::KeyUpdate, _, Some(_)) => Ok(1),
            (HandshakeType::NewSessionTicket, Side::Client, Some(_)) => Ok(MOST_TICKET),
            (HandshakeType::ClientHello, Side::Server, None) if !self.declined => Ok(MOST_PLAIN),
            (HandshakeType::HelloRequest, Side::Client, None) if !self.declined => Ok(0),
            _ => Err(unasked(kind)),
        }
    }

    fn handle(&mut self, kind: HandshakeType, body: &[u8], behind: &[u8]) -> Result<(), Error> {
        let left = self.credit.checked_sub(MESSAGE_PRICE);
        self.credit = left.ok_or(Error::PeerMisbehaved(PeerMisbehaved::TooManyKeyUpdateRequests))?;
        match (kind, &mut self.schedule) {
            (HandshakeType::NewSessionTicket, Some(schedule)) => schedule.ticket(body),
            // RFC 8446 §5.1: the old key's records end with this message.
            (_, Some(_)) if !behind.is_empty() => {
                Err(Error::PeerMisbehaved(PeerMisbehaved::KeyEpochWithPendingFragment))
            }
            (_, Some(_)) => self.key_update(body),
            // RFC 5246 §7.2.2: a request to renegotiate is declined, but only once, because each
            // answer costs work.
            (_, None) => {
                self.declined = true;
                // Nothing may be sent after `close_notify`.
                if self.closing {
                    return Ok(());
                }
                self.queue(ContentType::Alert, &[1, AlertDescription::NoRenegotiation.into()])
            }
        }
    }

    /// Handles a key update of the peer (RFC 8446 §4.6.3).
    fn key_update(&mut self, body: &[u8]) -> Result<(), Error> {
        let answer = match body {
            [0] => false,
            [1] => true,
            [_] => return Err(Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate)),
            _ => return Err(Error::InvalidMessage(InvalidMessage::MessageTooShort)),
        };
        let (sequence, secrets) = self.next_secrets(false)?;
        self.opener = Opener::new(secrets, sequence, true)?;
        // An answer that is still waiting to be sent answers all requests before it.
        if answer && !self.closing && self.waiting == 0 { self.update_own_key() } else { Ok(()) }
    }

    /// Sends a key update, and encrypts with a new key from then on.
    fn update_own_key(&mut self) -> Result<(), Error> {
        self.queue(ContentType::Handshake, &[u8::from(HandshakeType::KeyUpdate), 0, 0, 1, 0])?;
        let (sequence, secrets) = self.next_secrets(true)?;
        self.sealer = Sealer::new(secrets, sequence, true)?;
        Ok(())
    }

    fn next_secrets(&mut self, own: bool) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        self.schedule.as_mut().ok_or(Error::EncryptError)?.next_secrets(own)
    }

    /// Encrypts as much of `plain` as `wire` has room for. The result is how much of `plain` was
    /// taken, and how much of `wire` is to be sent. The outbox must have been sent before.
    ///
    /// # Errors
    /// The key is worn out (TLS 1.2 only, after 2^24 records), or the connection was closed.
    pub fn seal(&mut self, plain: &[u8], wire: &mut [u8]) -> Result<(usize, usize), Error> {
        if self.closing || self.waiting > 0 {
            return Err(Error::EncryptError);
        }
        let (mut taken, mut written) = (0, 0);
        while taken < plain.len() && self.sealer.sequence() < self.key_life {
            let Some(room) = (wire.len() - written).checked_sub(self.sealer.overhead()).filter(|room| *room > 0) else {
                break;
            };
            let piece = &plain[taken..];
            let piece = &piece[..piece.len().min(MOST_PLAIN).min(room)];
            written += self.sealer.seal(ContentType::ApplicationData, piece, &mut wire[written..])?;
            taken += piece.len();
        }
        if self.sealer.sequence() >= self.key_life {
            match self.schedule {
                None if taken < plain.len() => return Err(Error::EncryptError),
                None => {}
                Some(_) => self.update_own_key()?,
            }
        }
        Ok((taken, written))
    }

    /// Sends `close_notify`, once. Nothing can be encrypted afterwards.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            // If this fails, the connection ends without it.
            let _unsaid = self.queue(ContentType::Alert, &[1, AlertDescription::CloseNotify.into()]);
        }
    }

    /// True if the peer sent `close_notify`.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Octets to be sent besides data, and before any more of it: at most [`MOST_OUTBOX`].
    /// [`Session::sent`] removes them.
    pub fn outbox(&self) -> &[u8] {
        &self.outbox[..self.waiting]
    }

    /// Notes that so many octets of the outbox have been sent.
    pub fn sent(&mut self, octets: usize) {
        let octets = octets.min(self.waiting);
        self.outbox.copy_within(octets..self.waiting, 0);
        self.waiting -= octets;
    }

    /// Ends the connection and sends the peer an alert with the reason.
    fn fail(&mut self, error: &Error) {
        self.failed = Some(error.clone());
        let silent = std::mem::replace(&mut self.closing, true);
        let description = match error {
            Error::AlertReceived(_) => return,
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => AlertDescription::IllegalParameter,
            Error::InvalidMessage(_) => AlertDescription::DecodeError,
            Error::EncryptError | Error::General(_) => AlertDescription::InternalError,
            _ => AlertDescription::UnexpectedMessage,
        };
        if !silent {
            let _unsaid = self.queue(ContentType::Alert, &[2, description.into()]);
        }
    }

    /// Encrypts one of our own records into the outbox.
    fn queue(&mut self, kind: ContentType, plain: &[u8]) -> Result<(), Error> {
        let room = self.outbox.get_mut(self.waiting..self.waiting + plain.len() + self.sealer.overhead());
        self.waiting += self.sealer.seal(kind, plain, room.ok_or(Error::EncryptError)?)?;
        Ok(())
    }
}

/// Length of the first handshake message in `octets`, whose body may have `most`; `None` if it is
/// incomplete.
fn first_message(octets: &[u8], most: usize) -> Result<Option<usize>, Error> {
    let Some(&[_, a, b, c]) = octets.first_chunk::<MESSAGE_HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > most {
        return Err(Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge));
    }
    let length = MESSAGE_HEADER + length;
    Ok((octets.len() >= length).then_some(length))
}

/// The error for a handshake message that is not allowed here.
fn unasked(kind: HandshakeType) -> Error {
    Error::InappropriateHandshakeMessage { expect_types: vec![HandshakeType::KeyUpdate], got_type: kind }
}

#[cfg(test)]
pub(crate) mod tests;
