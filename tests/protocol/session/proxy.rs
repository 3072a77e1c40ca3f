//! The corporate proxy: what it may answer to CONNECT, and that nothing it answers reaches a mail
//! program.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::session::support::{ALICE, ALICES, BOB, BOBS, PROTOCOLS, Setup, World};

use MailProtocol::{Imap, Pop3, Smtp};

/// A connection to the proxy whose request has been read.
pub(crate) struct Request {
    socket: TcpStream,
    /// `host:port`.
    target: String,
    head: String,
}

impl Request {
    /// Says this and closes.
    pub(crate) async fn answer(mut self, answer: String) {
        let _gone = self.socket.write_all(answer.as_bytes()).await;
        let _gone = self.socket.shutdown().await;
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Leads to another place than was asked for.
    pub(crate) fn leading_to(mut self, target: String) -> Self {
        self.target = target;
        self
    }

    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// Says this and stays silent until the other side gives up.
    pub(crate) async fn answer_and_wait(mut self, answer: &str) {
        let _gone = self.socket.write_all(answer.as_bytes()).await;
        let _gone = self.socket.read(&mut [0]).await;
    }

    /// Connects; what the target says within its first segment comes with the reply, if it speaks
    /// first.
    pub(crate) async fn tunnel(mut self, speaks_first: bool) {
        let Ok(mut upstream) = TcpStream::connect(&self.target).await else { return };
        let mut reply = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 corp\r\n\r\n".to_vec();
        if speaks_first {
            let mut greeting = vec![0; 1_024];
            let read = upstream.read(&mut greeting).await.unwrap_or(0);
            reply.extend_from_slice(&greeting[..read]);
        }
        if self.socket.write_all(&reply).await.is_ok() {
            let _broke = copy_bidirectional(&mut self.socket, &mut upstream).await;
        }
    }
}

/// A proxy that does with each request what `act` does; its port.
pub(crate) async fn proxy<A, F>(act: A) -> u16
where
    A: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let act = Arc::new(act);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let act = Arc::clone(&act);
            tokio::spawn(async move {
                let mut reader = BufReader::new(socket);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                assert!(reader.buffer().is_empty(), "nothing may follow before the tunnel stands");
                act(Request { socket: reader.into_inner(), target, head }).await;
            });
        }
    });
    port
}

/// Mail goes through the proxy, and so do token requests unless `tokens_straight`.
fn through(port: u16, tokens_straight: bool) -> Setup {
    let microsoft = if tokens_straight { "  authority: https://127.0.0.1:{entra}/" } else { "" };
    let sections = format!("forward_proxy: {{url: 'http://127.0.0.1:{port}', no_proxy: [127.0.0.1]}}");
    let limits =
        "  connect_attempt: 2s\n  connect: 2s\n  connect_via_proxy: 2s\n  token_request: 2s\n  token_total: 2s";
    Setup { microsoft, sections, limits, ..Setup::default() }
}

#[tokio::test]
async fn everything_goes_through_it_and_no_greeting_is_lost() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let smtp = Arc::new(AtomicUsize::new(0));
    let smtp_port = Arc::clone(&smtp);
    let port = proxy(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        let speaks_first = request.target.ends_with(&format!(":{}", smtp_port.load(Ordering::Relaxed)));
        async move { request.tunnel(speaks_first).await }
    })
    .await;
    let world = through(port, false).start().await;
    smtp.store(usize::from(world.sandbox.smtp().port()), Ordering::Relaxed);
    let learned = asked.load(Ordering::Relaxed);
    assert_eq!(learned, 3);
    for protocol in PROTOCOLS {
        world.session(protocol, ALICE, ALICES).await.works().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), learned + 4, "three mailboxes and one token");
}

