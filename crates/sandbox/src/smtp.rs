//! SMTP submission as Exchange Online speaks it on port 587 (RFC 5321, RFC 6409): STARTTLS, then
//! AUTH XOAUTH2, then mail.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection::{AFTER_LOGIN, BEFORE_LOGIN, Connection, Heard, handshake, hear};
use super::dialect::SmtpDialect;
use super::mode::{Service, UpstreamMode};
use super::provider::Provider;
use super::sasl::{self, Mechanism};
use super::smtp_fault::SmtpFault;
use super::smtp_syntax::{is_name, path};
use super::state::SandboxState;
use super::store::{Flags, INBOX, Mailbox, OutboundMessage, SENT_ITEMS};
use super::xoauth2::{Login, LoginVerdict};
use super::{calendar, random};

/// A command. RFC 5321 §4.5.3.1.4 says 512; an XOAUTH2 initial response, which Exchange Online is
/// seen to take although RFC 4954 §4 forbids so long a line, and an AUTH response need what that
/// section calls sufficient.
const COMMAND_OCTETS: usize = 12_288;
/// Recipients of one message.
const RECIPIENTS: usize = 500;
/// Unusable commands in a row until the connection is closed.
const ERRORS: u32 = 10;

/// Serves one connection that begins without TLS, as on port 587.
pub(super) async fn serve(
    shared: Arc<SandboxState>,
    provider: Provider,
    tcp: TcpStream,
    mode: UpstreamMode,
) -> io::Result<()> {
    let mut session = SmtpSession::new(Arc::clone(&shared), provider, tcp, (mode, false));
    match session.greet_and_run().await? {
        End::Closed => session.connection.close().await,
        End::StartTls => {
            let stream = handshake(&shared, session.connection.into_stream(), mode).await?;
            let mut session = SmtpSession::new(shared, provider, stream, (mode, true));
            // Under TLS, STARTTLS is not known, so the only end is to close.
            session.run().await?;
            session.connection.close().await
        }
    }
}

/// Serves one connection under TLS, as on port 465.
pub(super) async fn serve_secure<S: AsyncRead + AsyncWrite + Unpin>(
    shared: Arc<SandboxState>,
    provider: Provider,
    stream: S,
    mode: UpstreamMode,
) -> io::Result<()> {
    let mut session = SmtpSession::new(shared, provider, stream, (mode, true));
    session.greet_and_run().await?;
    session.connection.close().await
}

enum End {
    Closed,
    StartTls,
}

struct SmtpSession<S> {
    shared: Arc<SandboxState>,
    provider: Provider,
    words: &'static SmtpDialect,
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
    provider: Provider,
    login: Login,
}

impl LoggedIn {
    fn new(shared: Arc<SandboxState>, provider: Provider, login: Login) -> Self {
        // The mailbox exists, so the number of names is bounded.
        shared.tally_of(provider).smtp_session_opened(&login.address);
        Self { shared, provider, login }
    }
}

