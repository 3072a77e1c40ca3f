//! Ways to a proxy other than plain HTTP, and several proxies: TLS, SOCKS, and who is asked when
//! one of them fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::session::proxy::proxy;
use crate::session::support::{ALICE, ALICES, PROTOCOLS, Setup};

use MailProtocol::{Imap, Smtp};

const LIMITS: &str =
    "  connect_attempt: 2s\n  connect: 2s\n  connect_via_proxy: 4s\n  token_request: 4s\n  token_total: 4s";

/// Mail and token requests go through these proxies.
fn through(urls: &[String], more: &str) -> Setup {
    let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
    let sections = format!("forward_proxy: {{url: [{}]{more}}}", urls.join(", "));
    Setup { sections, limits: LIMITS, ..Setup::default() }
}

/// A proxy that opens every tunnel, and how often it was asked.
async fn open_proxy() -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let port = proxy(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { request.tunnel(false).await }
    })
    .await;
    (port, asked)
}

/// Takes the TLS off and goes on to `port`: its own port, and the certificate that it shows for
/// `name`.
async fn tls_in_front_of(port: u16, name: &str) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let Ok(mut inner) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let _broke = copy_bidirectional(&mut stream, &mut inner).await;
            });
        }
    });
    (own, made.cert.pem())
}

#[tokio::test]
async fn everything_goes_through_tls_to_the_proxy() {
    let (inner, asked) = open_proxy().await;
    let (port, certificate) = tls_in_front_of(inner, "localhost").await;
    let setup = Setup { trust: certificate, ..through(&[format!("https://localhost:{port}")], "") };
    let world = setup.start().await;
    let learned = asked.load(Ordering::Relaxed);
    for protocol in PROTOCOLS {
        world.session(protocol, ALICE, ALICES).await.works().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), learned + 4, "three mailboxes and one token");
}

#[tokio::test]
async fn a_proxy_that_cannot_show_who_it_is_is_told_nothing() {
    let (inner, asked) = open_proxy().await;
    let password = ", authentication: basic, username: svc, password: secret";
    // A name that is not its own, an authority that nobody trusts, and no TLS at all.
    let (elsewhere, certificate) = tls_in_front_of(inner, "elsewhere.example").await;
    let (stranger, _) = tls_in_front_of(inner, "localhost").await;
    for port in [elsewhere, stranger, inner] {
        let mut setup = through(&[format!("https://localhost:{port}")], password);
        setup.trust.clone_from(&certificate);
        setup.microsoft = "  authority: https://127.0.0.1:{entra}/";
        setup.sections = setup.sections.replace("url:", "no_proxy: [127.0.0.1], url:");
        let world = setup.start().await;
        world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "proxy-tls-failed").await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// A SOCKS proxy that wants this password, if any; its port, and how many tunnels it opened.
async fn socks(password: Option<&'static str>) -> (u16, Arc<AtomicUsize>) {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let _gone = serve_socks(socket, password, &count).await;
            });
        }
    });
    (port, opened)
}

async fn serve_socks(mut socket: TcpStream, password: Option<&str>, opened: &AtomicUsize) -> std::io::Result<()> {
    let method = if password.is_some() { 2 } else { 0 };
    let mut methods = vec![0; 2];
    socket.read_exact(&mut methods).await?;
    methods = vec![0; usize::from(methods[1])];
    socket.read_exact(&mut methods).await?;
    if !methods.contains(&method) {
        return socket.write_all(&[5, 0xFF]).await;
    }
    socket.write_all(&[5, method]).await?;
    if let Some(password) = password {
        assert_eq!(socket.read_u8().await?, 1);
        let mut fields = Vec::new();
        for _ in 0..2 {
            let mut field = vec![0; usize::from(socket.read_u8().await?)];
            socket.read_exact(&mut field).await?;
            fields.push(field);
        }
        let right = fields == [&b"svc"[..], password.as_bytes()];
        socket.write_all(&[1, u8::from(!right)]).await?;
    }
    let mut request = [0; 5];
    socket.read_exact(&mut request).await?;
    assert_eq!(request[..4], [5, 1, 0, 3], "names are for the proxy to resolve");
    let mut name = vec![0; usize::from(request[4])];
    socket.read_exact(&mut name).await?;
    let port = socket.read_u16().await?;
    let mut upstream = TcpStream::connect((String::from_utf8(name).unwrap(), port)).await?;
    opened.fetch_add(1, Ordering::Relaxed);
    socket.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
    copy_bidirectional(&mut socket, &mut upstream).await.map(drop)
}

