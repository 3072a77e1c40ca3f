//! SMTP submission as Exchange Online speaks it on port 587 (RFC 5321, RFC 6409): STARTTLS, then
//! AUTH XOAUTH2, then mail.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection::{AFTER_LOGIN, BEFORE_LOGIN, Connection, Heard, handshake, hear};
use super::mode::{Service, UpstreamMode};
use super::smtp_fault::SmtpFault;
use super::state::SandboxState;
use super::store::{Flags, INBOX, Mailbox, OutboundMessage, SENT_ITEMS};
use super::xoauth2::{self, Login, LoginVerdict};
use super::{calendar, random};

/// A command. RFC 5321 §4.5.3.1.4 says 512; an XOAUTH2 initial response, which Exchange Online is
/// seen to take although RFC 4954 §4 forbids so long a line, and an AUTH response need what that
/// section calls sufficient.
const COMMAND_OCTETS: usize = 12_288;
/// A message, in octets; what SIZE announces.
const MESSAGE_OCTETS: usize = 157_286_400;
/// Recipients of one message.
const RECIPIENTS: usize = 500;
/// Unusable commands in a row until the connection is closed.
const ERRORS: u32 = 10;
const HOST: &str = "sandbox.outlook.office365.com";

/// Serves one connection.
pub(super) async fn serve(shared: Arc<SandboxState>, tcp: TcpStream, mode: UpstreamMode) -> io::Result<()> {
    let mut session = SmtpSession::new(Arc::clone(&shared), tcp, mode, false);
    if mode == UpstreamMode::Bye {
        session.reply("421 4.3.2 Service not available, closing transmission channel");
        return session.connection.close().await;
    }
    let date = calendar::message_date(shared.time.unix_seconds());
    session.reply(&format!("220 {HOST} Microsoft ESMTP MAIL Service ready at {date}"));
    match session.run().await? {
        End::Closed => session.connection.close().await,
        End::StartTls => {
            let stream = handshake(&shared, session.connection.into_stream(), mode).await?;
            let mut session = SmtpSession::new(shared, stream, mode, true);
            // Under TLS, STARTTLS is not known, so the only end is to close.
            session.run().await?;
            session.connection.close().await
        }
    }
}

enum End {
    Closed,
    StartTls,
}

struct SmtpSession<S> {
    shared: Arc<SandboxState>,
    connection: Connection<S>,
    mode: UpstreamMode,
    secure: bool,
    greeted: bool,
    login: Option<LoggedIn>,
    transaction: Option<Transaction>,
}

/// A login, counted for as long as its session is open.
struct LoggedIn {
    shared: Arc<SandboxState>,
    login: Login,
}

impl LoggedIn {
    fn new(shared: Arc<SandboxState>, login: Login) -> Self {
        // The mailbox exists, so the number of names is bounded.
        shared.tally.smtp_session_opened(&login.address);
        Self { shared, login }
    }
}

impl Drop for LoggedIn {
    fn drop(&mut self) {
        self.shared.tally.smtp_session_closed(&self.login.address);
    }
}

/// A mail transaction.
struct Transaction {
    sender: String,
    local: Vec<Arc<Mailbox>>,
    outside: Vec<String>,
    /// What BDAT has brought; `None` once it is too much.
    chunks: Option<Vec<u8>>,
    fault: Option<SmtpFault>,
}

/// The end of a connection without a reply.
fn closed() -> io::Error {
    io::Error::other("closed on demand")
}

impl<S: AsyncRead + AsyncWrite + Unpin> SmtpSession<S> {
    fn new(shared: Arc<SandboxState>, stream: S, mode: UpstreamMode, secure: bool) -> Self {
        let connection = Connection::new(stream);
        Self { shared, connection, mode, secure, greeted: false, login: None, transaction: None }
    }

    fn reply(&mut self, line: &str) {
        self.connection.write(line);
        self.connection.write("\r\n");
    }

