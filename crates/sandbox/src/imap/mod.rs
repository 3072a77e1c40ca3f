//! IMAP4rev1 as Exchange Online speaks it (RFC 3501 with UIDPLUS, MOVE, UNSELECT, IDLE, NAMESPACE,
//! ID, LITERAL+, SASL-IR).

mod attribute;
mod command;
mod envelope;
mod fetch;
mod folders;
mod lexer;
mod reply;
mod search;
mod selected;
mod structure;

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use self::attribute::Attribute;
use self::command::{Command, FlagChange};
use self::lexer::CommandRefused;
use self::reply::{Reply, Status};
use self::selected::{MessageTarget, Selected};
use super::connection::{AFTER_LOGIN, BEFORE_LOGIN, Connection, Heard, hear};
use super::mode::{Service, UpstreamMode};
use super::provider::Provider;
use super::sasl::{self, Mechanism};
use super::state::SandboxState;
use super::store::{Flags, Mailbox};
use super::xoauth2::{Login, LoginVerdict};

const PREAUTH: &str = "* PREAUTH The Microsoft Exchange IMAP4 service is ready.\r\n";

/// A command before login, literals included: an XOAUTH2 initial response of the longest tokens
/// seen.
const COMMAND_OCTETS_BEFORE_LOGIN: usize = 16 * 1024;
/// A line after login: long UID sets.
const LINE_OCTETS: usize = 64 * 1024;
/// A command after login, literals included: a message to append.
const COMMAND_OCTETS: usize = 64 << 20;
/// Commands that end in BAD, in a row, until the connection is closed.
const ERRORS: u32 = 10;
/// Messages that are searched before other tasks get their turn.
const SEARCH_STRIDE: usize = 32;

const INVALID_STATE: &str = "Command received in Invalid state.";

/// Serves one connection.
pub(super) async fn serve<S>(
    shared: Arc<SandboxState>,
    provider: Provider,
    stream: S,
    mode: UpstreamMode,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::new(stream);
    match mode {
        UpstreamMode::Bye => {
            connection.write("* BYE Connection is closed. 13\r\n");
            return connection.close().await;
        }
        UpstreamMode::Preauth => connection.write(PREAUTH),
        _ => connection.write(provider.imap().greeting),
    }
    let state = SessionState::NotAuthenticated;
    let mut session = ImapSession { shared, provider, connection, mode, state, selected: None };
    session.run().await?;
    session.connection.close().await
}

enum SessionState {
    NotAuthenticated,
    /// "Authenticated but not connected": the next command that needs the mailbox ends the session.
    NotConnected,
    Authenticated(Login),
}

/// What came from the client.
enum Input {
    Command(Vec<u8>),
    /// A command that was answered already.
    Answered,
    End,
}

/// Whether the session goes on after a command.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Close,
}

