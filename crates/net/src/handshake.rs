//! The TLS handshake over a socket, in either role. rustls makes the decisions; this code reads and
//! writes.

use std::io;
use std::ops::Deref;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedConnectionCommon, UnbufferedStatus,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::Socket;
use crate::tls::session::Session;
use crate::tls::{FIRST_OCTETS, PlainText};

/// Size of a read. A certificate chain arrives in one or two.
const READ_OCTETS: usize = 4 * 1024;

/// Most octets of a handshake held at a time, because rustls needs a message of up to 64 KiB in one
/// piece.
const MOST_OCTETS: usize = 128 * 1024;

/// The result of a handshake.
pub(super) struct Established {
    /// The session with its keys.
    pub(super) session: Session,
    /// Octets received after the handshake, still encrypted.
    pub(super) wire: Vec<u8>,
    /// Octets received together with the end of the handshake, decrypted.
    pub(super) plain: Vec<u8>,
}

/// A rustls connection that does no input or output of its own.
pub(super) trait Handshake: Send + Deref<Target = UnbufferedConnectionCommon<Self::Data>> {
    /// The role.
    type Data;
    /// Whether the other side speaks first in a protocol without TLS, so that its text explains why
    /// there is no TLS.
    const OTHER_SIDE_GREETS: bool;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn into_session(self) -> Result<Session, rustls::Error>;
}

impl Handshake for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const OTHER_SIDE_GREETS: bool = true;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn into_session(self) -> Result<Session, rustls::Error> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Session::client(secrets, connection)
    }
}

impl Handshake for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const OTHER_SIDE_GREETS: bool = false;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn into_session(self) -> Result<Session, rustls::Error> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Session::server(secrets, connection)
    }
}

/// What rustls needs next.
enum Step {
    /// Ask rustls again.
    Go,
    Write,
    Read,
    Stop(io::Error),
}

/// Does the handshake. The configuration of `tls` must allow extracting the secrets.
///
/// # Errors
/// The connection broke or ended (`UnexpectedEof`), or rustls refused what the peer sent
/// (`InvalidData`, with the [`rustls::Error`] inside, after an alert to the peer), or a server greeted
/// in plain text ([`PlainText`] inside).
pub(super) async fn handshake<H: Handshake>(socket: &mut Socket, mut tls: H) -> io::Result<Established> {
    let (mut incoming, mut outgoing, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = Vec::new();
    let failure = loop {
        let status = tls.process(&mut incoming);
        let discard = status.discard;
        let step = match status.state {
            Ok(ConnectionState::EncodeTlsData(mut record)) => {
                encode(&mut record, &mut outgoing)?;
                Step::Go
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                transmit.done();
                Step::Write
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Step::Read,
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    plain.extend_from_slice(record.map_err(refused)?.payload);
                }
                Step::Go
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Step::Stop(ended()),
            Ok(_) => Step::Stop(refused(rustls::Error::General("a state of the handshake that is not known".into()))),
            Err(error) => Step::Stop(refused(error)),
        };
        incoming.drain(..discard);
        if let Step::Stop(failure) = step {
            break failure;
        }
        if !tls.is_handshaking() && !tls.wants_write() {
            // This comes before more records are looked at, because what follows belongs to the
            // session.
            send(socket, &outgoing).await?;
            // Usually empty, and kept as long as the connection.
            incoming.shrink_to_fit();
            return Ok(Established { session: tls.into_session().map_err(refused)?, wire: incoming, plain });
        }
        match step {
            Step::Write => {
                send(socket, &outgoing).await?;
                outgoing.clear();
            }
            Step::Read if incoming.len() >= MOST_OCTETS => {
                break refused(rustls::Error::InvalidMessage(rustls::InvalidMessage::HandshakePayloadTooLarge));
            }
            Step::Read => {
                incoming.reserve(READ_OCTETS);
                if socket.read_buf(&mut incoming).await? == 0 {
                    break ended();
                }
                if H::OTHER_SIDE_GREETS && first.is_empty() {
                    first = incoming.iter().copied().take(FIRST_OCTETS).collect();
                }
            }
            Step::Go | Step::Stop(_) => {}
        }
    };
    // Sends the alert that rustls has for the peer.
    while tls.wants_write() {
        let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut record)), .. } = tls.process(&mut incoming)
        else {
            break;
        };
        encode(&mut record, &mut outgoing)?;
    }
    // The peer may have closed the connection. The error from before says more.
    let _gone = send(socket, &outgoing).await;
    Err(PlainText::in_octets(&first).map_or(failure, io::Error::from))
}

async fn send(socket: &mut Socket, octets: &[u8]) -> io::Result<()> {
    socket.write_all(octets).await?;
    socket.flush().await
}

fn encode<Data>(record: &mut EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let start = outgoing.len();
    let mut encoded = record.encode(&mut outgoing[start..]);
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = encoded {
        outgoing.resize(start + required_size, 0);
        encoded = record.encode(&mut outgoing[start..]);
    }
    encoded.map(|written| outgoing.truncate(start + written)).map_err(io::Error::other)
}

fn refused(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended during the TLS handshake")
}