    async fn run(&mut self) -> io::Result<End> {
        let mut errors = 0;
        while let Some(line) = self.line().await? {
            let (verb, arguments) = line.split_once(' ').unwrap_or((&line, ""));
            let arguments = arguments.trim();
            errors += 1;
            match verb.to_ascii_uppercase().as_str() {
                "QUIT" => {
                    self.reply("221 2.0.0 Service closing transmission channel");
                    return Ok(End::Closed);
                }
                "EHLO" => self.hello(arguments, true),
                "HELO" => self.hello(arguments, false),
                "NOOP" => self.reply("250 2.0.0 OK"),
                "RSET" => {
                    self.transaction = None;
                    self.reply("250 2.0.0 Resetting");
                }
                "HELP" => self.reply("214 This server supports the following commands: HELO EHLO STARTTLS RCPT DATA RSET MAIL QUIT HELP AUTH BDAT"),
                "VRFY" => self.reply("252 2.1.5 Cannot VRFY user"),
                "STARTTLS" if !self.secure && self.mode != UpstreamMode::NoStartTls => {
                    if !self.greeted {
                        self.reply("503 5.5.1 Bad sequence of commands");
                    } else if self.connection.has_input() {
                        // What follows was said in the clear and must not count under TLS.
                        self.reply("554 5.5.1 Commands behind STARTTLS");
                        return Ok(End::Closed);
                    } else {
                        self.reply("220 2.0.0 SMTP server ready");
                        if self.mode == UpstreamMode::SpeaksBeforeTls {
                            self.reply("250 2.0.0 said before TLS");
                        }
                        self.connection.flush().await?;
                        return Ok(End::StartTls);
                    }
                }
                "AUTH" => {
                    if !self.authenticate(arguments).await? {
                        return Ok(End::Closed);
                    }
                    errors = if self.login.is_some() { 0 } else { errors };
                }
                "MAIL" => self.mail(arguments),
                "RCPT" => self.recipient(arguments),
                "DATA" => self.data().await?,
                "BDAT" => {
                    if !self.chunk(arguments).await? {
                        return Ok(End::Closed);
                    }
                }
                _ => {
                    self.reply("500 5.3.3 Unrecognized command");
                    if errors >= ERRORS {
                        self.reply("421 4.7.0 Too many errors on this connection, closing transmission channel");
                        return Ok(End::Closed);
                    }
                    continue;
                }
            }
            if self.login.is_some() {
                errors = 0;
            } else if errors >= ERRORS {
                self.reply("421 4.7.0 Too many commands before authentication, closing transmission channel");
                return Ok(End::Closed);
            }
        }
        Ok(End::Closed)
    }

    /// Sends what was gathered, unless more commands are waiting, and takes the next line.
    async fn line(&mut self) -> io::Result<Option<String>> {
        self.connection.flush_before_line().await?;
        let patience = if self.login.is_some() { AFTER_LOGIN } else { BEFORE_LOGIN };
        match hear(&self.shared, &mut self.connection, COMMAND_OCTETS, patience, None).await? {
            Heard::Line(line) => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            Heard::TooLong => {
                self.reply("500 5.3.3 Line too long");
                Ok(None)
            }
            Heard::Gone | Heard::TokenExpired => Ok(None),
        }
    }

    fn hello(&mut self, name: &str, extended: bool) {
        if !is_name(name) {
            return self.reply("501 5.5.4 Invalid domain name");
        }
        self.greeted = true;
        self.transaction = None;
        if !extended {
            return self.reply(&format!("250 {HOST} Hello [127.0.0.1]"));
        }
        let security = match (self.secure, self.mode) {
            (true, _) => Some("AUTH LOGIN XOAUTH2"),
            (false, UpstreamMode::NoStartTls) => None,
            (false, _) => Some("STARTTLS"),
        };
        self.reply(&format!("250-{HOST} Hello [127.0.0.1]"));
        let before = ["SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES"];
        let after = ["8BITMIME", "BINARYMIME", "CHUNKING"];
        for keyword in before.into_iter().chain(security).chain(after) {
            self.reply(&format!("250-{keyword}"));
        }
        self.reply("250 SMTPUTF8");
    }