struct ImapSession<S> {
    shared: Arc<SandboxState>,
    provider: Provider,
    connection: Connection<S>,
    mode: UpstreamMode,
    state: SessionState,
    selected: Option<Selected>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ImapSession<S> {
    async fn run(&mut self) -> io::Result<()> {
        let mut errors = 0;
        loop {
            let octets = match self.input().await? {
                Input::Command(octets) => octets,
                Input::Answered => continue,
                Input::End => return Ok(()),
            };
            let (tag, rest) = split_tag(&octets);
            let reply = match Command::parse(rest) {
                Ok(Command::Logout) => {
                    self.connection.write("* BYE Microsoft Exchange Server IMAP4 server signing off.\r\n");
                    self.connection.write(Reply::completed("LOGOUT").line(tag));
                    return Ok(());
                }
                Ok(command) => match self.execute(command).await? {
                    Some(reply) => reply,
                    None => return Ok(()),
                },
                Err(CommandRefused::Unknown) => Reply::bad("Command Error. 12"),
                Err(CommandRefused::Arguments) => Reply::bad("Command Argument Error. 12"),
                Err(CommandRefused::Charset) => {
                    Reply::no("[BADCHARSET (US-ASCII UTF-8)] The specified charset is not supported.")
                }
            };
            errors = if reply.status == Status::Bad { errors + 1 } else { 0 };
            self.connection.write(reply.line(tag));
            if self.refuse_if_not_connected(&reply) == Flow::Close {
                return Ok(());
            }
            if errors >= ERRORS {
                self.connection.write("* BYE Connection is closed. 13\r\n");
                return Ok(());
            }
        }
    }

    /// A command with its literals; sends what was gathered first, unless more commands are
    /// waiting.
    async fn input(&mut self) -> io::Result<Input> {
        let logged_in = !matches!(self.state, SessionState::NotAuthenticated);
        let limit = if logged_in { COMMAND_OCTETS } else { COMMAND_OCTETS_BEFORE_LOGIN };
        let mut octets = Vec::new();
        loop {
            let Some(mut line) = self.line().await? else { return Ok(Input::End) };
            let announced = literal(&line);
            octets.append(&mut line);
            let Some((count, synchronising)) = announced else { return Ok(Input::Command(octets)) };
            if count > limit - octets.len().min(limit) {
                let (tag, _) = split_tag(&octets);
                let reply = Reply::no("[TOOBIG] The literal is too large.").line(tag);
                self.connection.write(reply);
                if synchronising {
                    return Ok(Input::Answered);
                }
                self.connection.write("* BYE Connection is closed. 13\r\n");
                return Ok(Input::End);
            }
            if synchronising {
                self.connection.write("+ Ready for additional command text.\r\n");
                self.connection.flush().await?;
            }
            octets.extend_from_slice(b"\r\n");
            self.connection.exactly(count, &mut octets).await?;
        }
    }

    /// A line; `None` when the session is over. The client then has been told why, if it can hear
    /// it.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.connection.flush_before_line().await?;
        let heard = match &self.state {
            SessionState::Authenticated(login) => {
                let expires_at = Some(login.expires_at);
                hear(&self.shared, &mut self.connection, LINE_OCTETS, AFTER_LOGIN, expires_at).await?
            }
            _ => hear(&self.shared, &mut self.connection, COMMAND_OCTETS_BEFORE_LOGIN, BEFORE_LOGIN, None).await?,
        };
        Ok(self.understand(heard))
    }

    fn understand(&mut self, heard: Heard) -> Option<Vec<u8>> {
        match heard {
            Heard::Line(line) => return Some(line),
            Heard::TooLong => self.connection.write("* BYE Connection is closed. 12\r\n"),
            Heard::TokenExpired => self.connection.write(self.provider.imap().expired),
            Heard::Gone => self.connection.write("* BYE Connection is closed. 13\r\n"),
        }
        None
    }

    /// Sends BYE right behind the BAD of "authenticated but not connected".
    fn refuse_if_not_connected(&mut self, reply: &Reply) -> Flow {
        if matches!(self.state, SessionState::NotConnected) && reply.status == Status::Bad {
            self.connection.write("* BYE Connection closed. 14\r\n");
            return Flow::Close;
        }
        Flow::Continue
    }

