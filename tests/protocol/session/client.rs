//! What clients do wrong, by accident or on purpose. Nothing of it opens a connection to Microsoft,
//! and nothing of it is noticed by anybody else.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::directory::Directory;
use crate::session::support::{
    ALICE, ALICES, Client, PROTOCOLS, Setup, World, connector, is_accepted, offering, plain, service,
};

use MailProtocol::{Imap, Pop3, Smtp};

/// How many connections the upstreams have seen and how often Entra was asked.
fn outside(world: &World) -> (u64, u64) {
    (world.upstream_connections(), world.sandbox.counters().http_requests)
}

/// All that is said to somebody who says this and nothing more.
async fn answer(address: SocketAddr, protocol: MailProtocol, said: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(address, protocol).await;
    let greeting = client.line().await.unwrap();
    client.send(said).await;
    client.finish().await;
    let rest = client.rest().await;
    assert!(!greeting.is_empty());
    rest
}

#[tokio::test]
async fn an_http_request_gets_no_reply() {
    let world = World::new().await;
    let before = outside(&world);
    for protocol in PROTOCOLS {
        let address = world.address(protocol.name());
        for request in [
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            format!("POST /x HTTP/1.1\r\n\r\na LOGIN {ALICE} {ALICES}\r\nUSER {ALICE}\r\nPASS {ALICES}\r\n"),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "CONNECT mail.example:25 HTTP/1.1\r\n\r\n".to_owned(),
        ] {
            assert_eq!(answer(address, protocol, &request).await, "", "{protocol:?}: {request}");
        }
    }
    assert_eq!(outside(&world), before);
    assert!(world.log.has("cause=http"));
}

#[tokio::test]
async fn garbage() {
    let world = World::new().await;
    let before = outside(&world);
    let mut state = 7_u64;
    let mut noise = |bytes: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..bytes).map(|_| next()).collect()
    };
    for protocol in PROTOCOLS {
        let address = world.address(protocol.name());
        for size in [1, 10, 100, 1_000, 10_000, 100_000] {
            let rest = answer(address, protocol, noise(size)).await;
            assert!(rest.len() < 1_000, "{protocol:?}: {rest}");
        }
        for said in [
            "\0\0\0\0\r\n",
            "\r\n\r\n\r\n\r\n\r\n\r\n",
            "\n\n\n\n",
            "\x16\x03\x01\x02\0\x01\0\x01\x7c",
            "=\r\n*\r\n+\r\n",
        ] {
            answer(address, protocol, said).await;
        }
        world.session(protocol, ALICE, ALICES).await.works().await;
    }
    assert_eq!(outside(&world), (before.0 + 3, before.1 + 1), "only the three logins");
}

#[tokio::test]
async fn lines_and_literals_beyond_their_bounds() {
    let world = World::new().await;
    let before = outside(&world);
    let x = "x".repeat(200_000);
    for (protocol, said, reply) in [
        (Imap, format!("a LOGIN {x}"), "* BAD Command line too long\r\n"),
        (Imap, format!("a AUTHENTICATE PLAIN {x}"), "* BAD Command line too long\r\n"),
        (Imap, format!("a LOGIN {ALICE} {{100000+}}\r\n{x}"), "* BYE [TOOBIG] Literal too large\r\n"),
        (Imap, format!("a LOGIN {ALICE} {{4097}}\r\n"), "a BAD Literal too large\r\n"),
        (Imap, format!("a LOGIN {ALICE} {{99999999999999999999}}\r\n"), "a BAD Literal too large\r\n"),
        (Pop3, format!("USER {x}"), "-ERR Line too long\r\n"),
        (Pop3, format!("AUTH PLAIN {x}"), "-ERR Line too long\r\n"),
        (Smtp, format!("EHLO {x}"), "500 5.5.2 Line too long\r\n"),
        (Smtp, format!("AUTH PLAIN {x}"), "500 5.5.2 Line too long\r\n"),
    ] {
        let rest = answer(world.address(protocol.name()), protocol, &said).await;
        assert_eq!(rest, reply, "{}", &said[..40]);
    }
    assert_eq!(outside(&world), before);
}

