//! Two sessions that are connected to each other, and send what a well-behaved peer would not.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::*;

fn encode<Data>(record: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = record.encode(&mut []) {
        out.resize(start + required_size, 0);
        record.encode(&mut out[start..]).unwrap();
    }
}

/// One turn of one end: reads `incoming`, and writes to `out`.
macro_rules! turn {
    ($connection:expr, $incoming:expr, $out:expr) => {
        loop {
            let status = $connection.process_tls_records(&mut $incoming);
            let discard = status.discard;
            let go_on = match status.state.unwrap() {
                ConnectionState::EncodeTlsData(mut record) => {
                    encode(&mut record, &mut $out);
                    true
                }
                ConnectionState::TransmitTlsData(transmit) => {
                    transmit.done();
                    true
                }
                _ => false,
            };
            $incoming.drain(..discard);
            if !go_on {
                break;
            }
        }
    };
}

/// A client that trusts a server, and that server.
pub(crate) fn configs(version: &'static SupportedProtocolVersion) -> (ClientConfig, ServerConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let server =
        ServerConfig::builder_with_provider(crate::tls::provider()).with_protocol_versions(&[version]).unwrap();
    let mut server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let client =
        ClientConfig::builder_with_provider(crate::tls::provider()).with_protocol_versions(&[version]).unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    (server.enable_secret_extraction, client.enable_secret_extraction) = (true, true);
    (client, server)
}

/// The two ends after their handshake, and what the server has sent behind it.
fn connected(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> (UnbufferedClientConnection, UnbufferedServerConnection, Vec<u8>) {
    let mut server = UnbufferedServerConnection::new(server).unwrap();
    let mut client = UnbufferedClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    while client.is_handshaking() || server.is_handshaking() {
        turn!(client, to_client, to_server);
        turn!(server, to_server, to_client);
    }
    (client, server, to_client)
}

/// A client session and a server session.
pub(crate) fn pair(version: &'static SupportedProtocolVersion) -> (Session, Session) {
    let (client, server) = configs(version);
    let (mut client, server, mut behind) = connected(Arc::new(client), Arc::new(server));
    let mut nothing = Vec::new();
    turn!(client, behind, nothing);
    assert!(behind.is_empty() && nothing.is_empty());
    let (secrets, connection) = client.dangerous_into_kernel_connection().unwrap();
    let client = Session::client(secrets, connection).unwrap();
    let (secrets, connection) = server.dangerous_into_kernel_connection().unwrap();
    (client, Session::server(secrets, connection).unwrap())
}

/// Connects, and returns whether that was short, and the client's session. What the server has sent
/// behind the handshake goes through the session when `opened`.
pub(crate) fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    opened: bool,
) -> (HandshakeKind, Session) {
    let (client, _server, behind) = connected(Arc::clone(client), Arc::clone(server));
    let kind = client.handshake_kind().unwrap();
    let (secrets, connection) = client.dangerous_into_kernel_connection().unwrap();
    let mut client = Session::client(secrets, connection).unwrap();
    if opened {
        assert_eq!(open_all(&mut client, &behind), Ok(Vec::new()));
    }
    (kind, client)
}

/// What a session has to send besides data.
fn waiting(session: &mut Session) -> Vec<u8> {
    let records = session.outbox().to_vec();
    session.sent(records.len());
    records
}

/// Decrypts every record of `wire`.
pub(crate) fn open_all(session: &mut Session, mut wire: &[u8]) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while let Some(length) = session.first_record(wire) {
        let mut plain = vec![0; length];
        let opened = session.open(&wire[..length], &mut plain)?;
        all.extend_from_slice(&plain[..opened]);
        wire = &wire[length..];
    }
    assert!(wire.is_empty());
    Ok(all)
}

/// A record as a peer that follows no rule might send it.
pub(crate) fn record(from: &mut Session, kind: ContentType, content: &[u8]) -> Vec<u8> {
    let mut wire = vec![0; content.len() + from.sealer.overhead()];
    from.sealer.seal(kind, content, &mut wire).unwrap();
    wire
}