    /// Executes a command; `None` when the session is over.
    async fn execute(&mut self, command: Command) -> io::Result<Option<Reply>> {
        let mailbox = match (&self.state, &command) {
            (_, Command::Capability) => {
                let is_before = matches!(self.state, SessionState::NotAuthenticated);
                let words = self.provider.imap();
                let capabilities = if is_before { words.before } else { words.after };
                self.connection.write(format!("* CAPABILITY {capabilities}\r\n"));
                return Ok(Some(Reply::completed("CAPABILITY")));
            }
            (SessionState::NotConnected, _) => return Ok(Some(Reply::bad("User is authenticated but not connected."))),
            (_, Command::Id) => {
                self.connection.write(self.provider.imap().id);
                return Ok(Some(Reply::completed("ID")));
            }
            (SessionState::NotAuthenticated, Command::Noop) => return Ok(Some(Reply::completed("NOOP"))),
            (SessionState::NotAuthenticated, Command::Login) => return Ok(Some(Reply::no("LOGIN failed."))),
            (SessionState::NotAuthenticated, Command::Authenticate { .. }) => {
                let Command::Authenticate { mechanism, initial } = command else { return Ok(None) };
                return self.authenticate(&mechanism, initial).await;
            }
            (SessionState::NotAuthenticated, _) | (_, Command::Login | Command::Authenticate { .. }) => {
                return Ok(Some(Reply::bad(INVALID_STATE)));
            }
            (SessionState::Authenticated(login), _) => Arc::clone(&login.mailbox),
        };
        if command == Command::Idle {
            return self.idle(&mailbox).await;
        }
        // Numbers in the answers to these must stay what the client thinks they are.
        let numbered = matches!(
            command,
            Command::Fetch { by_uid: false, .. }
                | Command::Store { by_uid: false, .. }
                | Command::Search { by_uid: false, .. }
        );
        let reply = match self.on_folders(&mailbox, command) {
            Ok(reply) => reply,
            Err(command) => match self.on_messages(command).await? {
                Some(reply) => reply,
                None => Reply::bad(INVALID_STATE),
            },
        };
        if let Some(selected) = &mut self.selected {
            selected.announce(self.connection.output(), !numbered);
        }
        Ok(Some(reply))
    }