#[tokio::test]
async fn names_and_passwords_with_controls() {
    let world = World::new().await;
    let before = outside(&world);
    let wrong = |reply: &str, protocol, cause| world.was_refused(protocol, reply, Refusal::InvalidCredentials, cause);
    for control in ["\0", "\x01", "\r", "\n", "\r\n", "\x7f", " "] {
        let name = format!("alice{control}@contoso.example");
        // A blank may be part of an alias, but there is none like this.
        let of_name = if control == " " { "unknown-account" } else { "bad-name" };
        for protocol in PROTOCOLS {
            let mut client = world.client(protocol).await;
            let command = match protocol {
                Imap => "a AUTHENTICATE PLAIN ",
                Pop3 | Smtp => "AUTH PLAIN ",
            };
            let end = if protocol == Imap { "a " } else { "" };
            let reply = client.ask(&format!("{command}{}", plain(&name, ALICES)), end).await;
            if control == "\0" {
                // It divides the fields of PLAIN: what follows it counts as the password, which
                // cannot hold another.
                wrong(&reply, protocol, "bad-password");
            } else {
                wrong(&reply, protocol, of_name);
            }
            if !matches!(control, " " | "\x7f" | "\0") {
                let reply = client.ask(&format!("{command}{}", plain(ALICE, &format!("a{control}b"))), end).await;
                wrong(&reply, protocol, "bad-password");
            }
        }
        // Literals carry everything but NUL.
        if control != "\0" {
            let mut client = world.client(Imap).await;
            let said = format!("a LOGIN {{{}+}}\r\n{name} {ALICES}", name.len());
            let reply = client.ask(&said, "a ").await;
            wrong(&reply, Imap, of_name);
        }
    }
    assert_eq!(outside(&world), before);
    assert!(!world.log.bytes().iter().any(|b| b.is_ascii_control() && *b != b'\n'), "the log has no controls");
}

/// Two listeners with TLS for each mail protocol, `imap-starttls` and `imap-implicit` and so on, and
/// `ews-implicit` and `graph-implicit`; and their certificate.
pub(super) async fn with_tls(limits: &'static str) -> (World, String) {
    with_tls_and(limits, "").await
}

/// The same with further keys of each listener with STARTTLS.
async fn with_tls_and(limits: &'static str, starttls_keys: &str) -> (World, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = Directory::new();
    let files = [directory.file("c.pem"), directory.file("c.key")];
    let [certificate, key] = files.each_ref().map(|path| path.display());
    fs::write(&files[0], made.cert.pem()).unwrap();
    fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
    let mut listeners = String::new();
    for protocol in ["imap", "pop3", "smtp", "ews", "graph"] {
        for tls in ["starttls", "implicit"] {
            if tls == "starttls" && matches!(protocol, "ews" | "graph") {
                continue;
            }
            let keys = if tls == "starttls" { starttls_keys } else { "" };
            listeners.push_str(&format!(
                "\n  {protocol}-{tls}: {{protocol: {protocol}, bind: '127.0.0.1:0', upstream: 'localhost:{{{protocol}}}', tls: {tls}, certificate: '{certificate}', private_key: '{key}'{keys}}}"
            ));
        }
    }
    (Setup { listeners, limits, ..Setup::default() }.start().await, made.cert.pem())
}

pub(super) fn starttls(protocol: MailProtocol) -> (&'static str, &'static str) {
    match protocol {
        Imap => ("a STARTTLS", "a OK"),
        Pop3 => ("STLS", "+OK"),
        Smtp => ("STARTTLS", "220 "),
    }
}

/// Logins from loopback are accepted before STARTTLS.
const ALSO_PLAINTEXT: &str = ", allow_plaintext_from: 127.0.0.0/8";