#[tokio::test]
async fn everything_goes_through_a_socks_proxy() {
    for (password, more) in
        [(None, ""), (Some("pass word"), ", authentication: basic, username: svc, password: 'pass word'")]
    {
        let (port, opened) = socks(password).await;
        let world = through(&[format!("socks5h://127.0.0.1:{port}")], more).start().await;
        let learned = opened.load(Ordering::Relaxed);
        for protocol in PROTOCOLS {
            world.session(protocol, ALICE, ALICES).await.works().await;
        }
        assert_eq!(opened.load(Ordering::Relaxed), learned + 4, "three mailboxes and one token");
    }
}

#[tokio::test]
async fn a_socks_proxy_refuses_in_its_own_words() {
    let (port, opened) = socks(Some("right")).await;
    for more in ["", ", authentication: basic, username: svc, password: wrong"] {
        let world = through(&[format!("socks5h://127.0.0.1:{port}")], more).start().await;
        world.refuses(Smtp, ALICE, ALICES, Refusal::Unavailable, "proxy-authentication").await;
    }
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = through(&[format!("socks5h://{}", http.local_addr().unwrap())], "");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = http.accept().await {
            let _gone = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _gone = socket.read(&mut [0; 512]).await;
        }
    });
    world.start().await.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "proxy-refused").await;
    assert_eq!(opened.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_dead_proxy_is_left_for_the_next_and_then_avoided() {
    let silent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&silent);
    let first = proxy(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        request.answer_and_wait("")
    })
    .await;
    let free = crate::common::port::free_port();
    let (last, asked) = open_proxy().await;
    let urls = [first, free, last].map(|port| format!("http://127.0.0.1:{port}"));
    let world = through(&urls, "").start().await;
    let before = (silent.load(Ordering::Relaxed), asked.load(Ordering::Relaxed));
    assert_eq!(before, (3, 3), "each upstream's list was asked for through the first, then through the last");
    for protocol in PROTOCOLS {
        world.session(protocol, ALICE, ALICES).await.works().await;
    }
    assert_eq!(silent.load(Ordering::Relaxed), before.0, "the dead one is avoided");
    assert_eq!(asked.load(Ordering::Relaxed), before.1 + 4);
    let avoided = world.log.lines(|line| line.contains("proxy avoided for a while"));
    assert_eq!(avoided.len(), 2, "{avoided:#?}");
    assert!(avoided.iter().any(|line| line.contains(&urls[0])) && avoided.iter().any(|line| line.contains(&urls[1])));
}

#[tokio::test]
async fn a_no_is_a_no_but_a_passing_fault_is_taken_to_the_next() {
    for (answer, asks_next) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", false),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", false),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", true),
    ] {
        let first = proxy(move |request| request.answer(answer.into())).await;
        let (second, asked) = open_proxy().await;
        let urls = [first, second].map(|port| format!("http://127.0.0.1:{port}"));
        let world = through(&urls, ", authentication: basic, username: svc, password: secret").start().await;
        let reply = world.reply(Imap, ALICE, ALICES).await;
        assert_eq!(reply.starts_with("a OK"), asks_next, "{answer}: {reply}");
        assert_eq!(asked.load(Ordering::Relaxed) > 0, asks_next, "{answer}");
    }
}

