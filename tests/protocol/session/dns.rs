//! A name server that says what it is told to say about every name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// What it says.
#[derive(Clone)]
pub(crate) enum Says {
    Addresses(Vec<IpAddr>),
    /// The same over TCP; over UDP that the answer is too long for it.
    OnlyOverTcp(Vec<IpAddr>),
    /// A response code other than "no error".
    Error(u8),
    Nothing,
}

/// RFC 1035 §4.1.1.
pub(crate) const SERVFAIL: Says = Says::Error(2);
pub(crate) const NXDOMAIN: Says = Says::Error(3);

const TRUNCATED: u8 = 0x02;
const A: u16 = 1;
const AAAA: u16 = 28;

#[derive(Clone)]
pub(crate) struct Dns(Arc<Mutex<Says>>);

impl Dns {
    /// Listens, over UDP and TCP.
    pub(crate) async fn start(address: SocketAddr, says: Says) -> Self {
        let dns = Self(Arc::new(Mutex::new(says)));
        let udp = UdpSocket::bind(address).await.unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let by_udp = dns.clone();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, peer)) = udp.recv_from(&mut query).await {
                if let Some(response) = by_udp.response(&query[..length], false) {
                    let _gone = udp.send_to(&response, peer).await;
                }
            }
        });
        let by_tcp = dns.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = tcp.accept().await {
                let dns = by_tcp.clone();
                tokio::spawn(async move {
                    loop {
                        let length = socket.read_u16().await?;
                        let mut query = vec![0; usize::from(length)];
                        socket.read_exact(&mut query).await?;
                        if let Some(response) = dns.response(&query, true) {
                            socket.write_u16(response.len() as u16).await?;
                            socket.write_all(&response).await?;
                        }
                    }
                    #[allow(unreachable_code)]
                    io::Result::Ok(())
                });
            }
        });
        dns
    }

    pub(crate) fn now_says(&self, says: Says) {
        *self.0.lock().unwrap() = says;
    }

    fn response(&self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        // The question: a name in labels, type and class.
        let mut end = 12;
        while *query.get(end)? != 0 {
            end += usize::from(query[end]) + 1;
        }
        let kind = u16::from_be_bytes([*query.get(end + 1)?, *query.get(end + 2)?]);
        let question = query.get(12..end + 5)?;
        let (flags, code, addresses) = match self.0.lock().unwrap().clone() {
            Says::Nothing => return None,
            Says::Error(code) => (0, code, Vec::new()),
            Says::OnlyOverTcp(_) if !over_tcp => (TRUNCATED, 0, Vec::new()),
            Says::Addresses(addresses) | Says::OnlyOverTcp(addresses) => (0, 0, addresses),
        };
        let wanted = |address: &&IpAddr| kind == if address.is_ipv4() { A } else { AAAA };
        let addresses: Vec<_> = addresses.iter().filter(wanted).collect();
        let mut response = query[..2].to_vec();
        // A response; recursion was desired, and is available.
        response.extend([0x81 | flags, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
        response.extend_from_slice(question);
        for address in addresses {
            let octets = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            // The name of the question, class IN, and no time to live.
            response.extend([0xC0, 12, 0, kind as u8, 0, 1, 0, 0, 0, 0, 0, octets.len() as u8]);
            response.extend(octets);
        }
        Some(response)
    }
}