impl Drop for LoggedIn {
    fn drop(&mut self) {
        self.shared.tally_of(self.provider).smtp_session_closed(&self.login.address);
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
    fn new(shared: Arc<SandboxState>, provider: Provider, stream: S, (mode, secure): (UpstreamMode, bool)) -> Self {
        let (connection, words) = (Connection::new(stream), provider.smtp());
        Self { shared, provider, words, connection, mode, secure, greeted: false, login: None, transaction: None }
    }

    async fn greet_and_run(&mut self) -> io::Result<End> {
        if self.mode == UpstreamMode::Bye {
            self.reply("421 4.3.2 Service not available, closing transmission channel");
            return Ok(End::Closed);
        }
        let date = match self.provider {
            Provider::Microsoft => calendar::message_date(self.shared.time.unix_seconds()),
            _ => String::new(),
        };
        self.reply(&format!("220 {} {}{date}", self.words.host, self.words.greeting));
        self.run().await
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
                        self.reply(self.words.ready_for_tls);
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
            return self.reply(format!("250 {} {}", self.words.host, self.words.hello).trim_end());
        }
        let words = self.words;
        let security = match (self.secure, self.mode) {
            (true, _) => Some(words.auth),
            (false, UpstreamMode::NoStartTls) => None,
            (false, _) => Some("STARTTLS"),
        };
        let mut lines = vec![format!("{} {}", words.host, words.hello).trim_end().to_owned()];
        lines.extend(
            words.keywords.iter().copied().chain(security).chain(words.more.iter().copied()).map(str::to_owned),
        );
        let last = lines.len() - 1;
        for (at, line) in lines.iter().enumerate() {
            self.reply(&format!("250{}{line}", if at == last { ' ' } else { '-' }));
        }
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
        } else if let Some(mechanism) = Mechanism::at(self.provider, mechanism) {
            let Some(response) = self.response(initial, "334 ").await? else { return Ok(false) };
            return self.judge(mechanism, response.as_bytes()).await;
        } else if self.provider == Provider::Microsoft && mechanism.eq_ignore_ascii_case("LOGIN") {
            let Some(_) = self.response(initial, "334 VXNlcm5hbWU6").await? else { return Ok(false) };
            let Some(_) = self.response(None, "334 UGFzc3dvcmQ6").await? else { return Ok(false) };
            let host = self.words.host;
            self.reply(&format!("535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [{host}]"));
        } else {
            self.reply("504 5.7.4 Unrecognized authentication type");
        }
        Ok(true)
    }

    /// Judges a client's response. False when the client is gone.
    async fn judge(&mut self, mechanism: Mechanism, response: &[u8]) -> io::Result<bool> {
        match sasl::judge(&self.shared, (self.provider, Service::Smtp), self.mode, (mechanism, response)) {
            LoginVerdict::Accepted(login) => {
                self.login = Some(LoggedIn::new(Arc::clone(&self.shared), self.provider, login));
                self.reply(self.words.accepted);
            }
            LoginVerdict::Denied | LoginVerdict::NotConnected | LoginVerdict::Refused => {
                if let Some(challenge) = sasl::challenge(&self.shared, self.provider, mechanism) {
                    self.reply(&format!("334 {challenge}"));
                    let Some(_) = self.line().await? else { return Ok(false) };
                }
                self.reply(self.words.refused);
            }
            LoginVerdict::Barred(reason) => {
                let host = self.words.host;
                self.reply(&format!("535 5.7.139 Authentication unsuccessful, {reason} [{host}]"));
            }
            LoginVerdict::OfAnotherKind => self.reply("501 5.5.124 Invalid XOAUTH2 auth data"),
            LoginVerdict::ExpiresSoon => self.reply("535 5.7.142 Token will expire soon"),
            LoginVerdict::Unavailable => self.reply("454 4.7.0 Temporary authentication failure"),
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
            return self.reply(self.words.unauthenticated);
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
                    Ok(octets) if octets <= self.words.message_octets => {}
                    Ok(_) => return self.reply("552 5.3.4 Message size exceeds fixed maximum message size"),
                    Err(_) => return self.reply("501 5.5.4 Invalid arguments"),
                },
                "BODY" | "SMTPUTF8" | "AUTH" => {}
                "RET" | "ENVID" if self.words.has_dsn => {}
                _ => return self.reply(self.words.unknown_parameter),
            }
        }
        let fault = match self.shared.provider(self.provider) {
            Some(state) => state.smtp_faults.take(),
            None => self.shared.smtp_faults.take().or_else(|| self.shared.weather.smtp()),
        };
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
        let message = self.connection.dot_stuffed(self.words.message_octets).await?;
        self.submit(message).await
    }

    /// Executes BDAT (RFC 3030). False when the connection is to be closed, because the chunk's end
    /// is not known.
    async fn chunk(&mut self, arguments: &str) -> io::Result<bool> {
        let mut words = arguments.split_ascii_whitespace();
        let octets =
            words.next().and_then(|word| word.parse::<usize>().ok()).filter(|&n| n <= self.words.message_octets);
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
                Some(mut so_far) if so_far.len() + octets <= self.words.message_octets => {
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
            return self.words.unauthenticated.into();
        };
        let Some(message) = message else {
            return "552 5.3.4 Message size exceeds fixed maximum message size".into();
        };
        let is_bare = |at: usize| at == 0 || message.get(at - 1) != Some(&b'\r');
        let mut line_feeds = message.iter().enumerate().filter(|(_, octet)| **octet == b'\n');
        if self.mode == UpstreamMode::RefusesBareLf && line_feeds.any(|(at, _)| is_bare(at)) {
            return "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds".into();
        }
        // Gmail takes any sender, and replaces it.
        let any_sender = self.provider == Provider::Google;
        if !any_sender && !self.shared.directory.may_send_as(&login.address, &transaction.sender) {
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
        let host = self.words.host;
        let now = self.shared.time.unix_seconds();
        let id = random::guid();
        let date = calendar::message_date(now);
        let message: Arc<[u8]> = message.into();
        if login.mailbox.append(SENT_ITEMS, Arc::clone(&message), Flags::SEEN, now).is_err() {
            return "554 5.2.2 mailbox full; STOREDRV.Submission".into();
        }
        let mut delivered =
            format!("Received: from [127.0.0.1] by {host} with ESMTPSA\r\n id {id}; {date}\r\n").into_bytes();
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
        match self.provider {
            Provider::Microsoft => format!("250 2.0.0 OK <{id}@{host}> [Hostname={host}]"),
            Provider::Google => format!("250 2.0.0 OK  {now} {id} - gsmtp"),
            Provider::Plain => format!("250 2.0.0 Ok: queued as {id}"),
        }
    }
}
