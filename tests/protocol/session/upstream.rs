//! What an upstream does wrong. The client hears Gatepost's own words, never the upstream's; a
//! token goes only to a server that has proved who it is; and other sessions do not notice.

use std::future::Future;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost::session::capabilities::keep_learning;
use gatepost::session::upstream::Target;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{Attempts, CertificateFault, UpstreamMode};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::session::support::{ALICE, ALICES, BOB, BOBS, PROTOCOLS, Setup, World, is_accepted, service};

use MailProtocol::{Imap, Pop3, Smtp};

/// A service fails in this way: its clients are refused, and everybody else goes on.
async fn fails(world: &World, protocol: MailProtocol, mode: UpstreamMode, refusal: Refusal, cause: &str) {
    // One session with the service itself, and one with each of the others.
    let mut neighbours = Vec::new();
    for other in PROTOCOLS {
        neighbours.push(world.session(other, BOB, BOBS).await);
    }
    world.sandbox.set_upstream_mode(service(protocol), mode);
    let mut client = world.client(protocol).await;
    let reply = client.log_in(ALICE, ALICES).await;
    world.was_refused(protocol, &reply, refusal, cause);
    for neighbour in &mut neighbours {
        neighbour.works().await;
    }
    // It is the upstream's fault, not this connection's: once it is over, the same client gets in.
    world.sandbox.set_upstream_mode(service(protocol), UpstreamMode::Normal);
    let reply = client.log_in(ALICE, ALICES).await;
    assert!(is_accepted(protocol, &reply), "{mode:?}: {reply}");
    client.works().await;
}

#[tokio::test]
async fn it_refuses_connections() {
    let world = World::new().await;
    fails(&world, Imap, UpstreamMode::Refuse, Refusal::Unavailable, "upstream-tls-failed").await;
    fails(&world, Pop3, UpstreamMode::Refuse, Refusal::Unavailable, "upstream-tls-failed").await;
    fails(&world, Smtp, UpstreamMode::Refuse, Refusal::Unavailable, "upstream-broke").await;
}

#[tokio::test]
async fn nobody_listens_there() {
    let free = crate::common::port::free_address();
    let listeners = format!(
        "\n  imap: {{bind: '127.0.0.1:0', upstream: '{free}'}}\n  pop3: {{bind: '127.0.0.1:0', upstream: 'localhost:{{pop3}}'}}\n  smtp: {{bind: '127.0.0.1:0', upstream: 'no-such-host.invalid:587'}}"
    );
    let world = Setup { listeners, limits: "  resolve: 1s", ..Setup::default() }.start().await;
    world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "upstream-unreachable").await;
    world.refuses(Smtp, ALICE, ALICES, Refusal::Unavailable, "name-not-resolved").await;
    world.session(Pop3, ALICE, ALICES).await.works().await;
}

#[tokio::test]
async fn it_hangs() {
    let world = Setup::limits("  connect: 2s\n  connect_attempt: 2s\n  upstream_login: 2s").start().await;
    for protocol in PROTOCOLS {
        fails(&world, protocol, UpstreamMode::Hang, Refusal::Unavailable, "upstream-timeout").await;
    }
}

#[tokio::test]
async fn it_greets_with_preauth() {
    let world = World::new().await;
    fails(&world, Imap, UpstreamMode::Preauth, Refusal::Unavailable, "preauth").await;
}

#[tokio::test]
async fn it_offers_no_starttls() {
    let world = World::new().await;
    fails(&world, Smtp, UpstreamMode::NoStartTls, Refusal::Unavailable, "no-starttls").await;
}

#[tokio::test]
async fn it_speaks_before_tls() {
    let world = World::new().await;
    fails(&world, Imap, UpstreamMode::SpeaksBeforeTls, Refusal::Unavailable, "upstream-tls-failed").await;
    fails(&world, Pop3, UpstreamMode::SpeaksBeforeTls, Refusal::Unavailable, "upstream-tls-failed").await;
    fails(&world, Smtp, UpstreamMode::SpeaksBeforeTls, Refusal::Unavailable, "data-before-tls").await;
}

