//! Clients that speak HTTP/2 frame by frame (RFC 9113 §4.1), and have not logged in.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{Connection, basic, request, with_sandbox};
use crate::session::support::{ALICE, World};

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &[0; 4], payload].concat()
}

struct Client(TcpStream);

impl Client {
    /// The preface and empty settings have been sent.
    async fn connect(world: &World) -> Self {
        let mut socket = TcpStream::connect(world.address("graph")).await.unwrap();
        socket.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, b"")].concat()).await.unwrap();
        Self(socket)
    }

    async fn read(&mut self) -> Frame {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        Frame { kind, flags, stream: u32::from_be_bytes(stream), payload }
    }

    /// Everything that the server has sent until it answers a PING.
    async fn heard(&mut self) -> Vec<Frame> {
        self.0.write_all(&frame(PING, 0, b"gatepost")).await.unwrap();
        let mut heard = Vec::new();
        loop {
            let frame = self.read().await;
            if (frame.kind, frame.flags) == (PING, ACK) {
                return heard;
            }
            heard.push(frame);
        }
    }
}

#[tokio::test]
async fn a_stranger_may_send_no_more_of_bodies_than_a_connection_without_a_login_may_cost() {
    let world = with_sandbox().start().await;
    let mut client = Client::connect(&world).await;
    let (mut connection, mut stream) = (65_535, 65_535);
    for frame in client.heard().await {
        let number = |octets: &[u8]| u32::from_be_bytes(octets.try_into().unwrap());
        match frame.kind {
            WINDOW_UPDATE if frame.stream == 0 => connection += number(&frame.payload),
            SETTINGS if frame.flags != ACK => {
                for setting in frame.payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                    stream = number(&setting[2..]);
                }
            }
            _ => {}
        }
    }
    // What the server holds of bodies that nobody reads is what it lets the client send.
    assert!(connection <= 64 * 1_024 && stream <= 64 * 1_024, "{connection} and {stream} octets");
}

#[tokio::test]
async fn a_flood_of_a_stranger_takes_nothing_of_the_log_from_others() {
    const REFUSED: usize = 40;
    let world = with_sandbox().start().await;
    let mut flood = Client::connect(&world).await;
    let pings = frame(PING, ACK, b"invalid\0").repeat(2_000);
    for n in 0..REFUSED {
        flood.0.write_all(&pings).await.unwrap();
        flood.heard().await;
        let wrong = basic(ALICE, &format!("wrong {n}"));
        let got = Connection::http_1(&world, "graph").await.ask(request("GET", "/v1.0/me/messages", &wrong, "")).await;
        assert!([401, 503].contains(&got.status), "{got:?}");
    }
    assert_eq!(world.log.lines(|line| line.contains("outcome=refused")).len(), REFUSED);
    let theirs = world.log.lines(|line| line.contains("PING"));
    assert!(theirs.is_empty(), "{} lines such as {:?}", theirs.len(), theirs[0]);
    assert!(!world.log.has("lines of the log were dropped"));
}
