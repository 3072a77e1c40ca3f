//! Clients that ask and take no answer: what is read from them is bounded, however much they send.

use gatepost_core::protocol::MailProtocol::{self, Pop3, Smtp};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::session::support::{ALICE, ALICES, Client, Setup, World, is_accepted};

/// What a client would like to send.
const MOST: usize = 128 * 1_024 * 1_024;

/// What the system may take on the way, in the buffers of both sides and both directions: no more
/// than the defaults of Linux.
const BUFFERS: usize = 64 * 1_024 * 1_024;

/// Logs in, and says `command` over and over without reading until the connection ends; how many
/// octets the system took.
async fn taken(world: &World, protocol: MailProtocol, command: &str) -> usize {
    let socket = TcpSocket::new_v4().unwrap();
    // As small as the system has them.
    socket.set_recv_buffer_size(1).unwrap();
    socket.set_send_buffer_size(1).unwrap();
    let socket = socket.connect(world.address(protocol.name())).await.unwrap().into_std().unwrap();
    let mut client = Client::over(TcpStream::from_std(socket.try_clone().unwrap()).unwrap(), protocol);
    client.greet().await;
    let reply = client.log_in(ALICE, ALICES).await;
    assert!(is_accepted(protocol, &reply), "{reply}");
    let mut socket = TcpStream::from_std(socket).unwrap();
    let piece = command.repeat(16 * 1_024 / command.len());
    let mut taken = 0;
    while taken < MOST && socket.write_all(piece.as_bytes()).await.is_ok() {
        taken += piece.len();
    }
    taken
}

async fn is_bounded(world: &World, protocol: MailProtocol, commands: &[&str]) {
    for command in commands {
        let taken = taken(world, protocol, command).await;
        assert!(taken <= BUFFERS, "{protocol:?} {command:?}: {taken} octets were taken");
        let stalled = || world.log.lines(|line| line.contains("outcome=ended cause=stalled"));
        world.until("its session ended for that", || !stalled().is_empty()).await;
    }
}

#[tokio::test]
async fn who_takes_no_answer_of_a_maildrop_is_not_read_from() {
    let listeners = "\n  pop3: {bind: '127.0.0.1:0', upstream: graph, graph: 'localhost:{graph}'}".to_owned();
    let world = Setup { listeners, limits: "  write_stall: 300ms", ..Setup::default() }.start().await;
    is_bounded(&world, Pop3, &["NOOP\r\n", "CAPA\r\n", "UIDL\r\n", "RETR 1\r\n", "xyzzy\r\n"]).await;
}

#[tokio::test]
async fn who_takes_no_answer_of_a_submission_is_not_read_from() {
    let listeners = "\n  smtp: {bind: '127.0.0.1:0', upstream: 'localhost:{smtp}', legacy: true}".to_owned();
    let world = Setup { listeners, limits: "  write_stall: 300ms", ..Setup::default() }.start().await;
    is_bounded(&world, Smtp, &["NOOP\r\n", "EHLO x\r\n", "VRFY x\r\n", "RSET\r\n"]).await;
}