#[tokio::test]
async fn it_shows_a_bad_certificate() {
    let world = World::new().await;
    for fault in [CertificateFault::UntrustedAuthority, CertificateFault::WrongName, CertificateFault::Expired] {
        for protocol in PROTOCOLS {
            let before = world.sandbox.counters().logins_of(service(protocol), ALICE);
            let mode = UpstreamMode::BadCertificate(fault);
            fails(&world, protocol, mode, Refusal::Unavailable, "bad-certificate").await;
            let after = world.sandbox.counters().logins_of(service(protocol), ALICE);
            assert_eq!(after, Attempts { succeeded: before.succeeded + 1, ..before }, "no token was shown to it");
        }
        // Whose root it is that is missing, and where it belongs.
        let named = |line: &str| line.contains("was issued by `") && line.contains("`trust.destinations`");
        // Those of the first fault, and of it alone.
        let lines = world.log.lines(|line| line.contains("outcome=refused") && named(line)).len();
        assert_eq!(lines, PROTOCOLS.len(), "{fault:?}");
    }
}

#[tokio::test]
async fn it_says_goodbye_or_come_back_later() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        for mode in [UpstreamMode::Bye, UpstreamMode::Unavailable] {
            fails(&world, protocol, mode, Refusal::Unavailable, "upstream-unavailable").await;
        }
    }
}

/// It refuses the name in EHLO, which is the one of the configuration, as in the greeting.
#[tokio::test]
async fn it_does_not_take_the_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&said);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let hears = Arc::clone(&hears);
            tokio::spawn(async move {
                socket.write_all(b"220 AM3PR05CA0094 Microsoft ESMTP MAIL Service ready\r\n").await.ok()?;
                let (mut socket, mut line) = (BufReader::new(socket), String::new());
                socket.read_line(&mut line).await.ok()?;
                hears.lock().ok()?.push(line);
                socket.write_all(b"501 5.5.4 Invalid domain name\r\n").await.ok()
            });
        }
    });
    let world = Setup {
        listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', upstream: 'localhost:{port}'}}"),
        sections: "server_name: gate.contoso.example".to_owned(),
        ..Setup::default()
    }
    .start()
    .await;
    let mut client = world.client(Smtp).await;
    assert!(String::from_utf8_lossy(&client.heard).starts_with("220 gate.contoso.example ESMTP Gatepost"));
    let reply = client.log_in(ALICE, ALICES).await;
    world.was_refused(Smtp, &reply, Refusal::ContactAdmin, "ehlo-refused");
    let told = world.log.lines(|line| line.contains("outcome=refused"));
    assert!(told[0].contains("`501 5.5.4 Invalid domain name`") && told[0].contains("set `server_name`"), "{told:?}");
    assert!(said.lock().unwrap().iter().all(|line| line == "EHLO gate.contoso.example\r\n"), "{said:?}");

    let changed = world.reload(|yaml| yaml.replace("gate.contoso.example", "other.example")).await.unwrap_err();
    assert!(changed.to_string().contains("server_name"), "{changed}");
}

/// IMAP and POP3 tell it apart from a token that is not taken; SMTP does not. None of it is the
/// password's fault.
#[tokio::test]
async fn it_takes_the_token_but_not_the_mailbox() {
    for (protocol, refusal, cause) in [
        (Imap, Refusal::ContactAdmin, "mailbox-not-connected"),
        (Pop3, Refusal::ContactAdmin, "mailbox-not-connected"),
        (Smtp, Refusal::ContactAdmin, "token-refused"),
    ] {
        let world = World::new().await;
        fails(&world, protocol, UpstreamMode::NotConnected, refusal, cause).await;
    }
}

/// An upstream with a certificate that is trusted, which does to one connection what `act` does.
pub(crate) async fn scripted<A, F>(setup: Setup, act: A) -> World
where
    A: Fn(Upstream) -> F + Send + Sync + 'static,
    F: Future<Output = Option<()>> + Send + 'static,
{
    let (port, trust) = scripted_server(act).await;
    let listeners = format!(
        "\n  imap: {{bind: '127.0.0.1:0', upstream: 'localhost:{port}'}}\n  pop3: {{bind: '127.0.0.1:0', upstream: 'localhost:{{pop3}}'}}"
    );
    Setup { listeners, trust, ..setup }.start().await
}

