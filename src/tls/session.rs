//! TLS after its handshake: opens and seals records, and minds what goes with them: key updates, tickets, alerts, the end.
//!
//! The handshake is rustls' work. Afterwards it hands over its keys (`rustls::kernel`) and keeps the key schedule and the
//! tickets; the records are opened and sealed here, from one buffer straight into another, which is what a relay spends
//! its time on. No sockets in here.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, Error, ExtractedSecrets, HandshakeType, InvalidMessage, PeerMisbehaved,
    ProtocolVersion, SupportedCipherSuite,
};

use super::protection::{Opener, Sealer, unexpected};
use super::record::{ContentType, MOST_PLAIN};

/// The longest handshake message accepted: tickets are short.
const MOST_MESSAGE: usize = 64 * 1024;

/// So many records in a row may bring nothing; each costs work and gains nothing.
const MOST_FRUITLESS: u8 = 32;

/// Who goes on deriving keys.
enum KeySchedule {
    /// TLS 1.2 has one set of keys for a connection.
    Fixed,
    Client(Box<KernelConnection<ClientConnectionData>>),
    Server(Box<KernelConnection<ServerConnectionData>>),
}

/// An established TLS connection, in either role.
pub struct Session {
    opener: Opener,
    sealer: Sealer,
    schedule: KeySchedule,
    /// After so many records a key is worn out.
    key_life: u64,
    /// A handshake message that is not complete yet.
    message: Vec<u8>,
    /// Records of our own, sealed: answers to key updates, alerts.
    outbox: Vec<u8>,
    fruitless: u8,
    ended: bool,
    closing: bool,
}

impl Session {
    /// The connection of a TLS client.
    ///
    /// # Errors
    /// A cipher that is not known.
    pub fn client(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ClientConnectionData>,
    ) -> Result<Self, Error> {
        let (version, suite) = (connection.protocol_version(), connection.negotiated_cipher_suite());
        Self::new(secrets, version, suite, || KeySchedule::Client(Box::new(connection)))
    }

    /// The connection of a TLS server.
    ///
    /// # Errors
    /// A cipher that is not known.
    pub fn server(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ServerConnectionData>,
    ) -> Result<Self, Error> {
        let (version, suite) = (connection.protocol_version(), connection.negotiated_cipher_suite());
        Self::new(secrets, version, suite, || KeySchedule::Server(Box::new(connection)))
    }

    fn new(
        secrets: ExtractedSecrets,
        version: ProtocolVersion,
        suite: SupportedCipherSuite,
        schedule: impl FnOnce() -> KeySchedule,
    ) -> Result<Self, Error> {
        let tls13 = version == ProtocolVersion::TLSv1_3;
        let ((tx_sequence, tx), (rx_sequence, rx)) = (secrets.tx, secrets.rx);
        Ok(Self {
            opener: Opener::new(rx, rx_sequence, tls13)?,
            sealer: Sealer::new(tx, tx_sequence, tls13)?,
            schedule: if tls13 { schedule() } else { KeySchedule::Fixed },
            key_life: match suite {
                SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
                SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            },
            message: Vec::new(),
            outbox: Vec::new(),
            fruitless: 0,
            ended: false,
            closing: false,
        })
    }

    /// Opens one whole record into the beginning of `plain`, which must be as long as the record. The result is the length
    /// of the application data, 0 when the record held something else, or came after the peer's end.
    ///
    /// # Errors
    /// The record is not from the peer, or has no place here; or the peer said that something is wrong. The connection is
    /// over then, and an alert for the peer waits in the outbox.
    pub fn open(&mut self, record: &[u8], plain: &mut [u8]) -> Result<usize, Error> {
        if self.ended {
            return Ok(0);
        }
        self.open_record(record, plain).inspect_err(|error| self.raise(error))
    }

