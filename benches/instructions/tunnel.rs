//! CONNECT through a forward proxy: the machine with the answers of its authentication, against the
//! replies of a proxy.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use gatepost_core::secret::ProxyPassword;
use gatepost_net::proxy_authenticator::ProxyAuthenticator;
use gatepost_proto::tunnel::connect::{Connect, ConnectEvent, Scheme};
use gatepost_proto::tunnel::credentials::ProxyAuthentication;

use crate::counted::passes;

/// What Squid sends.
const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// What Squid sends with Digest.
const CHALLENGE: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
    Server: squid/5.7\r\n\
    Mime-Version: 1.0\r\n\
    Date: Tue, 01 Dec 2026 08:00:00 GMT\r\n\
    Content-Type: text/html;charset=utf-8\r\n\
    Content-Length: 0\r\n\
    X-Squid-Error: ERR_CACHE_ACCESS_DENIED 0\r\n\
    Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"6c1f2d00b6c6a1c2d7f1\", qop=\"auth\", algorithm=MD5, stale=false\r\n\
    Connection: keep-alive\r\n\r\n";

pub(crate) fn open() {
    tunnel(&ProxyAuthentication::None, &[OPEN]);
}

pub(crate) fn basic() {
    tunnel(&ProxyAuthentication::Basic { username: "gatepost".into(), password: password() }, &[OPEN]);
}

pub(crate) fn digest() {
    tunnel(&ProxyAuthentication::Digest { username: "gatepost".into(), password: password() }, &[CHALLENGE, OPEN]);
}

fn password() -> ProxyPassword {
    ProxyPassword::new("correct horse".into())
}

/// Opens a tunnel with these replies of the proxy.
fn tunnel(authentication: &ProxyAuthentication, replies: &[&str]) {
    passes(
        &mut (),
        |()| (),
        |(), ()| {
            let mut machine =
                Connect::new("outlook.office365.com", 993, Scheme::of(authentication)).expect("a host's name");
            let mut authenticator = ProxyAuthenticator::new(authentication, "proxy.contoso.com", machine.destination());
            let mut replies = replies.iter();
            loop {
                black_box(machine.poll_output());
                match machine.poll_event() {
                    Some(ConnectEvent::Challenge(challenge)) => {
                        let mut answer = pin!(authenticator.answer(challenge));
                        let answered = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        let Poll::Ready(answered) = answered else { panic!("it waits for nothing") };
                        machine.handle_answer(answered);
                    }
                    Some(ConnectEvent::Tunnel { leftovers }) => {
                        black_box(leftovers);
                        return;
                    }
                    Some(other) => panic!("unexpected: {other:?}"),
                    None => machine.handle_input(replies.next().expect("no more is needed").as_bytes()),
                }
            }
        },
    );
}
