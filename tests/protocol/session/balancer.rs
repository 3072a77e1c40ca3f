//! Connections that come through a load balancer: whoever it speaks for is the client, and nobody
//! else is believed.

use std::net::SocketAddr;

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use tokio::net::{TcpSocket, TcpStream};

use crate::common::directory::Directory;
use crate::session::support::{ALICE, ALICES, Client, Setup, World, is_accepted, refused_words, told};

use MailProtocol::{Imap, Pop3, Smtp};

/// The balancer is on 127.0.0.9; everybody else on loopback is not believed.
fn setup() -> Setup {
    let keys = "proxy_protocol_from: [127.0.0.9], allow_from: [192.0.2.0/24, 2001:db8::/32], allow_plaintext_from: [192.0.2.0/24]";
    Setup {
        listeners: format!(
            "
  imap: {{bind: '127.0.0.1:0', upstream: 'localhost:{{imap}}', {keys}}}
  pop3: {{bind: '127.0.0.1:0', upstream: 'localhost:{{pop3}}', {keys}}}
  smtp: {{bind: '127.0.0.1:0', upstream: 'localhost:{{smtp}}', {keys}}}"
        ),
        ..Setup::default()
    }
}

async fn socket(source: &str, world: &World, protocol: MailProtocol) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    socket.connect(world.address(protocol.name())).await.unwrap()
}

async fn balancer(world: &World, protocol: MailProtocol, header: impl AsRef<[u8]>) -> Client {
    let mut client = Client::over(socket("127.0.0.9", world, protocol).await, protocol);
    client.send(header).await;
    client
}

/// A header of version 1.
fn for_client(client: &str) -> String {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let destination = if client.contains(':') { "2001:db8::1" } else { "198.51.100.1" };
    format!("PROXY {family} {client} {destination} 56324 993\r\n")
}

fn version_2(command: u8, address: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12]);
    header.extend(address);
    header.extend([198, 51, 100, 1, 0xDC, 4, 3, 0xE1]);
    header
}

#[tokio::test]
async fn a_client_logs_in_through_a_balancer_and_the_log_has_its_address() {
    let world = setup().start().await;
    for protocol in [Imap, Pop3, Smtp] {
        for header in [for_client("192.0.2.7").into_bytes(), version_2(1, [192, 0, 2, 7])] {
            let mut client = balancer(&world, protocol, header).await;
            client.greet().await;
            assert!(is_accepted(protocol, &client.log_in(ALICE, ALICES).await));
            client.works().await;
        }
    }
    let accepted = world.log.lines(|line| line.contains("outcome=accepted"));
    assert!(accepted.len() == 6 && accepted.iter().all(|line| line.contains("peer=192.0.2.7:56324")), "{accepted:?}");
}

#[tokio::test]
async fn what_comes_with_the_header_in_one_packet_is_the_clients() {
    let world = setup().start().await;
    let header = for_client("192.0.2.7");
    let mut client = balancer(&world, Pop3, format!("{header}USER {ALICE}\r\nPASS {ALICES}\r\nNOOP\r\nQUIT\r\n")).await;
    let said = client.rest().await;
    assert_eq!(said.matches("+OK").count(), 5, "{said}");
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let directory = Directory::new();
    let key = rcgen_key(&directory);
    let setup = Setup {
        listeners: format!(
            "\n  imap: {{bind: '127.0.0.1:0', upstream: 'localhost:{{imap}}', proxy_protocol_from: [127.0.0.9], allow_from: \
             [192.0.2.0/24], tls: implicit, certificate: '{d}/server.pem', private_key: '{d}/server.key'}}",
            d = directory.path().display()
        ),
        ..Setup::default()
    };
    let world = setup.start().await;
    let client = balancer(&world, Imap, for_client("192.0.2.7")).await;
    let mut client = client.start_tls(&key).await;
    client.greet().await;
    assert!(is_accepted(Imap, &client.log_in(ALICE, ALICES).await));
}

/// Writes a certificate for `localhost` and its key, and returns the certificate, which is its own
/// authority.
fn rcgen_key(directory: &Directory) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    directory.write("server.pem", made.cert.pem());
    directory.write("server.key", made.signing_key.serialize_pem());
    made.cert.pem()
}