    /// Executes AUTH (RFC 4954). False when the client is gone.
    async fn authenticate(&mut self, arguments: &str) -> io::Result<bool> {
        let (mechanism, initial) = match arguments.split_once(' ') {
            Some((mechanism, initial)) => (mechanism, Some(initial.trim().to_owned())),
            None => (arguments, None),
        };
        if self.login.is_some() || !self.greeted {
            self.reply("503 5.5.1 Bad sequence of commands");
        } else if !self.secure {
            self.reply("504 5.7.4 Unrecognized authentication type");
        } else if mechanism.eq_ignore_ascii_case("XOAUTH2") {
            let Some(response) = self.response(initial, "334 ").await? else { return Ok(false) };
            match xoauth2::judge(&self.shared, Service::Smtp, self.mode, response.as_bytes()) {
                LoginVerdict::Accepted(login) => {
                    self.login = Some(LoggedIn::new(Arc::clone(&self.shared), login));
                    self.reply("235 2.7.0 Authentication successful");
                }
                LoginVerdict::Denied | LoginVerdict::NotConnected | LoginVerdict::Refused => {
                    self.reply(&format!("535 5.7.3 Authentication unsuccessful [{HOST}]"));
                }
                LoginVerdict::Barred(reason) => {
                    self.reply(&format!("535 5.7.139 Authentication unsuccessful, {reason} [{HOST}]"));
                }
                LoginVerdict::OfAnotherKind => self.reply("501 5.5.124 Invalid XOAUTH2 auth data"),
                LoginVerdict::ExpiresSoon => self.reply("535 5.7.142 Token will expire soon"),
                LoginVerdict::Unavailable => self.reply("454 4.7.0 Temporary authentication failure"),
            }
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            let Some(_) = self.response(initial, "334 VXNlcm5hbWU6").await? else { return Ok(false) };
            let Some(_) = self.response(None, "334 UGFzc3dvcmQ6").await? else { return Ok(false) };
            self.reply(&format!("535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [{HOST}]"));
        } else {
            self.reply("504 5.7.4 Unrecognized authentication type");
        }
        Ok(true)
    }

    /// The client's response, asked for unless it is already there.
    async fn response(&mut self, initial: Option<String>, challenge: &str) -> io::Result<Option<String>> {
        if initial.is_some() {
            return Ok(initial);
        }
        self.reply(challenge);
        self.line().await
    }

    fn mail(&mut self, arguments: &str) {
        if self.login.is_none() {
            return self.reply("530 5.7.57 Client not authenticated to send mail.");
        }
        if self.transaction.is_some() {
            return self.reply("503 5.5.2 Sender already specified");
        }
        let Some((sender, parameters)) = path(arguments, "FROM:") else {
            return self.reply("501 5.5.4 Invalid arguments");
        };
        for parameter in parameters.split_ascii_whitespace() {
            let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match keyword.to_ascii_uppercase().as_str() {
                "SIZE" => match value.parse::<usize>() {
                    Ok(octets) if octets <= MESSAGE_OCTETS => {}
                    Ok(_) => return self.reply("552 5.3.4 Message size exceeds fixed maximum message size"),
                    Err(_) => return self.reply("501 5.5.4 Invalid arguments"),
                },
                "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH" => {}
                _ => return self.reply("501 5.5.4 Unrecognized parameter"),
            }
        }
        let fault = self.shared.smtp_faults.take().or_else(|| self.shared.weather.smtp());
        if let Some(SmtpFault::RefuseSender(reply)) = fault {
            return self.reply(reply);
        }
        let (local, outside) = (Vec::new(), Vec::new());
        self.transaction = Some(Transaction { sender, local, outside, chunks: Some(Vec::new()), fault });
        self.reply("250 2.1.0 Sender OK");
    }