    fn open_record(&mut self, record: &[u8], plain: &mut [u8]) -> Result<usize, Error> {
        let (kind, length) = self.opener.open(record, plain)?;
        let content = &plain[..length];
        if kind != ContentType::Handshake && !self.message.is_empty() {
            // RFC 8446 §5.1: nothing comes between the parts of a handshake message.
            return Err(Error::PeerMisbehaved(PeerMisbehaved::MessageInterleavedWithHandshakeMessage));
        }
        match kind {
            ContentType::ApplicationData if length > 0 => {
                self.fruitless = 0;
                return Ok(length);
            }
            ContentType::ApplicationData => {}
            ContentType::Alert => self.alert(content)?,
            ContentType::Handshake => self.handshake(content)?,
            ContentType::ChangeCipherSpec => return Err(unexpected(kind as u8)),
        }
        self.fruitless += 1;
        if self.fruitless > MOST_FRUITLESS {
            return Err(Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments));
        }
        Ok(0)
    }

    /// RFC 8446 §6: every alert ends the connection, `close_notify` in order; that somebody cancelled announces only one.
    /// TLS 1.2 also knows warnings (RFC 5246 §7.2).
    fn alert(&mut self, content: &[u8]) -> Result<(), Error> {
        let [level, description] = *content else {
            return Err(Error::InvalidMessage(InvalidMessage::MessageTooShort));
        };
        let warning = level == 1 && matches!(self.schedule, KeySchedule::Fixed);
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => self.ended = true,
            AlertDescription::UserCanceled => {}
            _ if warning => {}
            description => return Err(Error::AlertReceived(description)),
        }
        Ok(())
    }

    fn handshake(&mut self, content: &[u8]) -> Result<(), Error> {
        if let KeySchedule::Fixed = self.schedule {
            // TLS 1.2: whatever it is, it wants to negotiate anew, and that is declined (RFC 5246 §7.2.2).
            return self.queue(ContentType::Alert, &[1, AlertDescription::NoRenegotiation.into()]);
        }
        if content.is_empty() {
            return Err(Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments));
        }
        let mut message = std::mem::take(&mut self.message);
        message.extend_from_slice(content);
        let mut rest = &message[..];
        while let Some(message) = first_message(rest)? {
            self.handle(&message)?;
            rest = message.behind;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    fn handle(&mut self, message: &Message<'_>) -> Result<(), Error> {
        match (message.kind, &mut self.schedule) {
            (HandshakeType::NewSessionTicket, KeySchedule::Client(connection)) => {
                connection.handle_new_session_ticket(message.body)
            }
            (HandshakeType::KeyUpdate, _) => {
                if !message.behind.is_empty() {
                    // RFC 8446 §5.1: the old key's records end with this message.
                    return Err(Error::PeerMisbehaved(PeerMisbehaved::KeyEpochWithPendingFragment));
                }
                self.key_update(message.body)
            }
            _ => Err(Error::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::KeyUpdate],
                got_type: message.kind,
            }),
        }
    }

    /// RFC 8446 §4.6.3.
    fn key_update(&mut self, body: &[u8]) -> Result<(), Error> {
        let answer = match body {
            [0] => false,
            [1] => true,
            _ => return Err(Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate)),
        };
        let (sequence, secrets) = self.next_secrets(false)?;
        self.opener = Opener::new(secrets, sequence, true)?;
        // One answer that has not left yet answers all requests before it.
        if answer && !self.closing && self.outbox.is_empty() { self.update_own_key() } else { Ok(()) }
    }

    /// Tells the peer, and seals with a new key from then on.
    fn update_own_key(&mut self) -> Result<(), Error> {
        self.queue(ContentType::Handshake, &[u8::from(HandshakeType::KeyUpdate), 0, 0, 1, 0])?;
        let (sequence, secrets) = self.next_secrets(true)?;
        self.sealer = Sealer::new(secrets, sequence, true)?;
        Ok(())
    }

    fn next_secrets(&mut self, own: bool) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match (&mut self.schedule, own) {
            (KeySchedule::Client(connection), true) => connection.update_tx_secret(),
            (KeySchedule::Client(connection), false) => connection.update_rx_secret(),
            (KeySchedule::Server(connection), true) => connection.update_tx_secret(),
            (KeySchedule::Server(connection), false) => connection.update_rx_secret(),
            (KeySchedule::Fixed, _) => Err(Error::EncryptError),
        }
    }

    /// Seals as much of `plain` as `wire` has room for. The result is how much of `plain` was taken, and how much of `wire`
    /// is to be sent. What waits in the outbox must have been sent before.
    ///
    /// # Errors
    /// The key is worn out (TLS 1.2 only, after 2^24 records), or the connection was closed.
    pub fn seal(&mut self, plain: &[u8], wire: &mut [u8]) -> Result<(usize, usize), Error> {
        if self.closing || !self.outbox.is_empty() {
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
                KeySchedule::Fixed if taken < plain.len() => return Err(Error::EncryptError),
                KeySchedule::Fixed => {}
                _ => self.update_own_key()?,
            }
        }
        Ok((taken, written))
    }

    /// Says `close_notify`, once; nothing can be sealed afterwards.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            // Should it fail, the connection ends without.
            let _unsaid = self.queue(ContentType::Alert, &[1, AlertDescription::CloseNotify.into()]);
        }
    }

    /// True when the peer said `close_notify`.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What is to be sent besides data, and before any more of it. Whoever sends it takes it out.
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Tells the peer why the connection is over.
    fn raise(&mut self, error: &Error) {
        let description = match error {
            Error::AlertReceived(_) => return,
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            Error::InvalidMessage(_) => AlertDescription::DecodeError,
            Error::EncryptError | Error::General(_) => AlertDescription::InternalError,
            _ => AlertDescription::UnexpectedMessage,
        };
        if !std::mem::replace(&mut self.closing, true) {
            let _unsaid = self.queue(ContentType::Alert, &[2, description.into()]);
        }
    }

    fn queue(&mut self, kind: ContentType, plain: &[u8]) -> Result<(), Error> {
        let start = self.outbox.len();
        self.outbox.resize(start + plain.len() + self.sealer.overhead(), 0);
        let sealed = self.sealer.seal(kind, plain, &mut self.outbox[start..]);
        self.outbox.truncate(start + *sealed.as_ref().unwrap_or(&0));
        sealed.map(|_| ())
    }
}

/// A handshake message (RFC 8446 §4).
struct Message<'a> {
    kind: HandshakeType,
    body: &'a [u8],
    /// What stands behind it.
    behind: &'a [u8],
}

/// The first message of `octets`; `None` when it is not complete.
fn first_message(octets: &[u8]) -> Result<Option<Message<'_>>, Error> {
    let Some((&[kind, a, b, c], rest)) = octets.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > MOST_MESSAGE {
        return Err(Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge));
    }
    let whole = rest.split_at_checked(length);
    Ok(whole.map(|(body, behind)| Message { kind: HandshakeType::from(kind), body, behind }))
}

#[cfg(test)]
mod tests;