    async fn authenticate(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> io::Result<Option<Reply>> {
        let words = self.provider.imap();
        let Some(mechanism) = Mechanism::at(self.provider, mechanism) else {
            return Ok(Some(Reply::no(words.refused)));
        };
        let response = match initial {
            Some(response) => response,
            None => {
                self.connection.write("+ \r\n");
                let Some(response) = self.line().await? else { return Ok(None) };
                response
            }
        };
        let (server, presented) = ((self.provider, Service::Imap), (mechanism, response.as_slice()));
        Ok(Some(match sasl::judge(&self.shared, server, self.mode, presented) {
            LoginVerdict::Accepted(login) => {
                let welcome = Reply::ok(format!("{} authenticated (Success)", login.address));
                self.state = SessionState::Authenticated(login);
                if words.announces {
                    self.connection.write(format!("* CAPABILITY {}\r\n", words.after));
                    return Ok(Some(welcome));
                }
                Reply::completed("AUTHENTICATE")
            }
            LoginVerdict::NotConnected | LoginVerdict::Denied => {
                self.state = SessionState::NotConnected;
                Reply::completed("AUTHENTICATE")
            }
            LoginVerdict::Refused => {
                if let Some(challenge) = sasl::challenge(&self.shared, self.provider, mechanism) {
                    self.connection.write(format!("+ {challenge}\r\n"));
                    let Some(_) = self.line().await? else { return Ok(None) };
                }
                Reply::no(words.refused)
            }
            LoginVerdict::Unavailable
            | LoginVerdict::Barred(_)
            | LoginVerdict::OfAnotherKind
            | LoginVerdict::ExpiresSoon => Reply::no("[UNAVAILABLE] Server Unavailable. 15"),
        }))
    }

    /// Commands that need no selected folder; any other is given back.
    fn on_folders(&mut self, mailbox: &Arc<Mailbox>, command: Command) -> Result<Reply, Command> {
        let out = self.connection.output();
        Ok(match command {
            Command::Noop => Reply::completed("NOOP"),
            Command::Namespace => {
                out.extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
                Reply::completed("NAMESPACE")
            }
            Command::List { reference, pattern, subscribed_only } => {
                folders::list(out, mailbox, &reference, &pattern, subscribed_only)
            }
            Command::Status { mailbox: name, items } => folders::status(out, mailbox, &name, &items),
            Command::Create(name) => folders::create(mailbox, &name),
            Command::Delete(name) => folders::delete(mailbox, &name),
            Command::Rename { from, to } => folders::rename(mailbox, &from, &to),
            Command::Subscribe { mailbox: name, subscribed } => folders::subscribe(mailbox, &name, subscribed),
            Command::Append { mailbox: name, flags, received_at, content } => {
                let received_at = received_at.unwrap_or_else(|| self.shared.time.unix_seconds());
                match mailbox.append(&name, content.into(), flags, received_at) {
                    Ok((validity, uid)) => Reply::ok(format!("[APPENDUID {validity} {uid}] APPEND completed.")),
                    Err(error) => folders::result("APPEND", Err(error)),
                }
            }
            Command::Select { mailbox: name, read_only } => {
                let command = if read_only { "EXAMINE" } else { "SELECT" };
                // Even a failure leaves nothing selected (RFC 9051 §6.3.2).
                self.selected = Selected::open(out, mailbox, &name, read_only);
                match (&self.selected, read_only) {
                    (None, _) => folders::no_such_folder(command),
                    (Some(_), true) => Reply::ok("[READ-ONLY] EXAMINE completed."),
                    (Some(_), false) => Reply::ok("[READ-WRITE] SELECT completed."),
                }
            }
            command => return Err(command),
        })
    }

    /// Commands on the selected folder; `None` when none is selected.
    async fn on_messages(&mut self, command: Command) -> io::Result<Option<Reply>> {
        let Some(selected) = &mut self.selected else { return Ok(None) };
        let changes = matches!(command, Command::Store { .. } | Command::Expunge(_) | Command::Move { .. });
        if changes && selected.read_only {
            return Ok(Some(Reply::no("[READ-ONLY] The folder is read-only.")));
        }
        let out = self.connection.output();
        Ok(Some(match command {
            Command::Close => {
                if !selected.read_only {
                    selected.expunge(None);
                }
                self.selected = None;
                Reply::completed("CLOSE")
            }
            Command::Unselect => {
                self.selected = None;
                Reply::completed("UNSELECT")
            }
            Command::Check => Reply::completed("CHECK"),
            Command::Expunge(uids) => {
                selected.expunge(uids.as_ref());
                Reply::completed("EXPUNGE")
            }
            Command::Copy { set, mailbox, by_uid } => match selected.targets(&set, by_uid) {
                Some(targets) => selected.copy(out, &targets, &mailbox, false),
                None => invalid_set(),
            },
            Command::Move { set, mailbox, by_uid } => match selected.targets(&set, by_uid) {
                Some(targets) => selected.copy(out, &targets, &mailbox, true),
                None => invalid_set(),
            },
            Command::Store { set, change, flags, silent, by_uid } => match selected.targets(&set, by_uid) {
                Some(targets) => {
                    for target in targets {
                        if let Some(flags) = selected.store(target, change, flags).filter(|_| !silent) {
                            let uid = if by_uid { format!(" UID {}", target.1) } else { String::new() };
                            out.extend(format!("* {} FETCH (FLAGS ({flags}){uid})\r\n", target.0).into_bytes());
                        }
                    }
                    Reply::completed("STORE")
                }
                None => invalid_set(),
            },
            Command::Search { program, by_uid } => {
                let mut found = String::from("* SEARCH");
                for (index, target) in selected.all().into_iter().enumerate() {
                    if index % SEARCH_STRIDE == SEARCH_STRIDE - 1 {
                        tokio::task::yield_now().await;
                    }
                    if selected.matches(&program, target) {
                        found.push_str(&format!(" {}", if by_uid { target.1 } else { target.0 }));
                    }
                }
                self.connection.write(found);
                self.connection.write("\r\n");
                Reply::completed("SEARCH")
            }
            Command::Fetch { set, attributes, by_uid } => match selected.targets(&set, by_uid) {
                Some(targets) => self.fetch(targets, attributes, by_uid).await?,
                None => invalid_set(),
            },
            _ => return Ok(None),
        }))
    }

    async fn fetch(
        &mut self,
        targets: Vec<MessageTarget>,
        mut attributes: Vec<Attribute>,
        by_uid: bool,
    ) -> io::Result<Reply> {
        if by_uid && !attributes.contains(&Attribute::Uid) {
            attributes.insert(0, Attribute::Uid);
        }
        let sets_seen = fetch::sets_seen(&attributes);
        let with_flags = [attributes.as_slice(), &[Attribute::Flags]].concat();
        for target in targets {
            let Some(selected) = &mut self.selected else { break };
            let Some(mut message) = selected.message(target.1) else { continue };
            let mut wanted = &attributes;
            if sets_seen && !selected.read_only && !message.flags.intersects(Flags::SEEN) {
                message.flags = selected.store(target, FlagChange::Add, Flags::SEEN).unwrap_or(message.flags);
                // The client learns of the change here (RFC 9051 §6.4.5).
                if !attributes.contains(&Attribute::Flags) {
                    wanted = &with_flags;
                }
            }
            fetch::answer(self.connection.output(), target.0, target.1, &message, wanted);
            self.connection.flush_if_full().await?;
        }
        Ok(Reply::completed("FETCH"))
    }

    /// Executes IDLE (RFC 2177): announces at once what happens, until the client says DONE.
    async fn idle(&mut self, mailbox: &Mailbox) -> io::Result<Option<Reply>> {
        let expires_at = match &self.state {
            SessionState::Authenticated(login) => Some(login.expires_at),
            _ => None,
        };
        // Watching begins before looking, so that nothing falls in between.
        let mut watch = mailbox.watch();
        self.connection.write("+ IDLE accepted, awaiting DONE command.\r\n");
        loop {
            if let Some(selected) = &mut self.selected {
                selected.announce(self.connection.output(), true);
            }
            self.connection.flush().await?;
            let heard = tokio::select! {
                heard = hear(&self.shared, &mut self.connection, LINE_OCTETS, AFTER_LOGIN, expires_at) => heard?,
                // The sender lives in the mailbox that is borrowed here, so this never fails.
                _ = watch.changed() => continue,
            };
            let Some(line) = self.understand(heard) else { return Ok(None) };
            return Ok(Some(if line.eq_ignore_ascii_case(b"DONE") {
                Reply::completed("IDLE")
            } else {
                Reply::bad("Command Error. 12")
            }));
        }
    }
}

fn invalid_set() -> Reply {
    Reply::bad("The specified message set is invalid.")
}

/// The tag, and what follows its space. A tag that is none is answered with `*`.
fn split_tag(octets: &[u8]) -> (&str, &[u8]) {
    let end = octets.iter().position(|&octet| octet == b' ').unwrap_or(octets.len());
    let plain = |octet: &u8| octet.is_ascii_graphic() && !b"(){%*\"\\+".contains(octet);
    let rest = octets.get(end + 1..).unwrap_or_default();
    match std::str::from_utf8(&octets[..end]) {
        Ok(tag) if !tag.is_empty() && tag.bytes().all(|octet| plain(&octet)) => (tag, rest),
        _ => ("*", b""),
    }
}

/// The octets that a literal at the end of the line announces, and whether the client waits for
/// leave to send them.
fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let (inner, synchronising) = match inner.strip_suffix(b"+") {
        Some(inner) => (inner, false),
        None => (inner, true),
    };
    let digits = &inner[inner.iter().rposition(|&octet| octet == b'{')? + 1..];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Too many digits for a number is too large for any limit.
    let count = std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX);
    Some((count, synchronising))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_recognised_at_the_end_of_a_line_only() {
        assert_eq!(literal(b"A1 APPEND x {12}"), Some((12, true)));
        assert_eq!(literal(b"A1 APPEND x {12+}"), Some((12, false)));
        assert_eq!(literal(b"A1 X {99999999999999999999999}"), Some((usize::MAX, true)));
        for line in ["A1 NOOP", "A1 X {}", "A1 X {a}", "A1 X {1} ", "A1 X }", "A1 X \"{1}\""] {
            assert_eq!(literal(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_strange_tag_is_not_repeated() {
        assert_eq!(split_tag(b"A1 NOOP"), ("A1", &b"NOOP"[..]));
        assert_eq!(split_tag(b"A1"), ("A1", &b""[..]));
        for line in ["", " NOOP", "+ NOOP", "a\u{1} NOOP", "* NOOP"] {
            assert_eq!(split_tag(line.as_bytes()).0, "*", "{line:?}");
        }
    }
}