#[tokio::test]
async fn the_clients_address_decides_who_may_come_in() {
    let world = setup().start().await;
    for (client, comes_in) in [
        ("192.0.2.7", true),
        ("2001:db8::7", true),
        ("198.51.100.7", false),
        ("127.0.0.1", false),
        ("127.0.0.9", false),
        ("::1", false),
        ("::ffff:127.0.0.1", false),
        ("0.0.0.0", false),
    ] {
        let greeting = balancer(&world, Smtp, for_client(client)).await.line().await;
        assert_eq!(greeting.is_some(), comes_in, "{client}");
    }
    assert!(world.log.has("cause=not-allowed"));
    assert!(world.log.has("names 127.0.0.1, from where no client can come"));
}

#[tokio::test]
async fn a_client_from_a_network_that_needs_tls_has_no_rights_of_loopback() {
    let world = setup().start().await;
    let mut client = balancer(&world, Pop3, for_client("2001:db8::7")).await;
    client.greet().await;
    let reply = client.ask(&format!("USER {ALICE}"), "").await;
    assert!(reply.starts_with("-ERR [SYS/PERM] "), "{reply}");
    let mut client = balancer(&world, Pop3, for_client("192.0.2.7")).await;
    client.greet().await;
    assert!(client.ask(&format!("USER {ALICE}"), "").await.starts_with("+OK"));
}

