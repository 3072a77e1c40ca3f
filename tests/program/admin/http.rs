//! A browser of a few lines, which says whatever a test wants it to say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::wait::PATIENCE;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As they came, in one piece.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a field; names are compared folded.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// What a form that leads to `action` has to carry.
    pub(crate) fn form_token(&self, action: &str) -> String {
        let at =
            self.body.find(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form to {action}: {self:?}"));
        let (_, rest) = self.body[at..].split_once("name=\"form\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// Where a button of the page leads to.
    pub(crate) fn link(&self, text: &str) -> String {
        let before = self.body.split_once(text).unwrap_or_else(|| panic!("no {text}: {}", self.body)).0;
        let (_, href) = before.rsplit_once("href=\"").unwrap();
        href.split_once('"').unwrap().0.replace("&#38;", "&").replace("&amp;", "&")
    }
}

/// Sends octets as they are, and reads until the other side closes.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses the beginning may close before the end.
    let _closed = stream.write_all(request.as_bytes()).await;
    finish(stream).await
}

/// Reads an answer until the other side closes.
pub(crate) async fn finish(mut stream: TcpStream) -> Answer {
    let exchange = async {
        let mut octets = Vec::new();
        let _closed = stream.read_to_end(&mut octets).await;
        String::from_utf8(octets).unwrap()
    };
    let text = tokio::time::timeout(PATIENCE, exchange).await.expect("no answer");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Keeps cookies and their paths, and follows nothing by itself.
pub(crate) struct Browser {
    address: SocketAddr,
    pub(crate) cookies: Mutex<BTreeMap<String, Cookie>>,
}

/// What a browser keeps of a cookie.
#[derive(Clone)]
pub(crate) struct Cookie {
    value: String,
    path: String,
}

impl Browser {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, cookies: Mutex::default() }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.address.port())
    }

    /// A path below that of the session.
    pub(crate) fn at(&self, path: &str) -> String {
        let base = self.cookies.lock().unwrap().get("gatepost").map(|cookie| cookie.path.clone()).unwrap_or_default();
        format!("{}{path}", base.trim_end_matches('/'))
    }

    /// The field with the cookies that a browser sends to a target (RFC 6265 §5.1.4).
    pub(crate) fn cookie_field(&self, target: &str) -> String {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let belongs = |cookie: &Cookie| {
            let rest = path.strip_prefix(&*cookie.path);
            rest.is_some_and(|rest| cookie.path.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
        };
        let cookies = self.cookies.lock().unwrap();
        let sent = cookies.iter().filter(|(_, cookie)| belongs(cookie));
        let pairs: Vec<String> = sent.map(|(name, Cookie { value, .. })| format!("{name}={value}")).collect();
        if pairs.is_empty() { String::new() } else { format!("Cookie: {}\r\n", pairs.join("; ")) }
    }

    async fn send(&self, request: String) -> Answer {
        let answer = raw(self.address, &request).await;
        for line in answer.head.lines() {
            let Some((_, cookie)) = line.split_once(": ").filter(|(of, _)| of.eq_ignore_ascii_case("set-cookie"))
            else {
                continue;
            };
            assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite="), "{cookie}");
            let (name, value) = cookie.split_once(';').unwrap().0.split_once('=').unwrap();
            let path = cookie.split("; ").find_map(|part| part.strip_prefix("Path=")).unwrap().to_owned();
            let mut cookies = self.cookies.lock().unwrap();
            if cookie.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), Cookie { value: value.to_owned(), path });
            }
        }
        answer
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        let (host, cookies) = (self.host(), self.cookie_field(target));
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{cookies}Connection: close\r\n\r\n")).await
    }

    /// A GET below the path of the session.
    pub(crate) async fn visit(&self, path: &str) -> Answer {
        self.get(&self.at(path)).await
    }

    /// As a browser posts a form of a page that it got from here.
    pub(crate) async fn post(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let host = self.host();
        self.post_with(target, fields, &format!("Origin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n")).await
    }

    /// With other fields in the head than a browser sends.
    pub(crate) async fn post_with(&self, target: &str, fields: &[(&str, &str)], head: &str) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let (host, cookies, length) = (self.host(), self.cookie_field(target), form.len());
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\n{cookies}{head}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{form}"
        ))
        .await
    }

    /// Fills in a form of the status page; `action` is below the path of the session.
    pub(crate) async fn fill_in(&self, action: &str, fields: &[(&str, &str)]) -> Answer {
        let action = self.at(action);
        let token = self.visit("/").await.form_token(&action);
        let mut fields = fields.to_vec();
        fields.push(("form", &token));
        self.post(&action, &fields).await
    }
}