/// A key update. Later data is encrypted with the new key.
pub(crate) fn key_update(from: &mut Session, answer: u8) -> Vec<u8> {
    let wire = record(from, ContentType::Handshake, &[24, 0, 0, 1, answer]);
    let (sequence, secrets) = from.next_secrets(true).unwrap();
    from.sealer = Sealer::new(secrets, sequence, true).unwrap();
    wire
}

/// The result when `to` receives a record that `from` sends.
fn says(from: &mut Session, to: &mut Session, kind: ContentType, content: &[u8]) -> Result<Vec<u8>, Error> {
    open_all(to, &record(from, kind, content))
}

fn updates(from: &mut Session, to: &mut Session, answer: u8) -> Result<Vec<u8>, Error> {
    open_all(to, &key_update(from, answer))
}

fn sends(from: &mut Session, text: &[u8]) -> Vec<u8> {
    let (mut all, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        all.append(&mut waiting(from));
        let mut wire = vec![0; 50_000];
        let (taken, written) = from.seal(rest, &mut wire).unwrap();
        assert!(taken > 0);
        all.extend_from_slice(&wire[..written]);
        rest = &rest[taken..];
    }
    all.append(&mut waiting(from));
    all
}

#[test]
fn a_session_names_its_version() {
    for (version, name) in [(&TLS12, "TLS 1.2"), (&TLS13, "TLS 1.3")] {
        let (client, server) = pair(version);
        assert_eq!((client.version(), server.version()), (name, name));
    }
}

#[test]
fn a_key_is_replaced_before_it_is_worn_out() {
    let (mut client, mut server) = pair(&TLS13);
    client.key_life = 3;
    let text: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
    let wire = sends(&mut client, &text);
    let first = client.sealer.sequence();
    assert!(first < 5, "{first} records under the last key");
    assert!(open_all(&mut server, &wire).unwrap() == text);
    assert_eq!(open_all(&mut client, &sends(&mut server, b"heard")).unwrap(), b"heard");

    // TLS 1.2 cannot replace a key.
    let (mut client, mut server) = pair(&TLS12);
    client.key_life = client.sealer.sequence() + 2;
    let mut wire = vec![0; 100_000];
    let (taken, written) = client.seal(&text[..2 * MOST_PLAIN], &mut wire).unwrap();
    assert_eq!(taken, 2 * MOST_PLAIN);
    assert!(open_all(&mut server, &wire[..written]).unwrap() == text[..taken]);
    assert_eq!(client.seal(b"one more", &mut wire), Err(Error::EncryptError));
}

#[test]
fn a_request_for_a_new_key_is_answered_once_until_the_answer_has_left() {
    let (mut client, mut server) = pair(&TLS13);
    for _ in 0..3 {
        assert_eq!(updates(&mut client, &mut server, 1).unwrap(), b"");
    }
    assert_eq!(server.outbox().len(), 5 + 5 + 17, "one answer");
    assert_eq!(server.seal(b"x", &mut [0; 99]), Err(Error::EncryptError), "the answer goes first");
    assert_eq!(open_all(&mut client, &sends(&mut server, b"heard")).unwrap(), b"heard");
    assert_eq!(open_all(&mut server, &sends(&mut client, b"too")).unwrap(), b"too");
}

#[test]
fn handshake_messages_may_be_cut_anywhere_but_nothing_comes_between() {
    // The beginning of a message of the largest accepted size, then one octet more.
    let ticket = |length: u32| [&[4][..], &length.to_be_bytes()[1..]].concat();
    let (mut client, mut server) = pair(&TLS13);
    for octet in [24, 0, 0, 1, 0] {
        assert_eq!(says(&mut server, &mut client, ContentType::Handshake, &[octet]).unwrap(), b"");
    }
    let (sequence, secrets) = server.next_secrets(true).unwrap();
    server.sealer = Sealer::new(secrets, sequence, true).unwrap();
    assert_eq!(open_all(&mut client, &sends(&mut server, b"heard")).unwrap(), b"heard");

    assert_eq!(says(&mut server, &mut client, ContentType::Handshake, &ticket(65_536)).unwrap(), b"");
    let between = open_all(&mut client, &sends(&mut server, b"text"));
    assert_eq!(between, Err(Error::PeerMisbehaved(PeerMisbehaved::MessageInterleavedWithHandshakeMessage)));

    let (mut client, mut server) = pair(&TLS13);
    let long = says(&mut server, &mut client, ContentType::Handshake, &ticket(65_537));
    assert_eq!(long, Err(Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge)));
}

