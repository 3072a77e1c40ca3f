//! The listener to which a browser on this machine brings the code back (RFC 8252 §7.3). It listens
//! on 127.0.0.1 and ::1, on a port of the system's choice, only while a sign-in is pending. It
//! takes one redirect of that sign-in, and answers every other request without reading further.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::sign_in::code::{CodeRequest, REDIRECT_OCTETS, Redirect};
use gatepost_net::listen;

/// Most connections at once. One browser opens a few, some of them only in advance.
const CONNECTIONS: usize = 16;

/// Limit of reading one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most header fields of a request; a browser sends about twenty.
const FIELDS: usize = 100;

/// A bound listener that does not accept yet.
#[derive(Debug)]
pub struct Loopback {
    v4: TcpListener,
    /// Absent where the machine has no IPv6.
    v6: Option<TcpListener>,
    port: u16,
}

impl Loopback {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When no port is free.
    pub fn bind() -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let both = listen::bind_both_loopbacks(address, listen::bind).map_err(|(_, error)| error)?;
        Ok(Self { port: both.wanted.local_addr()?.port(), v4: both.wanted, v6: both.other })
    }

    /// The redirect address. Entra matches it with the registered `http://localhost`, whatever the
    /// port (Microsoft, "Redirect URI restrictions and limitations").
    pub fn redirect_uri(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Waits for the redirect that belongs to `request`. When this returns, the browser has its
    /// answer and the listener is closed. The caller sets the deadline.
    ///
    /// # Errors
    /// When no connection can be accepted any longer.
    ///
    /// # Cancel safety
    /// Dropping it closes the listener.
    pub async fn redirect(self, request: &CodeRequest) -> io::Result<Redirect> {
        let mut serving: JoinSet<Option<(TcpStream, String)>> = JoinSet::new();
        let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let connection = tokio::select! {
                Some(asked) = serving.join_next() => {
                    let Ok(Some((stream, query))) = asked else { continue };
                    match Self::reply(stream, &query, request).await {
                        Some(redirect) => return Ok(redirect),
                        None => continue,
                    }
                }
                accepted = self.accept() => accepted,
            };
            match connection {
                Ok(stream) => {
                    // Somebody who opens idle connections must not keep the browser out, so the
                    // oldest connection is closed.
                    if oldest_first.len() >= CONNECTIONS
                        && let Some(oldest) = oldest_first.pop_front()
                    {
                        oldest.abort();
                    }
                    oldest_first.push_back(serving.spawn(asked(stream)));
                    // The new task runs before the next connection is accepted.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of descriptors or memory: waiting helps, a busy loop does not.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let v6 = async {
            match &self.v6 {
                Some(socket) => socket.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.v4.accept() => accepted,
            accepted = v6 => accepted,
        }
        .map(|(stream, _)| stream)
    }

    /// Answers a request for `/`. Returns the redirect if it belongs to `request`.
    async fn reply(mut stream: TcpStream, query: &str, request: &CodeRequest) -> Option<Redirect> {
        let redirect = request.read(query).ok();
        let (status, text) = match redirect {
            Some(_) => {
                ("200 OK", "Gatepost has taken note. You may close this window. The terminal says how it went on.")
            }
            None => (
                "400 Bad Request",
                "This does not belong to the sign-in that is pending. The terminal shows the address to open.",
            ),
        };
        answer(&mut stream, status, text).await;
        redirect
    }
}

/// Reads the head of a request. Returns the query of a GET of `/`, and answers everything else
/// here.
async fn asked(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let mut head = Vec::new();
    let reading = timeout(PATIENCE, async {
        loop {
            if head.len() > REDIRECT_OCTETS {
                return Some(Err("431 Request Header Fields Too Large"));
            }
            let room = REDIRECT_OCTETS + 1 - head.len();
            if (&mut stream).take(room as u64).read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
            if let Some(judged) = query(&head) {
                return Some(judged);
            }
        }
    });
    match reading.await.ok()?? {
        Ok(query) => Some((stream, query)),
        Err(status) => {
            answer(&mut stream, status, "There is nothing here.").await;
            None
        }
    }
}

/// The query of a GET of `/`, or the status of a refusal; `None` while the head is incomplete.
/// Pure.
fn query(head: &[u8]) -> Option<Result<String, &'static str>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Some(Err("400 Bad Request")),
    }
    let (path, query) = request.path.map_or(("", ""), |target| target.split_once('?').unwrap_or((target, "")));
    Some(match (request.method, path) {
        (Some("GET"), "/") => Ok(query.to_owned()),
        (Some("GET"), _) => Err("404 Not Found"),
        _ => Err("405 Method Not Allowed"),
    })
}