/// Such an upstream alone: its port, where TLS is implicit, and its certificate.
pub(crate) async fn scripted_server<A, F>(act: A) -> (u16, String)
where
    A: Fn(Upstream) -> F + Send + Sync + 'static,
    F: Future<Output = Option<()>> + Send + 'static,
{
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config =
        ServerConfig::builder_with_provider(gatepost_net::tls::provider()).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let act = Arc::new(act);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, act) = (acceptor.clone(), Arc::clone(&act));
            tokio::spawn(async move {
                let stream = acceptor.accept(socket).await.ok()?;
                act(Upstream(BufReader::new(stream))).await
            });
        }
    });
    (port, made.cert.pem())
}

pub(crate) struct Upstream(BufReader<TlsStream<TcpStream>>);

impl Upstream {
    pub(crate) async fn say(&mut self, text: &str) -> Option<()> {
        self.0.write_all(text.as_bytes()).await.ok()?;
        self.0.flush().await.ok()
    }

    /// The next line without its end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    }

    /// The next command, as tag and rest.
    pub(crate) async fn command(&mut self) -> Option<(String, String)> {
        let line = self.line().await?;
        let (tag, rest) = line.split_once(' ')?;
        Some((tag.to_owned(), rest.to_owned()))
    }
}

/// A well-behaved IMAP server up to the answer to AUTHENTICATE, in which `TAG` stands for the tag
/// and `ECHO` for what was sent.
async fn answers(mut upstream: Upstream, greeting: &str, answer: &str) -> Option<()> {
    upstream.say(greeting).await?;
    loop {
        let (tag, command) = upstream.command().await?;
        if command.starts_with("AUTHENTICATE") {
            upstream.say(&answer.replace("TAG", &tag).replace("ECHO", &command)).await?;
        } else {
            let list = if command == "CAPABILITY" { "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR\r\n" } else { "" };
            upstream.say(&format!("{list}{tag} OK done\r\n")).await?;
        }
    }
}

/// An IMAP server that refuses every login in the words of the login, as they came and decoded;
/// what it was shown is gathered in both forms.
pub(crate) async fn echoing(setup: Setup, shown: Arc<Mutex<Vec<String>>>) -> World {
    scripted(setup, move |mut upstream| {
        let shown = Arc::clone(&shown);
        async move {
            upstream.say(GREETING).await?;
            loop {
                let (tag, command) = upstream.command().await?;
                let answer = match command.strip_prefix("AUTHENTICATE XOAUTH2 ") {
                    Some(message) => {
                        let decoded = String::from_utf8(STANDARD.decode(message).ok()?).ok()?;
                        let token = decoded.split("Bearer ").nth(1)?.trim_end_matches('\x01').to_owned();
                        let answer = format!("{tag} NO {message} was for {token}\r\n");
                        shown.lock().ok()?.extend([message.to_owned(), token]);
                        answer
                    }
                    None => format!("* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR\r\n{tag} OK done\r\n"),
                };
                upstream.say(&answer).await?;
            }
        }
    })
    .await
}

const GREETING: &str = "* OK ready\r\n";