#[tokio::test]
async fn starttls_forgets_what_was_said_before() {
    let (world, pem) = with_tls_and("", ALSO_PLAINTEXT).await;
    for protocol in PROTOCOLS {
        let (command, end) = starttls(protocol);
        let listener = format!("{}-starttls", protocol.name());
        let mut client = Client::connect(world.address(&listener), protocol).await;
        client.greet().await;
        if protocol == Pop3 {
            client.ask(&format!("USER {ALICE}"), "+OK").await;
        }
        client.ask(command, end).await;
        let mut client = client.start_tls(&pem).await;
        match protocol {
            Imap => assert!(client.ask("b STARTTLS", "b ").await.starts_with("b BAD")),
            Pop3 => {
                assert!(client.ask(&format!("PASS {ALICES}"), "").await.starts_with("-ERR"));
                assert!(client.ask("STLS", "").await.starts_with("-ERR"));
            }
            Smtp => {
                assert!(client.ask("STARTTLS", "").await.starts_with("503"));
                client.ask("EHLO client.example", "250 ").await;
            }
        }
        let heard = String::from_utf8(client.heard.clone()).unwrap();
        assert_eq!(heard.matches("-STARTTLS").count(), usize::from(protocol == Smtp), "only before TLS: {heard}");
        let reply = client.log_in(ALICE, ALICES).await;
        assert!(is_accepted(protocol, &reply), "{reply}");
        client.works().await;

        let socket = TcpStream::connect(world.address(&format!("{}-implicit", protocol.name()))).await.unwrap();
        let mut client = Client::over(socket, protocol).start_tls(&pem).await;
        client.greet().await;
        assert!(is_accepted(protocol, &client.log_in(ALICE, ALICES).await));
        client.works().await;
    }
}

/// What comes from loopback may be a program that forwards for other machines.
#[tokio::test]
async fn with_starttls_a_login_without_tls_is_accepted_from_nobody_unless_it_is_written() {
    let client = async |world: &World, protocol: MailProtocol| {
        let mut client = Client::connect(world.address(&format!("{}-starttls", protocol.name())), protocol).await;
        client.greet().await;
        client
    };
    let (world, _) = with_tls("").await;
    for protocol in PROTOCOLS {
        let (login, end) = match protocol {
            Imap => (format!("a LOGIN {ALICE} {ALICES}"), "a "),
            Pop3 => (format!("USER {ALICE}"), ""),
            Smtp => (format!("AUTH PLAIN {}", plain(ALICE, ALICES)), ""),
        };
        let reply = client(&world, protocol).await.ask(&login, end).await;
        assert!(["a NO", "-ERR", "538", "530"].iter().any(|refusal| reply.starts_with(refusal)), "{reply}");
    }
    assert_eq!(world.sandbox.counters().http_requests, 0, "no password was tried");
    let (world, _) = with_tls_and("", ALSO_PLAINTEXT).await;
    for protocol in PROTOCOLS {
        let reply = client(&world, protocol).await.log_in(ALICE, ALICES).await;
        assert!(is_accepted(protocol, &reply), "{reply}");
    }
}

#[tokio::test]
async fn octets_behind_starttls_end_the_connection() {
    let (world, _) = with_tls("").await;
    let before = outside(&world);
    for protocol in PROTOCOLS {
        let (command, end) = starttls(protocol);
        let address = world.address(&format!("{}-starttls", protocol.name()));
        let injected = format!("b LOGIN {ALICE} {ALICES}\r\nUSER {ALICE}\r\nPASS {ALICES}\r\n");
        let mut client = Client::connect(address, protocol).await;
        client.greet().await;
        client.send(format!("{command}\r\n{injected}")).await;
        let rest = client.rest().await;
        assert!(rest.starts_with(end) && rest.lines().count() == 1, "same segment: {rest}");
        let mut client = Client::connect(address, protocol).await;
        client.greet().await;
        client.ask(command, end).await;
        client.send(&injected).await;
        let rest = client.rest().await;
        assert!(!rest.contains("OK") && !rest.contains("ERR"), "next segment: {rest}");
        // Where TLS comes first, there is nothing else.
        let mut client = Client::connect(world.address(&format!("{}-implicit", protocol.name())), protocol).await;
        client.send(&injected).await;
        let rest = client.rest().await;
        assert!(!rest.contains("OK") && !rest.contains("ERR"), "{rest}");
    }
    assert_eq!(outside(&world), before);
    assert!(world.log.has("cause=bytes-behind-starttls") && world.log.has("cause=plaintext-on-tls-port"));
}