/// Sends a static page without a referrer, and closes the connection.
async fn answer(stream: &mut TcpStream, status: &str, text: &str) {
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gatepost</title></head><body><p>{text}</p></body></html>"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\r\n{page}",
        page.len()
    );
    let sending = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Unread input of the browser would turn the close into a reset, and the page into an
        // error.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // The browser may be gone; the sign-in goes on without it.
    let _gone = timeout(Duration::from_secs(2), sending).await;
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::super::code::tests::{parameters, request};
    use super::*;

    async fn browse(address: IpAddr, port: u16, head: &str) -> String {
        let mut stream = TcpStream::connect((address, port)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut page = Vec::new();
        let _reset = stream.read_to_end(&mut page).await;
        String::from_utf8(page).unwrap()
    }

    fn get(target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: browser\r\n\r\n")
    }

    #[tokio::test]
    async fn one_redirect_is_taken_and_everything_else_is_turned_away() {
        let request = request();
        let state = parameters(&request)["state"].clone();
        let loopback = Loopback::bind().unwrap();
        let port = loopback.port;
        assert_eq!(loopback.redirect_uri(), format!("http://localhost:{port}"));
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let browsing = async {
            // A connection in advance, on which nothing ever comes.
            let idle = TcpStream::connect((local, port)).await.unwrap();
            for (head, status) in [
                (get("/favicon.ico"), "404"),
                (get(&format!("/other?code=c&state={state}")), "404"),
                (get("/?code=c&state=wrong"), "400"),
                (get("/"), "400"),
                (format!("POST /?code=c&state={state} HTTP/1.1\r\n\r\n"), "405"),
                ("nonsense\r\n\r\n".into(), "400"),
                (format!("GET /?{} HTTP/1.1\r\n\r\n", "x".repeat(REDIRECT_OCTETS)), "431"),
            ] {
                let page = browse(local, port, &head).await;
                assert!(page.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {page}");
                assert!(!page.contains(&state), "nothing is repeated: {page}");
            }
            let page = browse(local, port, &get(&format!("/?code=c0de&state={state}"))).await;
            drop(idle);
            page
        };
        let (redirect, page) = tokio::join!(loopback.redirect(&request), browsing);
        let Redirect::Code { code, .. } = redirect.unwrap() else { panic!("no code") };
        assert_eq!(code.expose(), "c0de");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        for field in ["Referrer-Policy: no-referrer", "Cache-Control: no-store", "default-src 'none'"] {
            assert!(page.contains(field), "{page}");
        }
        assert!(!page.contains("c0de") && !page.contains(&state));
        assert!(TcpStream::connect((local, port)).await.is_err(), "still open");
    }

    #[tokio::test]
    async fn a_slow_browser_and_one_over_ipv6_are_served() {
        let request = request();
        let state = parameters(&request)["state"].clone();
        let loopback = Loopback::bind().unwrap();
        let port = loopback.port;
        let address = if loopback.v6.is_some() { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::LOCALHOST.into() };
        let browsing = async {
            let mut stream = TcpStream::connect((address, port)).await.unwrap();
            for octet in get(&format!("/?state={state}&error=access_denied")).bytes() {
                stream.write_all(&[octet]).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
            page
        };
        let (redirect, page) = tokio::join!(loopback.redirect(&request), browsing);
        let Redirect::Refused(error) = redirect.unwrap() else { panic!("no refusal") };
        assert_eq!(error.error, "access_denied");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"));
    }

    #[tokio::test]
    async fn connections_on_which_nothing_comes_do_not_keep_the_browser_out() {
        let request = request();
        let state = parameters(&request)["state"].clone();
        let loopback = Loopback::bind().unwrap();
        let (local, port) = (IpAddr::V4(Ipv4Addr::LOCALHOST), loopback.port);
        let browsing = async {
            // Somebody comes back with another one as soon as one is closed.
            let mut idlers = JoinSet::new();
            for _ in 0..2 * CONNECTIONS {
                let mut stream = TcpStream::connect((local, port)).await.unwrap();
                idlers.spawn(async move {
                    loop {
                        let _closed = stream.read_u8().await;
                        tokio::task::yield_now().await;
                        let Ok(another) = TcpStream::connect((local, port)).await else { return };
                        stream = another;
                    }
                });
            }
            browse(local, port, &get(&format!("/?code=c0de&state={state}"))).await
        };
        let (redirect, page) = tokio::join!(loopback.redirect(&request), browsing);
        assert!(redirect.is_ok() && page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    }

    #[tokio::test]
    async fn giving_up_closes_the_listener() {
        let loopback = Loopback::bind().unwrap();
        let port = loopback.port;
        let request = request();
        assert!(timeout(Duration::from_millis(20), loopback.redirect(&request)).await.is_err());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
    }

    #[tokio::test]
    async fn another_connection_does_not_end_one_that_is_slow() {
        let request = request();
        let state = parameters(&request)["state"].clone();
        let loopback = Loopback::bind().unwrap();
        let (local, port) = (IpAddr::V4(Ipv4Addr::LOCALHOST), loopback.port);
        let browsing = async {
            let head = get(&format!("/?code=c0de&state={state}"));
            let (first, rest) = head.split_at(head.len() / 2);
            let mut slow = TcpStream::connect((local, port)).await.unwrap();
            slow.write_all(first.as_bytes()).await.unwrap();
            for _ in 0..3 {
                let page = browse(local, port, &get("/favicon.ico")).await;
                assert!(page.starts_with("HTTP/1.1 404 "), "{page}");
            }
            slow.write_all(rest.as_bytes()).await.unwrap();
            let mut page = String::new();
            slow.read_to_string(&mut page).await.unwrap();
            page
        };
        let browsing = timeout(Duration::from_secs(60), browsing);
        let (redirect, page) = tokio::join!(timeout(Duration::from_secs(60), loopback.redirect(&request)), browsing);
        assert!(page.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(redirect.unwrap().is_ok());
    }
}
