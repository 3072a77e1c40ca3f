//! A server of Microsoft's that does whatever the test wants, and remembers every octet that it was
//! sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Counted from 0.
    pub(super) connection: usize,
    /// Request line and fields.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The values of a field.
    pub(super) fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.fields(name).first().copied().unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the origin does.
pub(super) enum Reply {
    /// These octets; the connection stays.
    Octets(String),
    /// Octets as they come, then the end of the connection.
    Stream(mpsc::Receiver<Bytes>),
    /// Nothing, ever.
    Silence,
}

type Answer = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

pub(super) struct Origin {
    pub(super) port: u16,
    /// Its authority, as PEM.
    pub(super) ca: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Octets of bodies, also of those that have not ended.
    pub(super) body_octets: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with a body of this type.
pub(super) fn reply(status: &str, fields: &str, body: &str) -> Reply {
    Reply::Octets(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len()))
}

impl Origin {
    /// Answers every request when its body has arrived.
    pub(super) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(answer), false).await
    }

    /// Answers every request when its head has arrived, and takes the body meanwhile.
    pub(super) async fn early(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(answer), true).await
    }

    async fn run(answer: Answer, early: bool) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, body_octets) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (to_seen, to_count) = (Arc::clone(&seen), Arc::clone(&body_octets));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                let (seen, count) = (Arc::clone(&to_seen), Arc::clone(&to_count));
                connections.spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        let _gone = serve(stream, connection, &answer, early, &seen, &count).await;
                    }
                });
            }
        });
        Self { port, ca: made.cert.pem(), seen, body_octets, task }
    }

    /// What arrived so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TlsStream<TcpStream>,
    connection: usize,
    answer: &Answer,
    early: bool,
    seen: &Mutex<Vec<Seen>>,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let mut request = Seen { connection, head, body: Vec::new() };
        if early {
            seen.lock().unwrap().push(request.clone());
            let give = give(&mut writer, answer(&request));
            let take = take_body(&mut reader, &mut request, count);
            let (given, taken) = tokio::join!(give, take);
            if !given? {
                return Ok(());
            }
            taken?;
        } else {
            take_body(&mut reader, &mut request, count).await?;
            let reply = answer(&request);
            seen.lock().unwrap().push(request);
            if !give(&mut writer, reply).await? {
                return Ok(());
            }
        }
    }
}

/// True when the connection stays.
async fn give(writer: &mut (impl tokio::io::AsyncWrite + Unpin), reply: Reply) -> std::io::Result<bool> {
    let stays = match reply {
        Reply::Octets(octets) => {
            writer.write_all(octets.as_bytes()).await?;
            true
        }
        Reply::Stream(mut parts) => {
            while let Some(part) = parts.recv().await {
                writer.write_all(&part).await?;
                writer.flush().await?;
            }
            writer.shutdown().await?;
            false
        }
        Reply::Silence => std::future::pending().await,
    };
    writer.flush().await?;
    Ok(stays)
}

async fn take_body(
    reader: &mut (impl tokio::io::AsyncBufRead + Unpin),
    request: &mut Seen,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    if request.field("transfer-encoding").is_empty() {
        let length = request.field("content-length").parse().unwrap_or(0);
        return take(reader, request, length, count).await;
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no chunk: {line:?}"));
        take(reader, request, length, count).await?;
        line.clear();
        reader.read_line(&mut line).await?;
        assert_eq!(line, "\r\n");
        if length == 0 {
            return Ok(());
        }
    }
}

async fn take(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    request: &mut Seen,
    mut length: usize,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let mut room = vec![0; 64 * 1024];
    while length > 0 {
        let most = room.len().min(length);
        let read = reader.read(&mut room[..most]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        // A large body is counted, not kept.
        if request.body.len() < 1 << 20 {
            request.body.extend_from_slice(&room[..read]);
        }
        count.fetch_add(read, Ordering::Relaxed);
        length -= read;
    }
    Ok(())
}