#[test]
fn what_has_no_place_after_the_handshake_ends_the_connection_and_the_peer_is_told_why() {
    use AlertDescription as Alert;
    let cases: [(ContentType, &[u8], Alert); 9] = [
        (ContentType::ChangeCipherSpec, &[1], Alert::UnexpectedMessage),
        // A certificate request from a server, a ticket for a server, a key update followed by more
        // data, and one of an unknown kind.
        (ContentType::Handshake, &[13, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[1, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[24, 0, 0, 1, 0, 24], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[24, 0, 0, 1, 2], Alert::IllegalParameter),
        (ContentType::Handshake, &[24, 0, 0, 0], Alert::DecodeError),
        (ContentType::Handshake, &[], Alert::UnexpectedMessage),
        (ContentType::Alert, &[1], Alert::DecodeError),
        (ContentType::Alert, &[], Alert::UnexpectedMessage),
    ];
    for (kind, content, alert) in cases {
        let (mut client, mut server) = pair(&TLS13);
        let error = says(&mut server, &mut client, kind, content).unwrap_err();
        assert_eq!(client.seal(b"x", &mut [0; 99]), Err(Error::EncryptError));
        let told = open_all(&mut server, &waiting(&mut client));
        assert_eq!(told, Err(Error::AlertReceived(alert)), "{kind:?} {content:?}: {error}");
        assert!(server.outbox().is_empty(), "no answer to an alert");
    }
    let (mut client, mut server) = pair(&TLS13);
    assert!(says(&mut client, &mut server, ContentType::Handshake, &[4, 0, 0, 0]).is_err(), "a ticket for a server");
}

#[test]
fn records_that_bring_nothing_are_taken_for_a_while() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = pair(version);
        for _ in 0..3 {
            for _ in 0..MOST_FRUITLESS {
                says(&mut server, &mut client, ContentType::ApplicationData, &[]).unwrap();
            }
            assert_eq!(open_all(&mut client, &sends(&mut server, b"text")).unwrap(), b"text");
        }
        for _ in 0..MOST_FRUITLESS {
            says(&mut client, &mut server, ContentType::ApplicationData, &[]).unwrap();
        }
        says(&mut client, &mut server, ContentType::Alert, &[1, 0]).expect("an end brings something");
        assert!(server.ended() && server.outbox().is_empty());
        let flood = (0..=MOST_FRUITLESS)
            .map(|_| says(&mut server, &mut client, ContentType::ApplicationData, &[]))
            .find_map(Result::err);
        assert_eq!(flood, Some(Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments)));
    }
}

#[test]
fn alerts_end_a_connection_and_warnings_of_the_older_version_do_not() {
    let (mut client, mut server) = pair(&TLS13);
    says(&mut server, &mut client, ContentType::Alert, &[1, 90]).unwrap();
    assert!(!client.ended(), "user_canceled announces an end only");
    server.close();
    server.close();
    let wire = waiting(&mut server);
    assert_eq!(open_all(&mut client, &wire).unwrap(), b"");
    assert!(client.ended());
    // Data after the end is ignored.
    assert_eq!(client.open(&[23, 3, 3, 0, 1, 0], &mut [0; 6]), Ok(0));
    assert_eq!(open_all(&mut server, &sends(&mut client, b"last words")).unwrap(), b"last words");

    let (mut client, mut server) = pair(&TLS12);
    says(&mut server, &mut client, ContentType::Alert, &[1, 41]).unwrap();
    // A request to renegotiate is declined.
    says(&mut server, &mut client, ContentType::Handshake, &[0, 0, 0, 0]).unwrap();
    assert_eq!(open_all(&mut server, &waiting(&mut client)).unwrap(), b"");
    assert_eq!(open_all(&mut client, &sends(&mut server, b"text")).unwrap(), b"text");
    let fatal = says(&mut server, &mut client, ContentType::Alert, &[2, 40]);
    assert_eq!(fatal, Err(Error::AlertReceived(AlertDescription::HandshakeFailure)));
}