#[tokio::test]
async fn its_words_are_not_passed_on() {
    let long = format!("* OK {}\r\n", "x".repeat(9_000));
    let many = "* OK more\r\n".repeat(200);
    for (greeting, answer, refusal, cause) in [
        (GREETING, "TAG NO [LIMIT] too many connections\r\n", Refusal::Limit, "upstream-limit"),
        (GREETING, "TAG NO injected (session AAAAAAAA)\r\n* OK x\r\n", Refusal::ContactAdmin, "token-refused"),
        (GREETING, "TAG NO ECHO\r\n", Refusal::ContactAdmin, "token-refused"),
        (GREETING, "zzz OK you are in\r\n", Refusal::Unavailable, "upstream-garbage"),
        (GREETING, "a OK you are in\r\n", Refusal::Unavailable, "upstream-garbage"),
        (GREETING, "* BYE go away\r\n", Refusal::Unavailable, "upstream-unavailable"),
        (GREETING, "TAG OK half a line", Refusal::Unavailable, "upstream-timeout"),
        (GREETING, "HTTP/1.1 400 Bad Request\r\n\r\n", Refusal::Unavailable, "upstream-garbage"),
        (&long, "TAG OK\r\n", Refusal::Unavailable, "upstream-garbage"),
        (&many, "TAG OK\r\n", Refusal::Unavailable, "upstream-garbage"),
        ("* OK bare\n", "TAG OK\r\n", Refusal::Unavailable, "upstream-garbage"),
        ("220 mail.example ESMTP\r\n", "TAG OK\r\n", Refusal::Unavailable, "upstream-garbage"),
    ] {
        let (greeting, answer) = (greeting.to_owned(), answer.to_owned());
        let shown = format!("{answer:?}");
        let limits = if cause == "upstream-timeout" { "  upstream_login: 1s" } else { "" };
        let world = scripted(Setup::limits(limits), move |upstream| {
            let (greeting, answer) = (greeting.clone(), answer.clone());
            async move { answers(upstream, &greeting, &answer).await }
        })
        .await;
        let mut neighbour = world.session(Pop3, BOB, BOBS).await;
        let mut client = world.client(Imap).await;
        let reply = client.log_in(ALICE, ALICES).await;
        world.was_refused(Imap, &reply, refusal, cause);
        neighbour.works().await;
        client.send("z LOGOUT\r\n").await;
        let rest = client.rest().await;
        assert!(rest.starts_with("* BYE") && rest.contains("z OK") && rest.lines().count() == 2, "{shown}: {rest}");
    }
}

/// What it says behind its reply to the login belongs to the session.
#[tokio::test]
async fn what_comes_with_its_success_is_passed_on() {
    let world = scripted(Setup::default(), |mut upstream| async move {
        upstream.say(GREETING).await?;
        while let Some((tag, command)) = upstream.command().await {
            let more = match command.as_str() {
                // The last that is asked before the client hears of its success.
                "NAMESPACE" => "* 3 EXISTS\r\n* 1 RECENT\r\n",
                _ => "",
            };
            let list = if command == "CAPABILITY" { "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR\r\n" } else { "" };
            upstream.say(&format!("{list}{tag} OK done\r\n{more}")).await?;
        }
        Some(())
    })
    .await;
    let mut client = world.session(Imap, ALICE, ALICES).await;
    assert_eq!(client.line().await.as_deref(), Some("* 3 EXISTS"));
    assert_eq!(client.line().await.as_deref(), Some("* 1 RECENT"));
}

#[tokio::test]
async fn before_the_login_a_client_is_told_what_the_upstream_can_do() {
    let world = World::new().await;
    for (protocol, asked, said) in
        [(Imap, "c CAPABILITY", " UIDPLUS"), (Pop3, "CAPA", "\r\nUIDL\r\n"), (Smtp, "EHLO client.example", "250-SIZE ")]
    {
        let mut client = world.client(protocol).await;
        let end = match protocol {
            Imap => "c OK",
            Pop3 => ".",
            Smtp => "250 ",
        };
        client.ask(asked, end).await;
        let heard = String::from_utf8_lossy(&client.heard).into_owned();
        assert!(heard.contains(said), "{protocol:?}: {heard}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_tell_what_it_can_do_is_asked_ever_more_seldom() {
    let world = Setup::limits("  connect: 1s\n  connect_attempt: 1s\n  upstream_login: 1s").start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, mut times) = tokio::sync::mpsc::unbounded_channel();
    let upstream = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            drop(socket);
            asked.send(Instant::now()).unwrap();
        }
    });
    let target = Target::new(gatepost_config::Upstream {
        protocol: Imap,
        host: "127.0.0.1".to_owned(),
        port,
        name: "localhost".to_owned(),
        tls: gatepost_config::UpstreamTls::Implicit,
        exchange: gatepost_proto::mail::TokenExchange::EXCHANGE_ONLINE,
    });
    tokio::time::pause();
    let learning = tokio::spawn(keep_learning(world.control.shared(), Arc::new(target.unwrap())));
    let mut last = times.recv().await.unwrap();
    for pause in [30, 60, 120, 240, 480] {
        let next = times.recv().await.unwrap();
        let waited = (next - last).as_secs();
        assert!((pause - 5..=pause + 5).contains(&waited), "{waited} s in place of {pause}");
        last = next;
    }
    learning.abort();
    upstream.abort();
}
