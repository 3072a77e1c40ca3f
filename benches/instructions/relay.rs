//! One turn of the relay: what a client sent is received and sent to the upstream.
//!
//! The count holds one poll of the relay, and nothing of its peers, of the operating system, or of
//! waiting: the data has arrived before the poll, and the clock of the runtime stands still.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use gatepost_core::protocol::MailProtocol;
use gatepost_net::relay::{Relay, RelayLimits, relay};
use gatepost_net::relay_endpoint::RelayEndpoint;
use gatepost_net::tls::record::MOST_PLAIN;
use gatepost_net::tls::session::Session;
use gatepost_proto::mail::QuiescenceDetector;
use tokio::runtime::{Builder, Runtime};

use crate::counted::passes;
use crate::records::{LINE, Version, pair, sealed};

/// Far more polls of the runtime than the operating system needs to tell that data has arrived.
const YIELDS: usize = 4;

pub(crate) fn line_plain() {
    turns(MailProtocol::Imap, false, LINE);
}

pub(crate) fn line_tls() {
    turns(MailProtocol::Imap, true, LINE);
}

pub(crate) fn block_tls() {
    turns(MailProtocol::Imap, true, &[7; MOST_PLAIN]);
}

pub(crate) fn smtp_command_tls() {
    turns(MailProtocol::Smtp, true, b"MAIL FROM:<scanner@contoso.com> SIZE=4711\r\n");
}

/// One side of the relay, as seen from outside.
struct Peer {
    socket: TcpStream,
    /// The relay's own end, to see what has arrived there.
    arrived: TcpStream,
    session: Option<Session>,
}

impl Peer {
    /// Connects a peer to an end of the relay. With `tls`, it has the session of the other end.
    fn connect(tls: Option<(Session, Session)>) -> (Self, RelayEndpoint) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (near, _) = listener.accept().expect("connected");
        near.set_nonblocking(true).expect("a socket");
        let arrived = near.try_clone().expect("a socket");
        let near = tokio::net::TcpStream::from_std(near).expect("within a runtime").into();
        let (session, endpoint) = match tls {
            Some((far, own)) => (Some(far), RelayEndpoint::tls(near, own, Vec::new(), Vec::new(), Vec::new())),
            None => (None, RelayEndpoint::plain(near)),
        };
        (Self { socket, arrived, session }, endpoint)
    }

    /// Sends data, waits until it has arrived, and returns its length on the wire.
    fn send(&mut self, plain: &[u8]) -> usize {
        let wire = match &mut self.session {
            Some(session) => sealed(session, plain),
            None => plain.to_vec(),
        };
        self.socket.write_all(&wire).expect("the relay is there");
        let mut seen = vec![0; wire.len()];
        loop {
            match self.arrived.peek(&mut seen) {
                Ok(octets) if octets == wire.len() => return wire.len(),
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        }
    }

    fn receive(&mut self, wire: usize) {
        self.socket.read_exact(&mut vec![0; wire]).expect("the relay has sent it");
    }
}

struct World {
    runtime: Runtime,
    relay: Pin<Box<Relay>>,
    client: Peer,
    upstream: Peer,
}

impl World {
    fn new(protocol: MailProtocol, tls: bool) -> Self {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let within = runtime.enter();
        let sessions = || tls.then(|| pair(Version::Tls13));
        let (client, client_end) = Peer::connect(sessions());
        // Towards the upstream, Gatepost is the client.
        let (upstream, upstream_end) = Peer::connect(sessions().map(|(own, far)| (far, own)));
        let hour = Duration::from_secs(3_600);
        let limits = RelayLimits { idle: hour, half_closed: hour, write_stall: hour, buffer_bytes: 256 * 1024 };
        let relay = relay(client_end, upstream_end, Vec::new(), Vec::new(), limits);
        let relay = Box::pin(relay.with_detector(QuiescenceDetector::after_login(protocol)));
        drop(within);
        Self { runtime, relay, client, upstream }
    }

    /// Lets the runtime notice what has arrived.
    fn notice(&self) {
        self.runtime.block_on(async {
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
        });
    }

    fn turn(&mut self) {
        let _within = self.runtime.enter();
        let polled = self.relay.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it goes on");
    }
}

fn turns(protocol: MailProtocol, tls: bool, plain: &[u8]) {
    let (mut world, mut on_the_way) = (World::new(protocol, tls), 0);
    passes(
        &mut world,
        |world| {
            world.upstream.receive(std::mem::take(&mut on_the_way));
            on_the_way = world.client.send(plain);
            world.notice();
        },
        |world, ()| world.turn(),
    );
    world.upstream.receive(on_the_way);
}