#[test]
fn a_record_fits_in_where_there_is_room() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = pair(version);
        let overhead = client.sealer.overhead();
        for room in 0..=overhead {
            assert_eq!(client.seal(b"text", &mut vec![0; room]), Ok((0, 0)));
        }
        let mut wire = vec![0; overhead + 3];
        assert_eq!(client.seal(b"text", &mut wire), Ok((3, overhead + 3)));
        assert_eq!(open_all(&mut server, &wire).unwrap(), b"tex");
    }
}

#[test]
fn a_record_that_cannot_be_one_is_refused_with_its_own_alert() {
    use AlertDescription as Alert;
    let record = |kind: u8, length: usize, sent: usize| {
        let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
        [&[kind, 3, 3, high, low][..], &vec![0; sent]].concat()
    };
    let most = |version| if version == &TLS13 { MOST_PLAIN + 256 } else { MOST_PLAIN + 2_048 };
    for version in [&TLS12, &TLS13] {
        let most = most(version);
        let cases = [
            // A heartbeat, an unknown type, and data that is not TLS.
            (record(24, 3, 3), Alert::UnexpectedMessage),
            (record(99, 3, 3), Alert::UnexpectedMessage),
            (b"HTTP/1.1 400 Bad Request".to_vec(), Alert::UnexpectedMessage),
            // The header is enough.
            (record(23, most + 1, 0), Alert::RecordOverflow),
            (record(23, most + 1, most + 1), Alert::RecordOverflow),
            (record(23, 0xffff, 0), Alert::RecordOverflow),
            (record(23, most, most), Alert::BadRecordMac),
            (record(23, 0, 0), Alert::BadRecordMac),
        ];
        for (wire, alert) in cases {
            let (mut client, mut server) = pair(version);
            let head = wire[..5].to_vec();
            assert!(open_all(&mut server, &wire).is_err());
            let told = open_all(&mut client, &waiting(&mut server));
            assert_eq!(told, Err(Error::AlertReceived(alert)), "{version:?} {head:?}");
        }
    }
}