/// What a proxy answers, and what the log calls it.
fn answers() -> [(&'static str, String, &'static str); 9] {
    let long = "x".repeat(20_000);
    [
        ("403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbidden".into(), "proxy-refused"),
        (
            "407",
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\nlog in".into(),
            "proxy-authentication",
        ),
        ("502", "HTTP/1.0 502 Bad Gateway\r\n\r\n<html>* OK injected\r\n</html>".into(), "proxy-refused"),
        ("302", "HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\n\r\n".into(), "proxy-refused"),
        ("garbage", "SSH-2.0-OpenSSH_9.9\r\n".into(), "proxy-refused"),
        ("mail", "* OK [CAPABILITY IMAP4rev1] a mail server\r\n".into(), "proxy-refused"),
        ("endless", format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n"), "proxy-refused"),
        ("half", "HTTP/1.1 200 O".into(), "proxy-refused"),
        ("nothing", String::new(), "proxy-refused"),
    ]
}

#[tokio::test]
async fn what_it_answers_instead_of_a_tunnel_to_the_upstream() {
    for (_, answer, cause) in answers() {
        let port = proxy(move |request| {
            let answer = answer.clone();
            async move { request.answer(answer).await }
        })
        .await;
        let mut setup = through(port, true);
        // One listener whose upstream is reached straight.
        setup.listeners = setup.listeners.replace("localhost:{pop3}", "127.0.0.1:{pop3}");
        let world = setup.start().await;
        let mut neighbour = world.session(Pop3, BOB, BOBS).await;
        for protocol in [Imap, Smtp] {
            world.refuses(protocol, ALICE, ALICES, Refusal::Unavailable, cause).await;
        }
        neighbour.works().await;
    }
}

#[tokio::test]
async fn what_it_answers_instead_of_a_tunnel_to_entra() {
    for ((name, answer, _), protocol) in answers().into_iter().zip(PROTOCOLS.into_iter().cycle()) {
        let port = proxy(move |request| {
            let answer = answer.clone();
            async move { request.answer(answer).await }
        })
        .await;
        let mut setup = through(port, false);
        setup.listeners = setup.listeners.replace("localhost:", "127.0.0.1:");
        let world = setup.start().await;
        let before = world.upstream_connections();
        let cause = match name {
            "407" => "proxy-authentication",
            _ => "proxy-refused",
        };
        world.refuses(protocol, ALICE, ALICES, Refusal::Unavailable, cause).await;
        assert_eq!(world.upstream_connections(), before);
    }
}

#[tokio::test]
async fn it_is_silent_or_not_there() {
    let silent = proxy(|request| request.answer_and_wait("")).await;
    let halfway = proxy(|request| request.answer_and_wait("HTTP/1.1 200 OK\r\nX-Wait:")).await;
    let free = crate::common::port::free_port();
    for port in [silent, halfway, free] {
        let world = through(port, true).start().await;
        let refused = |protocol| world.refuses(protocol, ALICE, ALICES, Refusal::Unavailable, "proxy-unreachable");
        tokio::join!(refused(Imap), refused(Pop3), refused(Smtp));
    }
}

/// Where TLS comes first, octets that come with the proxy's reply cannot be the server's.
#[tokio::test]
async fn early_octets_before_implicit_tls_end_it() {
    let port =
        proxy(|request| request.answer_and_wait("HTTP/1.1 200 OK\r\n\r\n* OK [CAPABILITY IMAP4rev1] hi\r\n")).await;
    let world = through(port, true).start().await;
    for protocol in [Imap, Pop3] {
        world.refuses(protocol, ALICE, ALICES, Refusal::Unavailable, "data-before-tls").await;
    }
    world.refuses(Smtp, ALICE, ALICES, Refusal::Unavailable, "upstream-garbage").await;
}

#[tokio::test]
async fn its_password_goes_to_it_and_nowhere_else() {
    let port = proxy(|request| async move {
        // "svc:pass word", as RFC 7617 §2 encodes it.
        let name = request.head().to_ascii_lowercase().contains("\r\nproxy-authorization: basic ");
        if name && request.head().contains(" c3ZjOnBhc3Mgd29yZA==\r\n") {
            request.tunnel(false).await;
        } else {
            request.answer("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".into()).await;
        }
    })
    .await;
    let world = |password: &str| {
        let authentication = format!("authentication: basic, username: svc, password: '{password}'");
        let sections = format!("forward_proxy: {{url: 'http://127.0.0.1:{port}', {authentication}}}");
        Setup { sections, ..Setup::default() }
    };
    let right: World = world("pass word").start().await;
    for protocol in PROTOCOLS {
        right.session(protocol, ALICE, ALICES).await.works().await;
    }
    let wrong = world("other").start().await;
    wrong.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "proxy-authentication").await;
}

/// Behind the proxy's password is an account that a directory locks after a few wrong ones.
#[tokio::test]
async fn refused_credentials_are_not_shown_again_and_again() {
    let shown = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&shown);
    let port = proxy(move |request| {
        if request.head().contains("Proxy-Authorization: Basic ") {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let refusal = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n";
        async move { request.answer(refusal.into()).await }
    })
    .await;
    let authentication = "authentication: basic, username: svc, password: wrong";
    let sections = format!("forward_proxy: {{url: 'http://127.0.0.1:{port}', {authentication}}}");
    let world = Setup { sections, ..Setup::default() }.start().await;
    for protocol in PROTOCOLS {
        world.refuses(protocol, ALICE, ALICES, Refusal::Unavailable, "proxy-authentication").await;
    }
    assert_eq!(shown.load(Ordering::Relaxed), 1);
}

/// What a proxy says to the messages of an NTLM handshake, without end. Each login is told "later",
/// and comes to its end.
#[tokio::test]
async fn ntlm_with_a_proxy_that_breaks_its_rules() {
    let token =
        |message: &str| format!("HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM {message}\r\nContent-Length: 0\r\n\r\n");
    let challenge = "TlRMTVNTUAACAAAAAAAAADgAAAAFggiAASNFZ4mrze8AAAAAAAAAAAAAAAAAAAAA";
    let answers = [
        // Not base64, not a challenge, cut short, too long, another scheme, and a loop that closes
        // each time.
        token("%%%"),
        token("YWJj"),
        token(&challenge[..32]),
        token(&challenge.repeat(400)),
        token(challenge).replace("NTLM", "Negotiate"),
        token(challenge).replace("Content-Length: 0", "Connection: close"),
        "HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM {challenge}\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
        ),
    ];
    for answer in answers {
        // A head that long is nobody's challenge.
        let cause = if answer.len() > 16 * 1_024 { "proxy-refused" } else { "proxy-authentication" };
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let port = proxy(move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            async move { request.answer(answer).await }
        })
        .await;
        let mut setup = through(port, false);
        let credentials = "authentication: ntlm, username: svc, domain: CORP, password: p";
        setup.sections = format!("forward_proxy: {{url: 'http://127.0.0.1:{port}', {credentials}}}");
        let world = setup.start().await;
        let learners = asked.load(Ordering::Relaxed);
        world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, cause).await;
        assert!(asked.load(Ordering::Relaxed) - learners <= 3, "connections for one tunnel");
    }
}
