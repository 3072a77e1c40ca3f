//! An old mail program in its simplest form: plain sockets, plain passwords, every line shown.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::page;
use super::scene::{Client, PATIENCE};

/// The subject of the demonstration's message.
const SUBJECT: &str = "Scan from the third floor";

/// A subject and a text.
type Notice = (&'static str, &'static str);

/// The message of the device that cannot log in.
pub(super) const ALARM: Notice = ("The server room is open", "Sent without any login, handed to Microsoft Graph.");

/// Its message while Microsoft 365 is away.
pub(super) const ALARM_IN_OUTAGE: Notice = ("The server room is warm", "Sent while Microsoft 365 was away.");

struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(("127.0.0.1", port))).await??;
        Ok(Self { stream: BufReader::new(stream) })
    }

    async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        page::client(line);
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        Ok(())
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if timeout(PATIENCE, self.stream.read_line(&mut line)).await?? == 0 {
            bail!("the connection was closed");
        }
        page::server(line.trim_end());
        Ok(line)
    }

    /// Reads until a line for which `last` holds.
    async fn until(&mut self, last: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        while !last(self.line().await?.trim_end()) {}
        Ok(())
    }

    /// Reads one reply, with its continuation lines, and requires this beginning. Returns the last
    /// line.
    async fn expect(&mut self, beginning: &str) -> anyhow::Result<String> {
        loop {
            let line = self.line().await?;
            let goes_on = line.as_bytes().get(3) == Some(&b'-') && line.starts_with(beginning);
            if goes_on {
                continue;
            }
            if line.starts_with(beginning) {
                return Ok(line);
            }
            bail!("expected `{beginning}`, received `{}`", line.trim_end());
        }
    }

    async fn ask(&mut self, line: &str, beginning: &str) -> anyhow::Result<String> {
        self.say(line).await?;
        self.expect(beginning).await.with_context(|| "the answer was another one".to_owned())
    }

    /// Sends a message (RFC 5321) and QUIT. Returns the reply to the message.
    async fn submit(&mut self, from: &str, to: &str, (subject, text): (&str, &str)) -> anyhow::Result<String> {
        self.ask(&format!("MAIL FROM:<{from}>"), "250").await?;
        self.ask(&format!("RCPT TO:<{to}>"), "250").await?;
        self.ask("DATA", "354").await?;
        for line in [&format!("From: <{from}>"), &format!("To: <{to}>"), &format!("Subject: {subject}"), "", text] {
            self.say(line).await?;
        }
        let reply = self.ask(".", "250").await?;
        self.ask("QUIT", "221").await?;
        Ok(reply)
    }
}

/// Sends the message.
pub(super) async fn send(port: u16, client: &Client<'_>, to: &str) -> anyhow::Result<()> {
    let Client { login, password } = client;
    let mut smtp = Conversation::open(port).await?;
    smtp.expect("220").await?;
    smtp.ask("EHLO scanner", "250").await?;
    let plain = STANDARD.encode(format!("\0{login}\0{password}"));
    smtp.ask(&format!("AUTH PLAIN {plain}"), "235").await?;
    smtp.submit(login, to, (SUBJECT, "Sent with a plain password, accepted with XOAUTH2.")).await.map(drop)
}

/// Sends a message like a device that cannot log in. Returns the reply.
pub(super) async fn send_without_login(port: u16, from: &str, to: &str, message: Notice) -> anyhow::Result<String> {
    let mut smtp = Conversation::open(port).await?;
    smtp.expect("220").await?;
    smtp.ask("EHLO alarm", "250").await?;
    smtp.submit(from, to, message).await
}

/// Finds the message and reads it.
pub(super) async fn read_by_imap(port: u16, client: &Client<'_>) -> anyhow::Result<()> {
    let Client { login, password } = client;
    let mut imap = Conversation::open(port).await?;
    imap.expect("* OK").await?;
    imap.say(&format!("a1 LOGIN {login} {password}")).await?;
    imap.until(|line| line.starts_with("a1 ")).await?;
    imap.say("a2 SELECT INBOX").await?;
    imap.until(|line| line.starts_with("a2 ")).await?;
    imap.say("a3 FETCH * (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT])").await?;
    imap.until(|line| line.starts_with("a3 ")).await?;
    imap.say("a4 LOGOUT").await?;
    imap.until(|line| line.starts_with("a4 ")).await
}

/// Lists the maildrop and reads the newest message.
pub(super) async fn read_by_pop3(port: u16, client: &Client<'_>) -> anyhow::Result<()> {
    let Client { login, password } = client;
    let mut pop3 = Conversation::open(port).await?;
    pop3.expect("+OK").await?;
    pop3.ask(&format!("USER {login}"), "+OK").await?;
    pop3.ask(&format!("PASS {password}"), "+OK").await?;
    pop3.say("STAT").await?;
    let stat = pop3.line().await?;
    let newest = stat.split(' ').nth(1).context("STAT has a number of messages")?.to_owned();
    pop3.say(&format!("RETR {newest}")).await?;
    pop3.until(|line| line == ".").await?;
    pop3.ask("QUIT", "+OK").await.map(drop)
}