    fn recipient(&mut self, arguments: &str) {
        let Some(transaction) = &mut self.transaction else {
            return self.reply("503 5.5.2 Need mail command");
        };
        if let Some(SmtpFault::RefuseRecipients(reply)) = transaction.fault {
            return self.reply(reply);
        }
        let reply = match path(arguments, "TO:") {
            None => "501 5.5.4 Invalid arguments",
            Some(_) if transaction.local.len() + transaction.outside.len() >= RECIPIENTS => {
                "452 4.5.3 Too many recipients"
            }
            Some((recipient, _)) => match recipient.rsplit_once('@') {
                None => "501 5.1.3 Invalid address",
                Some((_, domain)) if !self.shared.directory.is_local(domain) => {
                    transaction.outside.push(recipient);
                    "250 2.1.5 Recipient OK"
                }
                Some(_) => match self.shared.directory.mailbox(&recipient) {
                    Some(mailbox) => {
                        transaction.local.push(mailbox);
                        "250 2.1.5 Recipient OK"
                    }
                    None => "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
                },
            },
        };
        self.reply(reply);
    }

    fn has_recipients(&self) -> bool {
        self.transaction.as_ref().is_some_and(|t| !t.local.is_empty() || !t.outside.is_empty())
    }

    async fn data(&mut self) -> io::Result<()> {
        let by_chunks = |t: &Transaction| t.chunks.as_ref().is_none_or(|chunks| !chunks.is_empty());
        if !self.has_recipients() || self.transaction.as_ref().is_some_and(by_chunks) {
            self.reply("503 5.5.2 Need rcpt command");
            return Ok(());
        }
        self.reply("354 Start mail input; end with <CRLF>.<CRLF>");
        self.connection.flush().await?;
        if self.transaction.as_ref().is_some_and(|t| t.fault == Some(SmtpFault::CutBeforeContent)) {
            return Err(closed());
        }
        let message = self.connection.dot_stuffed(MESSAGE_OCTETS).await?;
        self.submit(message).await
    }

    /// Executes BDAT (RFC 3030). False when the connection is to be closed, because the chunk's end
    /// is not known.
    async fn chunk(&mut self, arguments: &str) -> io::Result<bool> {
        let mut words = arguments.split_ascii_whitespace();
        let octets = words.next().and_then(|word| word.parse::<usize>().ok()).filter(|&n| n <= MESSAGE_OCTETS);
        let (Some(octets), last) = (octets, words.next()) else {
            self.reply("501 5.5.4 Invalid arguments");
            return Ok(false);
        };
        let mut chunk = Vec::new();
        self.connection.exactly(octets, &mut chunk).await?;
        if !self.has_recipients() {
            self.reply("503 5.5.2 Need rcpt command");
            return Ok(true);
        }
        if let Some(transaction) = &mut self.transaction {
            if transaction.fault == Some(SmtpFault::CutBeforeContent) {
                return Err(closed());
            }
            transaction.chunks = match transaction.chunks.take() {
                Some(mut so_far) if so_far.len() + octets <= MESSAGE_OCTETS => {
                    so_far.append(&mut chunk);
                    Some(so_far)
                }
                _ => None,
            };
        }
        if last.is_some_and(|word| word.eq_ignore_ascii_case("LAST")) {
            let message = self.transaction.as_mut().and_then(|transaction| transaction.chunks.take());
            self.submit(message).await?;
        } else {
            self.reply(&format!("250 2.6.0 CHUNK received OK, {octets} octets"));
        }
        Ok(true)
    }

    /// Takes a whole message, or `None` for one that was too long, ends the transaction, and
    /// replies.
    async fn submit(&mut self, message: Option<Vec<u8>>) -> io::Result<()> {
        let Some(transaction) = self.transaction.take() else { return Ok(()) };
        let fault = transaction.fault;
        match fault {
            Some(SmtpFault::RefuseMessage(reply)) => {
                self.reply(reply);
                return Ok(());
            }
            Some(SmtpFault::Cut) => return Err(closed()),
            _ => {}
        }
        let reply = self.send(transaction, message);
        match fault {
            Some(SmtpFault::RefuseWhenDone(refusal)) => self.reply(refusal),
            Some(SmtpFault::CutWhenDone) => return Err(closed()),
            Some(SmtpFault::Slow(late)) => {
                tokio::time::sleep(late).await;
                self.reply(&reply);
            }
            _ => self.reply(&reply),
        }
        Ok(())
    }