#[tokio::test]
async fn slow_clients_are_told_that_it_took_too_long() {
    let (world, _) = with_tls("  tls_handshake: 200ms").await;
    let mut silent = Client::connect(world.address("imap-implicit"), Imap).await;
    assert_eq!(silent.rest().await, "");
    assert!(world.log.has("cause=tls-timeout"));

    let world = Setup::limits("  command: 300ms\n  pre_auth: 2s").start().await;
    let before = outside(&world);
    let bye = |protocol| match protocol {
        Imap => "* BYE That took too long\r\n",
        Pop3 => "",
        Smtp => "421 4.4.2 That took too long\r\n",
    };
    for protocol in PROTOCOLS {
        // Says nothing at all.
        let mut client = Client::connect(world.address(protocol.name()), protocol).await;
        client.line().await;
        assert_eq!(client.rest().await, bye(protocol));
        // Says a command octet by octet, and never ends it.
        let mut client = Client::connect(world.address(protocol.name()), protocol).await;
        client.line().await;
        let timeouts = || world.log.lines(|line| line.contains("cause=timeout")).len();
        let so_far = timeouts();
        for sent in 0.. {
            if timeouts() > so_far {
                break;
            }
            assert!(sent < 2_000, "an octet now and then is not enough");
            client.send("x").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(client.rest().await, bye(protocol));
    }
    assert_eq!(outside(&world), before);
}

/// The time for a command runs from its first octet: somebody who thinks between two commands is
/// not in the middle of one.
#[tokio::test]
async fn a_pause_between_commands_is_not_a_slow_command() {
    let world = Setup::limits("  command: 500ms\n  pre_auth: 60s").start().await;
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        if protocol != Smtp {
            client
                .ask(if protocol == Imap { "c NOOP" } else { "CAPA" }, if protocol == Imap { "c OK" } else { "." })
                .await;
        }
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert!(is_accepted(protocol, &client.log_in(ALICE, ALICES).await));
    }
    // A command that has begun is not waited for so long.
    let mut client = world.client(Imap).await;
    client.ask("c NOOP", "c OK").await;
    client.send("d NO").await;
    assert_eq!(client.rest().await, "* BYE That took too long\r\n");
}

/// A whole login as a client sends it without waiting for replies.
fn recorded(protocol: MailProtocol) -> Vec<String> {
    let (user, password) = (ALICE.len(), ALICES.len());
    match protocol {
        Imap => vec![
            format!("a CAPABILITY\r\nb ID NIL\r\nc LOGIN {{{user}+}}\r\n{ALICE} {{{password}+}}\r\n{ALICES}\r\n"),
            format!("a AUTHENTICATE PLAIN\r\n{}\r\n", plain(ALICE, ALICES)),
        ],
        Pop3 => vec![
            format!("CAPA\r\nUSER {ALICE}\r\nPASS {ALICES}\r\n"),
            format!("AUTH PLAIN\r\n{}\r\n", plain(ALICE, ALICES)),
        ],
        Smtp => vec![
            format!("EHLO client.example\r\nAUTH PLAIN {}\r\n", plain(ALICE, ALICES)),
            "EHLO x\r\nAUTH LOGIN\r\nYWxpY2VAY29udG9zby5leGFtcGxl\r\nY29ycmVjdC1ob3JzZS1iYXR0ZXJ5\r\n".to_owned(),
        ],
    }
}