#[tokio::test]
async fn a_balancer_that_sends_no_header_is_closed_and_logged_once() {
    let world = setup().start().await;
    for said in [
        "a LOGIN x y\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03\0",
    ] {
        assert_eq!(balancer(&world, Imap, said).await.rest().await, "", "{said:?}");
    }
    let lines = world.log.lines(|line| line.contains("cause=no-proxy-header") && line.contains("WARN"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("send-proxy-v2") && lines[0].contains(". Gatepost admin: "), "{lines:?}");
}

#[tokio::test]
async fn a_header_that_breaks_off_is_no_health_check() {
    let world = setup().start().await;
    let mut client = balancer(&world, Imap, "PROXY TCP4").await;
    client.finish().await;
    assert_eq!(client.rest().await, "");
    world.until("it is told", || world.log.has("closed: it ended within the PROXY header. Gatepost admin: ")).await;
    assert!(!world.log.has("cause=probe"));
}

#[tokio::test]
async fn a_client_that_a_balancer_on_this_machine_does_not_name_has_none_of_its_rights() {
    let setup = Setup {
        listeners: "\n  imap: {bind: '127.0.0.1:0', upstream: 'localhost:{imap}', proxy_protocol_from: [127.0.0.9], \
                    allow_from: 127.0.0.0/8, allow_plaintext_from: 127.0.0.0/8}"
            .to_owned(),
        ..Setup::default()
    };
    let world = setup.start().await;
    assert_eq!(balancer(&world, Imap, "PROXY UNKNOWN\r\n").await.rest().await, "", "not even a greeting");
    assert!(world.log.has("a load balancer on this machine does not say for whom it connects"));
}

#[tokio::test]
async fn a_balancer_that_says_nothing_is_closed_in_time() {
    let world = setup().start().await;
    let mut client = Client::over(socket("127.0.0.9", &world, Imap).await, Imap);
    client.send("PROXY TCP4").await;
    assert_eq!(client.rest().await, "");
    assert!(world.log.has("no whole PROXY header came within 5s"));
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let setup = Setup {
        listeners: "\n  imap: {bind: '127.0.0.1:0', upstream: 'localhost:{imap}', proxy_protocol_from: [127.0.0.9], \
                    allow_from: [127.0.0.0/8, 192.0.2.0/24], allow_plaintext_from: [127.0.0.8, 192.0.2.0/24]}"
            .to_owned(),
        ..Setup::default()
    };
    let world = setup.start().await;
    let mut client = Client::over(socket("127.0.0.8", &world, Imap).await, Imap);
    client.greet().await;
    client.send(for_client("192.0.2.7")).await;
    // A header is a command that does not exist.
    assert!(client.line().await.unwrap().contains("BAD"));
    assert!(is_accepted(Imap, &client.log_in(ALICE, ALICES).await));
    let accepted = world.log.lines(|line| line.contains("outcome=accepted"));
    assert!(accepted.len() == 1 && accepted[0].contains("peer=127.0.0.8:"), "{accepted:?}");
}

#[tokio::test]
async fn health_checks_make_no_noise_and_cost_nothing() {
    let setup = Setup { penalise_loopback: true, limits: "  penalty_threshold: 2s", ..setup() };
    let world = setup.start().await;
    for _ in 0..10 {
        drop(socket("127.0.0.9", &world, Imap).await);
        drop(balancer(&world, Imap, version_2(0, [0; 4])).await.rest().await);
        drop(balancer(&world, Imap, "PROXY UNKNOWN\r\n").await.rest().await);
    }
    let mut client = balancer(&world, Imap, for_client("192.0.2.7")).await;
    client.greet().await;
    let noise = world.log.lines(|line| {
        [" INFO ", " WARN ", " ERROR "].iter().any(|level| line.contains(level)) && line.contains("peer=")
    });
    assert_eq!(noise, Vec::<String>::new());
    // Who looks for them finds them.
    let probes = || world.log.lines(|line| line.contains("outcome=closed cause=probe"));
    world.until("each is noted", || probes().len() == 30).await;
    assert!(probes().iter().all(|line| line.contains(" DEBUG ") && line.contains("peer=127.0.0.9:")));
}

#[tokio::test]
async fn a_health_check_that_may_come_in_hears_the_greeting_and_costs_nothing() {
    let setup = Setup {
        listeners: "\n  imap: {bind: '127.0.0.1:0', upstream: 'localhost:{imap}', proxy_protocol_from: [127.0.0.9], \
                    allow_from: [127.0.0.9, 192.0.2.0/24], allow_plaintext_from: [192.0.2.0/24]}"
            .to_owned(),
        penalise_loopback: true,
        limits: "  penalty_threshold: 2s",
        ..Setup::default()
    };
    let world = setup.start().await;
    for _ in 0..10 {
        let mut check = balancer(&world, Imap, version_2(0, [0; 4])).await;
        assert!(check.line().await.unwrap().starts_with("* OK"));
        check.finish().await;
        check.rest().await;
    }
    assert!(!world.log.has("cause=penalised"));
}

#[tokio::test]
async fn each_client_behind_a_balancer_pays_for_itself() {
    let setup = Setup { limits: "  penalty_no_login: 0s", ..setup() };
    let world = setup.start().await;
    for guess in 0..4 {
        let mut client = balancer(&world, Pop3, for_client("192.0.2.66")).await;
        client.greet().await;
        let reply = client.log_in(ALICE, &format!("guess {guess}")).await;
        assert_eq!(told(&reply).0, refused_words(Pop3, Refusal::InvalidCredentials));
    }
    assert_eq!(balancer(&world, Pop3, for_client("192.0.2.66")).await.rest().await, "", "not even a greeting");
    let mut client = balancer(&world, Pop3, for_client("192.0.2.7")).await;
    client.greet().await;
    assert!(is_accepted(Pop3, &client.log_in(ALICE, ALICES).await));
    let lines = world.log.lines(|line| line.contains("cause=penalised"));
    assert!(lines.len() == 1 && lines[0].contains("192.0.2.66"), "{lines:?}");
}

#[tokio::test]
async fn each_client_behind_a_balancer_has_places_of_its_own() {
    let setup = Setup { limits: "  pre_auth_connections_per_source: 2", ..setup() };
    let world = setup.start().await;
    let mut held = Vec::new();
    for client in ["192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.8"] {
        let mut client = balancer(&world, Imap, for_client(client)).await;
        client.greet().await;
        held.push(client);
    }
    assert_eq!(balancer(&world, Imap, for_client("192.0.2.7")).await.rest().await, "");
    let mut other = balancer(&world, Imap, for_client("192.0.2.9")).await;
    other.greet().await;
}