    /// Sends a message, and gives the reply.
    fn send(&self, transaction: Transaction, message: Option<Vec<u8>>) -> String {
        // Without a login there is no transaction.
        let Some(LoggedIn { login, .. }) = &self.login else {
            return "530 5.7.57 Client not authenticated to send mail.".into();
        };
        let Some(message) = message else {
            return "552 5.3.4 Message size exceeds fixed maximum message size".into();
        };
        let is_bare = |at: usize| at == 0 || message.get(at - 1) != Some(&b'\r');
        let mut line_feeds = message.iter().enumerate().filter(|(_, octet)| **octet == b'\n');
        if self.mode == UpstreamMode::RefusesBareLf && line_feeds.any(|(at, _)| is_bare(at)) {
            return "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds".into();
        }
        if !self.shared.directory.may_send_as(&login.address, &transaction.sender) {
            return "550 5.7.60 SMTP; Client does not have permissions to send as this sender".into();
        }
        if !self.shared.exchange.may_send_as(&login.address) {
            let (mailbox, sender) = (&login.address, &transaction.sender);
            return format!(
                "554 5.2.252 SendAsDenied; {mailbox} not allowed to send as {sender}; STOREDRV.Submission.Exception:\
                 SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception \
                 with message [BeginDiagnosticData]Cannot submit message."
            );
        }
        let now = self.shared.time.unix_seconds();
        let id = random::guid();
        let date = calendar::message_date(now);
        let message: Arc<[u8]> = message.into();
        if login.mailbox.append(SENT_ITEMS, Arc::clone(&message), Flags::SEEN, now).is_err() {
            return "554 5.2.2 mailbox full; STOREDRV.Submission".into();
        }
        let mut delivered =
            format!("Received: from [127.0.0.1] by {HOST} with ESMTPSA\r\n id {id}; {date}\r\n").into_bytes();
        delivered.extend_from_slice(&message);
        let delivered: Arc<[u8]> = delivered.into();
        for mailbox in &transaction.local {
            // A full mailbox would bounce later; the submission itself is accepted.
            let _ = mailbox.append(INBOX, Arc::clone(&delivered), Flags::default(), now);
        }
        self.shared.deliveries.record(Service::Smtp, &login.address, &message);
        if !transaction.outside.is_empty() {
            let Transaction { sender, outside: recipients, .. } = transaction;
            self.shared.outbox.push(OutboundMessage { sender, recipients, content: message });
        }
        format!("250 2.0.0 OK <{id}@{HOST}> [Hostname={HOST}]")
    }
}

/// The path and the parameters behind `FROM:` or `TO:` (RFC 5321 §4.1.2). A source route is not
/// taken.
fn path<'a>(arguments: &'a str, keyword: &str) -> Option<(String, &'a str)> {
    let (head, rest) = arguments.split_at_checked(keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (path, parameters) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    let plain = !path.starts_with('@') && !path.contains(|c: char| c.is_control() || c == ' ' || c == '<');
    plain.then(|| (path.to_owned(), parameters))
}

/// Whether Exchange takes a name in EHLO: labels of letters, digits and hyphens, or an address in
/// brackets.
fn is_name(name: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    name.starts_with('[') && name.ends_with(']') || name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart() {
        assert_eq!(path("FROM:<a@b> SIZE=5", "FROM:"), Some(("a@b".into(), " SIZE=5")));
        assert_eq!(path("from: <>", "FROM:"), Some((String::new(), "")));
        for arguments in ["FROM:a@b", "TO:<a@b>", "FROM:<a b@c>", "FROM:<@x:a@b>", "FROM:<a@b", "F"] {
            assert_eq!(path(arguments, "FROM:"), None, "{arguments}");
        }
    }
}