/// However far somebody gets who does not finish a login: nobody outside hears of it.
#[tokio::test]
async fn a_client_that_leaves_after_any_octet() {
    let world = World::new().await;
    let mut neighbour = world.session(Imap, ALICE, ALICES).await;
    let before = outside(&world);
    for protocol in PROTOCOLS {
        let address = world.address(protocol.name());
        for login in recorded(protocol) {
            let before = outside(&world);
            for octets in 0..login.len() {
                let mut client = Client::connect(address, protocol).await;
                client.send(&login[..octets]).await;
                client.finish().await;
                client.rest().await;
                // The same with a connection that breaks; nobody can wait for what the other side
                // makes of it.
                let broken = TcpStream::connect(address).await.unwrap();
                broken.writable().await.unwrap();
                let _sent = broken.try_write(&login.as_bytes()[..octets]);
                broken.set_zero_linger().unwrap();
            }
            assert_eq!(outside(&world), before, "{protocol:?}: {login}");
            // All of it is a login.
            let mut client = Client::connect(address, protocol).await;
            client.send(&login).await;
            let done = [(Imap, "c OK"), (Pop3, "+OK Logged"), (Smtp, "235 ")];
            let mut heard = String::new();
            while !done.iter().any(|(of, end)| *of == protocol && heard.starts_with(end))
                && !heard.starts_with("a OK [")
            {
                heard = client.line().await.unwrap();
            }
            client.works().await;
        }
        neighbour.works().await;
    }
    let now = outside(&world);
    assert_eq!(now, (before.0 + 6, before.1));
    world.stop.drain();
    drop(neighbour);
    assert_eq!(world.serving.await.unwrap(), 0, "no session is left over");
    assert_eq!(world.sandbox.counters().connections.values().sum::<u64>(), now.0);
}

/// Commands that come with the login are the upstream's when it succeeds, and Gatepost's when it
/// fails; never both.
#[tokio::test]
async fn commands_behind_a_login() {
    let world = World::new().await;
    let message = "Subject: x\r\n\r\nhello\r\n.\r\n";
    for (protocol, login, more, ends) in [
        (
            Imap,
            format!("a LOGIN {ALICE} \"PASSWORD\"\r\n"),
            "b SELECT INBOX\r\nc STATUS INBOX (MESSAGES)\r\nd LOGOUT\r\n".to_owned(),
            ["b OK", "c OK", "d OK"],
        ),
        (
            Pop3,
            format!("USER {ALICE}\r\nPASS PASSWORD\r\n"),
            "STAT\r\nUIDL\r\nQUIT\r\n".to_owned(),
            ["+OK", ".", "+OK"],
        ),
        (
            Smtp,
            "AUTH PLAIN BASE64\r\n".to_owned(),
            format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<x@elsewhere.example>\r\nDATA\r\n{message}QUIT\r\n"),
            ["250 2.1.0", "354", "221"],
        ),
    ] {
        let said = |password: &str| {
            let login = login.replace("PASSWORD", password).replace("BASE64", &plain(ALICE, password));
            format!("{login}{more}")
        };
        let mut client = world.client(protocol).await;
        client.send(said(ALICES)).await;
        for end in ends {
            client.hear(end).await;
        }
        client.rest().await;

        let before = world.upstream_connections();
        let mut client = world.client(protocol).await;
        client.send(said("wrong")).await;
        client.finish().await;
        let rest = client.rest().await;
        let refused = crate::session::support::refused_words(protocol, Refusal::InvalidCredentials);
        assert!(rest.contains(&refused), "{rest}");
        let told = match protocol {
            Imap => ["b BAD", "c BAD", "BYE"],
            Pop3 => ["-ERR", "-ERR", "-ERR"],
            Smtp => ["530 ", "530 ", "530 "],
        };
        assert!(told.iter().all(|reply| rest.contains(reply)), "{rest}");
        assert_eq!(world.upstream_connections(), before);
    }
    assert_eq!(world.sandbox.outbox().len(), 1);
}