#[cfg(feature = "pac")]
mod pac {
    use std::sync::Mutex;

    use gatepost_core::protocol::MailProtocol::Pop3;

    use super::*;
    use crate::common::directory::Directory;

    /// A setup that asks a script with this answer; it is there as long as its directory.
    fn script(body: &str, more: &str) -> (Setup, Directory) {
        let directory = Directory::new();
        let path = directory.write("proxy.pac", format!("function FindProxyForURL(url, host) {{ {body} }}"));
        let sections = format!("forward_proxy: {{pac: '{}'{more}}}", path.display());
        (Setup { sections, limits: LIMITS, ..Setup::default() }, directory)
    }

    #[tokio::test]
    async fn the_script_names_the_proxies_and_what_goes_straight() {
        let (tunnels, asked) = open_proxy().await;
        let (with_socks, opened) = socks(None).await;
        let free = crate::common::port::free_port();
        let body = format!(
            "if (shExpMatch(host, '127.*')) return 'DIRECT'; \
             return 'PROXY 127.0.0.1:{free}; ' + (url.indexOf(':') === 5 && dnsDomainIs(host, 'localhost') ? \
             'PROXY 127.0.0.1:{tunnels}; SOCKS5 127.0.0.1:{with_socks}' : 'PROXY 127.0.0.1:9');"
        );
        let (mut setup, _file) = script(&body, "");
        setup.microsoft = "  authority: https://127.0.0.1:{entra}/";
        let world = setup.start().await;
        for protocol in PROTOCOLS {
            world.session(protocol, ALICE, ALICES).await.works().await;
        }
        assert_eq!(
            asked.load(Ordering::Relaxed),
            6,
            "each upstream's list and three mailboxes; the token goes straight"
        );
        assert_eq!(opened.load(Ordering::Relaxed), 0, "the third is not needed");
    }

    #[tokio::test]
    async fn dead_proxies_leave_the_straight_way_when_the_script_says_so() {
        for (end, works) in [("; DIRECT", true), ("", false)] {
            let body = format!("return 'PROXY 127.0.0.1:9{end}';");
            let (setup, _file) = script(&body, "");
            let reply = setup.start().await.reply(Imap, ALICE, ALICES).await;
            assert_eq!(reply.starts_with("a OK"), works, "{end}: {reply}");
        }
    }

    #[tokio::test]
    async fn a_script_that_fails_opens_no_way() {
        for body in ["return nothing.there;", "for (;;);", "return 'GOPHER x:70';"] {
            let (setup, _file) = script(body, "");
            let before = std::time::Instant::now();
            let world = setup.start().await;
            world.refuses(Pop3, ALICE, ALICES, Refusal::Unavailable, "pac-failed").await;
            assert_eq!(world.upstream_connections(), 0);
            assert!(before.elapsed() < std::time::Duration::from_secs(30));
        }
    }

    /// A script could name anybody: credentials go to the listed proxies only.
    #[tokio::test]
    async fn credentials_go_to_listed_proxies_only() {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        let port = proxy(move |request| {
            kept.lock().unwrap().push(request.head().to_ascii_lowercase());
            request.answer("HTTP/1.1 403 Forbidden\r\n\r\n".into())
        })
        .await;
        for (listed, shown) in [("127.0.0.0/8", true), ("other.example", false), ("127.0.0.1:9", false)] {
            let more =
                format!(", authentication: basic, username: svc, password: secret, authenticate_to: ['{listed}']");
            let (setup, _file) = script(&format!("return 'PROXY 127.0.0.1:{port}';"), &more);
            let world = setup.start().await;
            world.refuses(Imap, ALICE, ALICES, Refusal::Unavailable, "proxy-refused").await;
            let heads = std::mem::take(&mut *heads.lock().unwrap());
            assert!(!heads.is_empty());
            assert!(
                heads.iter().all(|head| head.contains("proxy-authorization: basic ") == shown),
                "{listed}: {heads:?}"
            );
        }
    }
}
