//! The load generator's mail client: one login, and what it does in a session.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::entra;
use crate::pki::SERVER_NAME;
use crate::wire::{CHUNK_BYTES, Wire};

/// No step of a login takes so long in a run that is worth measuring.
const LOGIN_DEADLINE: Duration = Duration::from_secs(20);

/// The password of every user.
pub(crate) const PASSWORD: &str = "correct-horse";

/// How a target wants to hear who is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialogue {
    /// `LOGIN` with a password; the proxy brings the token.
    Password,
    /// `AUTHENTICATE XOAUTH2`; the client brings the token.
    Token,
}

/// A mail client set up for one target.
#[derive(Clone)]
pub(crate) struct Client {
    /// Where it connects to.
    pub(crate) address: SocketAddr,
    /// Implicit TLS, when set.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// How it signs in.
    pub(crate) dialogue: Dialogue,
    /// Its own address, when it is to have a certain one.
    pub(crate) source: Option<Ipv4Addr>,
    /// Size of the buffer that the kernel keeps for what the client has not read.
    pub(crate) receive_buffer: Option<u32>,
}

impl Client {
    /// A client without peculiarities.
    pub(crate) fn new(address: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>, dialogue: Dialogue) -> Self {
        Self { address, tls, dialogue, source: None, receive_buffer: None }
    }

    /// Connects and reads the greeting.
    pub(crate) async fn greeting(&self) -> anyhow::Result<Wire> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = self.source {
            socket.bind((source, 0).into())?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut wire = match &self.tls {
            None => Wire::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(SERVER_NAME).context("server name")?;
                let mut stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.context("TLS")?;
                stream.get_mut().1.set_buffer_limit(Some(2 * CHUNK_BYTES));
                Wire::new(stream)
            }
        };
        let line = wire.line().await.context("greeting")?;
        if !line.starts_with(b"* OK") {
            bail!("greeting `{}`", line.escape_ascii());
        }
        Ok(wire)
    }

    /// Connects and signs in.
    pub(crate) async fn log_in(&self, user: &str) -> anyhow::Result<Session> {
        self.log_in_within(LOGIN_DEADLINE, user).await
    }

    /// The same with the patience of the caller.
    pub(crate) async fn log_in_within(&self, patience: Duration, user: &str) -> anyhow::Result<Session> {
        timeout(patience, async {
            let mut wire = self.greeting().await?;
            let command = match self.dialogue {
                Dialogue::Password => format!("a LOGIN {user} {PASSWORD}\r\n"),
                Dialogue::Token => {
                    let response = format!("user={user}\x01auth=Bearer {}\x01\x01", entra::token());
                    format!("a AUTHENTICATE XOAUTH2 {}\r\n", BASE64_STANDARD.encode(response))
                }
            };
            wire.send(command.as_bytes()).await?;
            let mut session = Session { wire };
            session.completed("a").await.context("login")?;
            Ok(session)
        })
        .await
        .context("a login took too long")?
    }
}

/// A connection that has signed in.
pub(crate) struct Session {
    /// For what is not a method here.
    pub(crate) wire: Wire,
}

impl Session {
    /// Has the backend send so many bytes.
    pub(crate) async fn download(&mut self, bytes: u64) -> anyhow::Result<()> {
        self.wire.send(format!("d DOWN {bytes}\r\n").as_bytes()).await?;
        Ok(self.wire.discard(bytes).await?)
    }

    /// Sends so many bytes and waits until the backend has them all.
    pub(crate) async fn upload(&mut self, bytes: u64) -> anyhow::Result<()> {
        self.wire.send(format!("u UP {bytes}\r\n").as_bytes()).await?;
        self.wire.fill(bytes).await?;
        self.completed("u").await
    }

    /// One small command and its reply.
    pub(crate) async fn ping(&mut self) -> anyhow::Result<()> {
        self.wire.send(b"p NOOP\r\n").await?;
        self.completed("p").await
    }

    /// `LOGOUT`, and waits until the connection is closed.
    pub(crate) async fn log_out(mut self) -> anyhow::Result<()> {
        timeout(LOGIN_DEADLINE, async {
            self.wire.send(b"z LOGOUT\r\n").await?;
            self.completed("z").await.context("logout")?;
            self.wire.drain().await;
            // The peer may be gone already.
            self.wire.finish().await.ok();
            Ok(())
        })
        .await
        .context("a logout took too long")?
    }

    /// Waits until a command is completed.
    pub(crate) async fn completed(&mut self, tag: &str) -> anyhow::Result<()> {
        loop {
            let line = self.wire.line().await?;
            if line.starts_with(b"* ") {
                continue;
            }
            let ok = line.strip_prefix(tag.as_bytes()).is_some_and(|rest| rest.starts_with(b" OK"));
            if !ok {
                return Err(io::Error::other(format!("reply `{}`", line.escape_ascii())).into());
            }
            return Ok(());
        }
    }
}