/// More behind the login than is held meanwhile waits in the network, and nothing of it is lost.
#[tokio::test]
async fn much_behind_a_login() {
    let world = World::new().await;
    let mut client = world.client(Imap).await;
    let mut said = format!("a LOGIN {ALICE} {ALICES}\r\n");
    for n in 0..4_000 {
        said.push_str(&format!("n{n} NOOP\r\n"));
    }
    client.send(said).await;
    client.hear("a OK").await;
    for n in 0..4_000 {
        assert!(client.line().await.unwrap().starts_with(&format!("n{n} OK")));
    }
}

#[tokio::test]
async fn each_end_of_a_session_hears_of_the_other() {
    let world = World::new().await;
    let open = |protocol| {
        let counters = world.sandbox.counters();
        counters.open_connections.get(&service(protocol)).copied().unwrap_or(0)
    };
    for protocol in PROTOCOLS {
        // The client says goodbye and ends its direction: it still hears the answer.
        let mut client = world.session(protocol, ALICE, ALICES).await;
        client.send(if protocol == Imap { "z LOGOUT\r\n" } else { "QUIT\r\n" }).await;
        client.finish().await;
        assert!(!client.rest().await.is_empty());
        // The client is gone.
        drop(world.session(protocol, ALICE, ALICES).await);
        world.until("the upstream's side is closed", || open(protocol) == 0).await;
    }
    // The upstream is gone.
    let mut sessions = Vec::new();
    for protocol in PROTOCOLS {
        sessions.push(world.session(protocol, ALICE, ALICES).await);
    }
    let World { sandbox, .. } = world;
    sandbox.shutdown().await;
    for mut session in sessions {
        session.rest().await;
    }
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

#[tokio::test]
async fn a_client_of_another_protocol_does_not_get_through_the_handshake() {
    let (world, pem) = with_tls("").await;
    for protocol in PROTOCOLS {
        let name = protocol.name();
        let address = world.address(&format!("{name}-implicit"));
        for (offers, taken) in [
            (&["h2", "http/1.1"][..], false),
            (&["ftp"], false),
            (&["h2", name], true),
            // Who says nothing is a mail program as most are.
            (&[], true),
        ] {
            let socket = TcpStream::connect(address).await.unwrap();
            match offering(&pem, offers).connect(localhost(), socket).await {
                Ok(stream) => {
                    let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                    assert_eq!((taken, chosen), (true, (!offers.is_empty()).then(|| name.into())), "{name} {offers:?}");
                }
                Err(error) => {
                    let told = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
                    let refused = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
                    assert_eq!((taken, told), (false, Some(&refused)), "{name} {offers:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn who_ends_before_the_login_is_told_the_end_in_return() {
    let (world, pem) = with_tls("").await;
    for protocol in PROTOCOLS {
        let address = world.address(&format!("{}-implicit", protocol.name()));
        let bye: &[u8] = if protocol == Imap { b"a LOGOUT\r\n" } else { b"QUIT\r\n" };
        // More than the commands that a client has before its login.
        let nonsense = b"xyzzy plugh\r\n".repeat(30);
        for (said, client_ends) in
            [(&b""[..], true), (b"xyzzy plugh\r\n", true), (b"half a li", true), (bye, false), (&nonsense, false)]
        {
            let socket = TcpStream::connect(address).await.unwrap();
            let mut stream = connector(&pem).connect(localhost(), socket).await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.flush().await.unwrap();
            if client_ends {
                stream.shutdown().await.unwrap();
            }
            // Without close_notify it is an error (`UnexpectedEof`).
            let mut heard = Vec::new();
            let ended = stream.read_to_end(&mut heard).await;
            assert!(ended.is_ok(), "{protocol:?} {}: {ended:?}", said.escape_ascii());
        }
    }
}
