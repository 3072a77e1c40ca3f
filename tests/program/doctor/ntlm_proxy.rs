//! A corporate proxy that asks for NTLM, and knows the password of one user.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_proto::tunnel::credentials::NtlmCredentials;
use gatepost_proto::tunnel::ntlm::authenticate;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A CHALLENGE without information about the target.
const CHALLENGE: &str = "TlRMTVNTUAACAAAAAAAAADgAAAAFggiAASNFZ4mrze8AAAAAAAAAAAAAAAAAAAAA";

pub(crate) struct NtlmProxy {
    pub(crate) port: u16,
    tunnels: Arc<AtomicUsize>,
}

impl NtlmProxy {
    /// Serves this user until the runtime ends.
    pub(crate) async fn start(user: NtlmCredentials) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, tunnels) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let (user, count) = (Arc::new(user), Arc::clone(&tunnels));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (user, count) = (Arc::clone(&user), Arc::clone(&count));
                tokio::spawn(async move { serve(socket, &user, &count).await });
            }
        });
        Self { port, tunnels }
    }

    /// How many connections it has let through.
    pub(crate) fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

/// Answers the requests of one connection; `None` when it has ended.
async fn serve(socket: TcpStream, user: &NtlmCredentials, tunnels: &AtomicUsize) -> Option<()> {
    let mut client = BufReader::new(socket);
    loop {
        let (mut target, mut message) = (String::new(), None);
        loop {
            let mut line = String::new();
            if client.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(' ') {
                Some(("CONNECT", rest)) => target = rest.split_once(' ')?.0.to_owned(),
                Some(("Proxy-Authorization:" | "proxy-authorization:", value)) => {
                    message = STANDARD.decode(value.strip_prefix("NTLM ")?).ok();
                }
                Some(_) => {}
                None => break,
            }
        }
        let challenge = match message {
            Some(message) if is_of(user, &message) => break tunnel(client, &target, tunnels).await,
            Some(message) if message.get(8) == Some(&1) => CHALLENGE,
            _ => "",
        };
        let refusal = format!(
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: NTLM {challenge}\r\nContent-Length: 0\r\n\r\n"
        );
        client.write_all(refusal.as_bytes()).await.ok()?;
    }
}

async fn tunnel(mut client: BufReader<TcpStream>, target: &str, tunnels: &AtomicUsize) -> Option<()> {
    let mut server = TcpStream::connect(target).await.ok()?;
    tunnels.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

/// Whether an AUTHENTICATE message is the one that the user would send with the client's time and
/// nonce (MS-NLMP §2.2.2.7).
fn is_of(user: &NtlmCredentials, message: &[u8]) -> bool {
    let read = || {
        let begins_at: [u8; 4] = message.get(24..28)?.try_into().ok()?;
        let response = message.get(usize::try_from(u32::from_le_bytes(begins_at)).ok()?..)?;
        let time = u64::from_le_bytes(response.get(24..32)?.try_into().ok()?);
        let nonce: [u8; 8] = response.get(32..40)?.try_into().ok()?;
        let since_1601 = Duration::from_micros(time / 10) + Duration::from_nanos(time % 10 * 100);
        let since_1970 = since_1601.checked_sub(Duration::from_secs(11_644_473_600))?;
        authenticate(&STANDARD.decode(CHALLENGE).ok()?, user, nonce, since_1970).ok()
    };
    read().is_some_and(|expected| expected == message)
}
