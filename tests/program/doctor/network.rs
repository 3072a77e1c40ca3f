//! Faults of the network between Gatepost and Microsoft, and of the clock.

use gatepost_sandbox::{CertificateFault, EntraMode, Service, UpstreamMode};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::support::{SCANNER, World, app_only, fault, play, ten_minutes_later};
use crate::common::port::free_port;

const FAILED: (&str, &str) = ("network", "failed");

fn imap(world: &World, mode: UpstreamMode) {
    world.sandbox.set_upstream_mode(Service::Imap, mode);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_network() {
    play(
        &app_only(&[SCANNER]),
        vec![
            fault(
                |world| {
                    let port = world.sandbox.imap().port();
                    world.replace(&format!("localhost:{port}"), "nowhere.invalid:993");
                },
                FAILED,
                "nowhere.invalid",
                "DNS",
            ),
            fault(
                |world| {
                    let port = world.sandbox.smtp().port();
                    world.replace(&format!("localhost:{port}"), &format!("localhost:{}", free_port()));
                },
                FAILED,
                "refused",
                "",
            ),
            fault(
                |world| imap(world, UpstreamMode::BadCertificate(CertificateFault::UntrustedAuthority)),
                FAILED,
                "issued by",
                "trust.additional_ca",
            ),
            fault(|world| imap(world, UpstreamMode::BadCertificate(CertificateFault::Expired)), FAILED, "expired", ""),
            fault(
                |world| {
                    let port = world.sandbox.smtp().port();
                    world.replace(
                        &format!("upstream: 'localhost:{port}'"),
                        &format!("upstream: 'localhost:{port}', upstream_tls: implicit"),
                    );
                },
                FAILED,
                "greets in plain text",
                "remove `upstream_tls: implicit`",
            ),
            fault(
                |world| {
                    let yaml = world.read();
                    world.write(&format!("{yaml}forward_proxy: {{url: 'http://127.0.0.1:{}'}}\n", free_port()));
                },
                FAILED,
                "proxy",
                "forward_proxy.url",
            ),
            fault(|world| world.sandbox.set_entra_mode(EntraMode::Html), ("entra", "failed"), "not one of Entra's", ""),
            fault(
                |world| {
                    let ca = rcgen::generate_simple_self_signed(vec!["another".to_owned()]).unwrap();
                    world.directory.write("ca.pem", ca.cert.pem());
                },
                FAILED,
                "issued by",
                "trust.additional_ca",
            ),
            fault(ten_minutes_later, ("host", "warning"), "behind Entra, tokens still work", "time service"),
        ],
    )
    .await;
}

/// A proxy that answers so to CONNECT to the port `refused`, or to any port, and relays all other
/// connections. Returns its port.
fn proxy(refused: Option<u16>, answer: &'static str) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let wanted = head.split([':', ' ']).nth(2).and_then(|port| port.parse().ok());
                if refused.is_none() || refused == wanted {
                    return client.write_all(answer.as_bytes()).await;
                }
                let mut server = TcpStream::connect(("localhost", wanted.unwrap_or_default())).await?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    port
}

fn through(world: &World, proxy: u16, more: &str) {
    let yaml = world.read();
    world.write(&format!("{yaml}forward_proxy: {{url: 'http://127.0.0.1:{proxy}'{more}}}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_proxy() {
    const WANTS_BASIC: &str = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\
                               Content-Length: 0\r\n\r\n";
    play(
        &app_only(&[SCANNER]),
        vec![
            fault(|world| through(world, proxy(None, WANTS_BASIC), ""), FAILED, "407", "forward_proxy.authentication"),
            fault(
                |world| {
                    let more = ", authentication: basic, username: svc, password: wrong";
                    through(world, proxy(None, WANTS_BASIC), more);
                },
                FAILED,
                "407",
                "forward_proxy.username",
            ),
            fault(
                |world| {
                    let smtp = world.sandbox.smtp().port();
                    through(world, proxy(Some(smtp), "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "");
                },
                FAILED,
                "403",
                "allow CONNECT to localhost:",
            ),
            fault(
                |world| {
                    let smtp = world.sandbox.smtp().port();
                    through(world, proxy(Some(smtp), "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "");
                },
                ("mailboxes", "ok"),
                "IMAP: INBOX has 5 messages",
                "",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_skips_what_needs_it() {
    let world = World::new().await;
    imap(&world, UpstreamMode::Refuse);
    let report = world.examine(&[], "");
    report.expect(("mailboxes", "skipped"), "IMAP (network)", "");
    report.expect(("mailboxes", "ok"), "POP3: INBOX has 5 messages", "");
    world.sandbox.set_entra_mode(EntraMode::Down);
    let report = world.examine(&[], "");
    report.expect(("entra", "skipped"), "Entra cannot be reached (network)", "");
    report.expect(("mailboxes", "skipped"), "network", "");
    report.expect(("host", "skipped"), "clock not compared", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_sign_in_is_known_without_entra() {
    let accounts = "  - {login: anna@contoso.example, grant: device_code}\n";
    play(
        accounts,
        vec![fault(
            |world| world.sandbox.set_entra_mode(EntraMode::Down),
            ("entra", "failed"),
            "nobody has signed in",
            "gatepost login anna@contoso.example",
        )],
    )
    .await;
}