#[test]
fn a_wish_to_negotiate_again_is_declined_once_and_everything_else_ends_the_connection() {
    use AlertDescription as Alert;
    const HELLO: [u8; 9] = [1, 0, 0, 5, 3, 3, 0, 0, 0];
    const REQUEST: [u8; 4] = [0, 0, 0, 0];
    let warned = Err(Error::AlertReceived(Alert::UnexpectedMessage));
    for (from_client, wish) in [(true, &HELLO[..]), (false, &REQUEST[..])] {
        let (mut from, mut to) = ends(from_client);
        assert_eq!(says(&mut from, &mut to, ContentType::Handshake, wish), Ok(Vec::new()));
        assert_eq!(to.outbox().len(), 5 + 8 + 2 + 16, "a warning");
        assert_eq!(open_all(&mut from, &waiting(&mut to)), Ok(Vec::new()));
        assert_eq!(open_all(&mut to, &sends(&mut from, b"text")).unwrap(), b"text");
        assert!(says(&mut from, &mut to, ContentType::Handshake, wish).is_err(), "the second");
        assert_eq!(open_all(&mut from, &waiting(&mut to)), warned);
    }
    // In parts, as a long message comes.
    let (mut client, mut server) = ends(true);
    for part in [&HELLO[..1], &HELLO[1..6], &HELLO[6..]] {
        assert!(server.outbox().is_empty());
        assert_eq!(says(&mut client, &mut server, ContentType::Handshake, part), Ok(Vec::new()));
    }
    assert!(!server.outbox().is_empty());

    // After the end there is no answer.
    let (mut client, mut server) = ends(true);
    server.close();
    let _end = waiting(&mut server);
    assert_eq!(says(&mut client, &mut server, ContentType::Handshake, &HELLO), Ok(Vec::new()));
    assert!(server.outbox().is_empty());

    let others: [(bool, &[u8]); 8] = [
        // Client key exchange, Finished, an unknown type, and an empty message.
        (true, &[16, 0, 0, 5, 1, 2, 3, 4, 5]),
        (true, &[20, 0, 0, 2, 1, 2]),
        (true, &[200, 0, 0, 0]),
        (true, &[]),
        // Messages of the other role, and a ticket at the wrong time.
        (true, &REQUEST),
        (false, &HELLO),
        (false, &[4, 0, 0, 0]),
        // Two at once.
        (false, &[0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (from_client, other) in others {
        let (mut from, mut to) = ends(from_client);
        assert!(says(&mut from, &mut to, ContentType::Handshake, other).is_err(), "{other:?}");
        assert_eq!(open_all(&mut from, &waiting(&mut to)), warned, "{other:?}");
    }
}

/// With TLS 1.2: the sender and the receiver.
fn ends(from_client: bool) -> (Session, Session) {
    let (client, server) = pair(&TLS12);
    if from_client { (client, server) } else { (server, client) }
}

#[test]
fn what_waits_for_a_peer_that_takes_nothing_does_not_grow() {
    // As much as the peer can cause, while nothing is taken out.
    for version in [&TLS12, &TLS13] {
        for from_client in [true, false] {
            for kind in [ContentType::Handshake, ContentType::Alert, ContentType::ApplicationData] {
                let (client, server) = pair(version);
                let (mut from, mut to) = if from_client { (client, server) } else { (server, client) };
                let (mut most, mut over) = (0, false);
                for turn in 0..2_000 {
                    let said = match kind {
                        ContentType::Handshake if version == &TLS13 => updates(&mut from, &mut to, 1),
                        ContentType::Handshake if from_client => says(&mut from, &mut to, kind, &[1, 0, 0, 0]),
                        ContentType::Handshake => says(&mut from, &mut to, kind, &[0, 0, 0, 0]),
                        ContentType::Alert => says(&mut from, &mut to, kind, &[1, 90]),
                        _ => says(&mut from, &mut to, kind, &[]),
                    };
                    most = most.max(to.outbox().len());
                    over |= said.is_err();
                    if turn % 16 == 0 {
                        let _over = says(&mut from, &mut to, ContentType::ApplicationData, b"x");
                    }
                }
                to.close();
                most = most.max(to.outbox().len());
                assert!(most <= MOST_OUTBOX, "{version:?} {kind:?} {from_client}: {most} octets");
                assert_eq!(over, kind == ContentType::Handshake, "{version:?} {kind:?}");
            }
        }
    }
}

#[test]
fn key_updates_are_paid_for_with_data() {
    let (mut client, mut server) = pair(&TLS13);
    for _ in 0..200 {
        assert_eq!(updates(&mut client, &mut server, 0), Ok(Vec::new()));
        says(&mut client, &mut server, ContentType::ApplicationData, &[7; 1_024]).unwrap();
    }
    let mut paid = 0;
    while updates(&mut client, &mut server, 0).is_ok() {
        let _over = says(&mut client, &mut server, ContentType::ApplicationData, &[7]);
        paid += 1;
        assert!(paid <= 32, "an octet pays for a key");
    }
    assert_eq!(paid, 32);

    // Also when nothing is left.
    let (mut client, mut server) = pair(&TLS13);
    for _ in 0..32 {
        assert_eq!(updates(&mut client, &mut server, 0), Ok(Vec::new()));
    }
    says(&mut client, &mut server, ContentType::ApplicationData, &[7; MESSAGE_PRICE]).unwrap();
    assert_eq!(updates(&mut client, &mut server, 0), Ok(Vec::new()));
    assert!(updates(&mut client, &mut server, 0).is_err());

    // Tickets cost as much, however many of them are in one record.
    let (mut client, mut server) = pair(&TLS13);
    let ticket = [&[4, 0, 0, 14, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0][..]].concat();
    assert_eq!(says(&mut server, &mut client, ContentType::Handshake, &ticket.repeat(32)), Ok(Vec::new()));
    assert!(says(&mut server, &mut client, ContentType::Handshake, &ticket).is_err());
}

#[test]
fn nothing_is_opened_behind_an_error() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = pair(version);
        let wire = sends(&mut client, b"text");
        let refused = server.open(&[99, 3, 3, 0, 0], &mut [0; 5]).unwrap_err();
        assert_eq!(open_all(&mut server, &wire), Err(refused), "{version:?}");

        let (mut client, mut server) = pair(version);
        assert!(says(&mut client, &mut server, ContentType::Alert, &[2, 40]).is_err());
        assert_eq!(server.seal(b"x", &mut [0; 99]), Err(Error::EncryptError), "an alert ends both directions");
    }
}
