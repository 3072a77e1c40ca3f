//! Mail programs that say everything at once and hear what comes back: each way to log in, and each
//! way to get it wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::wait::PATIENCE;
use crate::secrecy::canaries::MISPLACED;

/// No answer takes as long.
/// Says it and hears what comes until the other side closes.
async fn talk(address: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    let talking = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(said).await?;
        socket.read_to_end(&mut heard).await
    };
    // That the connection breaks is one of the things to hear about.
    let _broke = tokio::time::timeout(PATIENCE, talking).await.expect("it is not closed");
    heard
}

/// One login by name and password in every way that a protocol has.
pub(crate) fn logins(user: &str, password: &str) -> Vec<(&'static str, String)> {
    let plain = STANDARD.encode(format!("\0{user}\0{password}"));
    let (name, word) = (STANDARD.encode(user), STANDARD.encode(password));
    let literal = format!("{{{}+}}\r\n{password}", password.len());
    let quoted = password.replace('\\', "\\\\").replace('"', "\\\"");
    vec![
        ("imap", format!("a LOGIN {user} \"{quoted}\"\r\nb LOGOUT\r\n")),
        ("imap", format!("a LOGIN {user} {literal}\r\nb LOGOUT\r\n")),
        ("imap", format!("a AUTHENTICATE PLAIN {plain}\r\nb LOGOUT\r\n")),
        ("imap", format!("a AUTHENTICATE PLAIN\r\n{plain}\r\nb LOGOUT\r\n")),
        ("imap", format!("a AUTHENTICATE LOGIN\r\n{name}\r\n{word}\r\nb LOGOUT\r\n")),
        ("pop3", format!("USER {user}\r\nPASS {password}\r\nQUIT\r\n")),
        ("pop3", format!("AUTH PLAIN {plain}\r\nQUIT\r\n")),
        ("pop3", format!("AUTH LOGIN\r\n{name}\r\n{word}\r\nQUIT\r\n")),
        ("smtp", format!("EHLO x\r\nAUTH PLAIN {plain}\r\nQUIT\r\n")),
        ("smtp", format!("EHLO x\r\nAUTH LOGIN {name}\r\n{word}\r\nQUIT\r\n")),
    ]
}

/// A login with a token of the client's own.
pub(crate) fn token_logins(user: &str, token: &str) -> Vec<(&'static str, String)> {
    let message = STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"));
    vec![
        ("imap", format!("a AUTHENTICATE XOAUTH2 {message}\r\nb LOGOUT\r\n")),
        ("pop3", format!("AUTH XOAUTH2\r\n{message}\r\nQUIT\r\n")),
        ("smtp", format!("EHLO x\r\nAUTH XOAUTH2 {message}\r\nQUIT\r\n")),
    ]
}

/// What mail programs and people get wrong, with the password in it.
pub(crate) fn mistakes(user: &str, password: &str) -> Vec<(&'static str, String)> {
    let plain = STANDARD.encode(format!("\0{user}\0{password}"));
    let mut mistakes = vec![
        ("imap", format!("a LOGIN {user} {password} {password}\r\n{password}\r\nb LOGOUT\r\n")),
        ("imap", format!("a LOGIN {MISPLACED} {user}\r\nb {MISPLACED}\r\nb LOGOUT\r\n")),
        ("imap", format!("a ID (\"password\" \"{MISPLACED}\")\r\nb LOGOUT\r\n")),
        ("imap", format!("a AUTHENTICATE {MISPLACED}\r\nb LOGOUT\r\n")),
        ("pop3", format!("PASS {password}\r\nUSER {MISPLACED}\r\nPASS {MISPLACED}\r\n{password}\r\nQUIT\r\n")),
        ("pop3", format!("APOP {user} {MISPLACED}\r\nAUTH {MISPLACED}\r\nQUIT\r\n")),
        ("smtp", format!("{password}\r\nEHLO {MISPLACED}\r\nAUTH {MISPLACED} {MISPLACED}\r\nQUIT\r\n")),
        ("smtp", format!("MAIL FROM:<{MISPLACED}>\r\nVRFY {MISPLACED}\r\nQUIT\r\n")),
    ];
    for protocol in ["imap", "pop3", "smtp"] {
        let tag = if protocol == "imap" { "a AUTHENTICATE" } else { "AUTH" };
        let end = if protocol == "imap" { "b LOGOUT" } else { "QUIT" };
        mistakes.push((protocol, format!("{tag} PLAIN {plain}!\r\n{tag} PLAIN\r\n{plain}{plain}\r\n{end}\r\n")));
        mistakes.push((protocol, format!("{tag} XOAUTH2 {plain}\r\n{tag} OAUTHBEARER {plain}\r\n{end}\r\n")));
        mistakes.push((protocol, format!("{password}\n{password}\0\r\n{end}\r\n")));
        mistakes
            .push((protocol, format!("GET /{MISPLACED}?{password} HTTP/1.1\r\nAuthorization: Basic {plain}\r\n\r\n")));
        mistakes.push((protocol, format!("{}\r\n", password.repeat(1_000))));
    }
    mistakes
}

/// Has all of it said at the listeners, a few at a time, and gives everything that was heard.
pub(crate) async fn say_all(listeners: &BTreeMap<String, SocketAddr>, all: Vec<(&'static str, String)>) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut talks = tokio::task::JoinSet::new();
    for (protocol, said) in all {
        let address = listeners[protocol];
        if talks.len() >= 16 {
            heard.extend(talks.join_next().await.unwrap().unwrap());
        }
        talks.spawn(async move { talk(address, said.as_bytes()).await });
    }
    while let Some(talk) = talks.join_next().await {
        heard.extend(talk.unwrap());
    }
    heard
}
