//! POP3 as Exchange Online speaks it (RFC 1939, RFC 2449): XOAUTH2 in the two-line form, and the
//! transaction commands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{AFTER_LOGIN, BEFORE_LOGIN, Connection, Heard, hear};
use super::mode::{Service, UpstreamMode};
use super::provider::Provider;
use super::sasl::{self, Mechanism};
use super::state::SandboxState;
use super::store::INBOX;
use super::xoauth2::{Login, LoginVerdict};

/// The client's response: what a token of 4,096 characters needs. Longer ones are protocol errors
/// at Microsoft too.
const RESPONSE_OCTETS: usize = 6_144;
/// A command after login.
const COMMAND_OCTETS: usize = 253;
const PROTOCOL_ERROR: &str = "-ERR Protocol error. Connection is closed. 10\r\n";
const LOGON_FAILURE: &str = "-ERR Logon failure: unknown user name or bad password.\r\n";
/// Unusable commands in a row until the connection is closed.
const ERRORS: u32 = 10;

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
    if mode == UpstreamMode::Bye {
        connection.write("-ERR Connection is closed. 13\r\n");
        return connection.close().await;
    }
    connection.write(provider.pop3().greeting);
    let mut session = Pop3Session { shared, provider, connection, mode };
    match session.log_in().await? {
        Some(Some(login)) => session.transact(&login).await?,
        Some(None) => session.transact_unconnected().await?,
        None => {}
    }
    session.connection.close().await
}

struct Pop3Session<S> {
    shared: Arc<SandboxState>,
    provider: Provider,
    connection: Connection<S>,
    mode: UpstreamMode,
}

/// The INBOX as it was at login; numbers do not change during the session.
struct Maildrop {
    uid_validity: u32,
    messages: Vec<ListedMessage>,
}

struct ListedMessage {
    uid: u32,
    content: Arc<[u8]>,
    deleted: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pop3Session<S> {
    /// Runs the authorization state. `None` when the connection is to be closed, and `Some(None)`
    /// when the login was accepted, but the mailbox does not answer.
    async fn log_in(&mut self) -> io::Result<Option<Option<Login>>> {
        for _ in 0..ERRORS {
            let words = self.provider.pop3();
            let Some(line) = self.line(words.command_octets, BEFORE_LOGIN).await? else { return Ok(None) };
            let (verb, arguments) = split(&line);
            match (verb.as_str(), arguments) {
                ("CAPA", "") => self.connection.write(words.capabilities),
                ("QUIT", "") => {
                    self.connection.write("+OK Microsoft Exchange Server POP3 server signing off.\r\n");
                    return Ok(None);
                }
                ("AUTH", "") => self.connection.write(words.mechanisms),
                ("AUTH", mechanism) if Mechanism::at(self.provider, first_word(mechanism)).is_some() => {
                    let Some(authenticated) = self.authenticate(mechanism).await? else { return Ok(None) };
                    if let Authenticated::Yes(login) = authenticated {
                        return Ok(Some(login));
                    }
                }
                ("USER", name) if !name.is_empty() => self.connection.write("+OK\r\n"),
                ("PASS", password) if !password.is_empty() => self.connection.write(LOGON_FAILURE),
                ("AUTH", _) => self.connection.write("-ERR Unrecognized authentication type.\r\n"),
                _ => self.connection.write("-ERR Command is not valid in this state.\r\n"),
            }
        }
        self.connection.write(PROTOCOL_ERROR);
        Ok(None)
    }

    /// Executes AUTH with a mechanism, and perhaps with an initial response. `None` when the
    /// connection is to be closed.
    async fn authenticate(&mut self, arguments: &str) -> io::Result<Option<Authenticated>> {
        let words = self.provider.pop3();
        let (name, initial) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let Some(mechanism) = Mechanism::at(self.provider, name) else { return Ok(Some(Authenticated::No)) };
        let response = match initial.trim() {
            "" => {
                self.connection.write("+ \r\n");
                let Some(response) = self.line(RESPONSE_OCTETS, BEFORE_LOGIN).await? else { return Ok(None) };
                response
            }
            // The one-line form, which RFC 5034 §4 forbids for so long a response.
            _ if !words.takes_initial => {
                self.connection.write(PROTOCOL_ERROR);
                return Ok(None);
            }
            initial => initial.to_owned(),
        };
        let (server, presented) = ((self.provider, Service::Pop3), (mechanism, response.as_bytes()));
        match sasl::judge(&self.shared, server, self.mode, presented) {
            LoginVerdict::Accepted(login) => {
                self.connection.write(words.accepted);
                return Ok(Some(Authenticated::Yes(Some(login))));
            }
            LoginVerdict::NotConnected => {
                self.connection.write(words.accepted);
                return Ok(Some(Authenticated::Yes(None)));
            }
            LoginVerdict::Denied | LoginVerdict::Refused => {
                if let Some(challenge) = sasl::challenge(&self.shared, self.provider, mechanism) {
                    self.connection.write(format!("+ {challenge}\r\n"));
                    let Some(_) = self.line(RESPONSE_OCTETS, BEFORE_LOGIN).await? else { return Ok(None) };
                }
                self.connection.write(words.refused);
            }
            LoginVerdict::Unavailable
            | LoginVerdict::Barred(_)
            | LoginVerdict::OfAnotherKind
            | LoginVerdict::ExpiresSoon => {
                self.connection.write("-ERR [SYS/TEMP] Server is temporarily unavailable.\r\n");
            }
        }
        Ok(Some(Authenticated::No))
    }

    /// Refuses every command, because the mailbox does not answer.
    async fn transact_unconnected(&mut self) -> io::Result<()> {
        for _ in 0..ERRORS {
            let Some(_) = self.line(COMMAND_OCTETS, AFTER_LOGIN).await? else { return Ok(()) };
            self.connection.write("-ERR User is authenticated but not connected.\r\n");
        }
        Ok(())
    }

    /// Runs the transaction state, and the update state at QUIT.
    async fn transact(&mut self, login: &Login) -> io::Result<()> {
        let mut maildrop = Maildrop::open(login);
        let mut errors = 0;
        while errors < ERRORS {
            let Some(line) = self.line(COMMAND_OCTETS, AFTER_LOGIN).await? else { return Ok(()) };
            let (verb, arguments) = split(&line);
            if verb == "QUIT" && arguments.is_empty() {
                maildrop.update(login);
                self.connection.write("+OK Microsoft Exchange Server POP3 server signing off.\r\n");
                return Ok(());
            }
            if verb == "CAPA" && arguments.is_empty() {
                errors = 0;
                self.connection.write(self.provider.pop3().capabilities);
            } else if maildrop.execute(&verb, arguments, self.connection.output()).is_some() {
                errors = 0;
            } else {
                errors += 1;
                self.connection.write("-ERR Protocol error. 14\r\n");
            }
        }
        self.connection.write(PROTOCOL_ERROR);
        Ok(())
    }

    /// Sends what was gathered, unless more commands are waiting, and takes the next line.
    async fn line(&mut self, limit: usize, patience: Duration) -> io::Result<Option<String>> {
        self.connection.flush_before_line().await?;
        // What Exchange Online does to an open session when the token expires is not known; here it
        // goes on.
        match hear(&self.shared, &mut self.connection, limit, patience, None).await? {
            Heard::Line(line) => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            Heard::TooLong => {
                self.connection.write(PROTOCOL_ERROR);
                Ok(None)
            }
            Heard::Gone | Heard::TokenExpired => Ok(None),
        }
    }
}

/// How AUTH ended.
enum Authenticated {
    /// Accepted; `None` when the mailbox does not answer.
    Yes(Option<Login>),
    No,
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn split(line: &str) -> (String, &str) {
    let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
    (verb.to_ascii_uppercase(), arguments)
}

impl Maildrop {
    fn open(login: &Login) -> Self {
        login.mailbox.read(|folders| {
            let inbox = folders.get(INBOX);
            let entry = |(uid, message): (u32, &super::store::Message)| ListedMessage {
                uid,
                content: Arc::clone(&message.content),
                deleted: false,
            };
            Self {
                uid_validity: inbox.map_or(0, |folder| folder.uid_validity),
                messages: inbox.into_iter().flat_map(|folder| folder.by_uid()).map(entry).collect(),
            }
        })
    }

    /// Deletes what was marked; only a QUIT leads here.
    fn update(&self, login: &Login) {
        let doomed: Vec<u32> = self.messages.iter().filter(|entry| entry.deleted).map(|entry| entry.uid).collect();
        if !doomed.is_empty() {
            login.mailbox.change(|folders| {
                folders.expunge(self.uid_validity, |uid, _| doomed.binary_search(&uid).is_ok());
            });
        }
    }

    /// Writes the reply to a transaction command; `None` when it is not one, or its arguments are
    /// unusable.
    fn execute(&mut self, verb: &str, arguments: &str, out: &mut Vec<u8>) -> Option<()> {
        let mut words = arguments.split_ascii_whitespace();
        match (verb, words.next(), words.next(), words.next()) {
            ("STAT", None, ..) => {
                let (count, octets) = self.present().fold((0, 0), |(n, sum), (_, e)| (n + 1, sum + e.content.len()));
                out.extend(format!("+OK {count} {octets}\r\n").into_bytes());
            }
            ("LIST", None, ..) => self.list(out, |entry| entry.content.len().to_string()),
            ("UIDL", None, ..) => {
                let uid_validity = self.uid_validity;
                self.list(out, |entry| format!("{uid_validity}-{}", entry.uid));
            }
            ("LIST", Some(number), None, _) => {
                let reply = self.get(number).map(|entry| format!("{number} {}", entry.content.len()));
                answer(out, reply);
            }
            ("UIDL", Some(number), None, _) => {
                let reply = self.get(number).map(|entry| format!("{number} {}-{}", self.uid_validity, entry.uid));
                answer(out, reply);
            }
            ("RETR", Some(number), None, _) => match self.get(number) {
                Some(entry) => send(out, &entry.content, usize::MAX),
                None => answer(out, None),
            },
            ("TOP", Some(number), Some(lines), None) => {
                let lines = lines.parse().ok()?;
                match self.get(number) {
                    Some(entry) => send(out, &entry.content, lines),
                    None => answer(out, None),
                }
            }
            ("DELE", Some(number), None, _) => {
                let index = self.index(number);
                if let Some(entry) = index.and_then(|index| self.messages.get_mut(index)) {
                    entry.deleted = true;
                }
                answer(out, index.map(|_| String::new()));
            }
            ("RSET", None, ..) => {
                self.messages.iter_mut().for_each(|entry| entry.deleted = false);
                answer(out, Some(String::new()));
            }
            ("NOOP", None, ..) => answer(out, Some(String::new())),
            _ => return None,
        }
        Some(())
    }

    fn present(&self) -> impl Iterator<Item = (usize, &ListedMessage)> {
        self.messages.iter().enumerate().filter(|(_, entry)| !entry.deleted).map(|(index, entry)| (index + 1, entry))
    }

    fn index(&self, number: &str) -> Option<usize> {
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        self.messages.get(index).filter(|entry| !entry.deleted).map(|_| index)
    }

    fn get(&self, number: &str) -> Option<&ListedMessage> {
        self.index(number).map(|index| &self.messages[index])
    }

    fn list(&self, out: &mut Vec<u8>, item: impl Fn(&ListedMessage) -> String) {
        out.extend_from_slice(b"+OK\r\n");
        for (number, entry) in self.present() {
            out.extend(format!("{number} {}\r\n", item(entry)).into_bytes());
        }
        out.extend_from_slice(b".\r\n");
    }
}

fn answer(out: &mut Vec<u8>, reply: Option<String>) {
    match reply {
        Some(text) if text.is_empty() => out.extend_from_slice(b"+OK\r\n"),
        Some(text) => out.extend(format!("+OK {text}\r\n").into_bytes()),
        None => out.extend_from_slice(b"-ERR The specified message is out of range.\r\n"),
    }
}

/// A message with stuffed dots: the header, the blank line, and at most `body_lines` of the body.
fn send(out: &mut Vec<u8>, content: &[u8], body_lines: usize) {
    out.extend_from_slice(b"+OK\r\n");
    let mut left = None;
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if left == Some(0) {
            break;
        }
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        left = match left {
            Some(left) => Some(left - 1),
            None if line == b"\r\n" || line == b"\n" => Some(body_lines),
            None => None,
        };
    }
    if !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildrop() -> Maildrop {
        let entry = |uid, text: &str| ListedMessage { uid, content: Arc::from(text.as_bytes()), deleted: false };
        Maildrop { uid_validity: 9, messages: vec![entry(3, "A: b\r\n\r\n.one\r\ntwo\r\n"), entry(5, "C: d\r\n\r\nx")] }
    }

    fn say(maildrop: &mut Maildrop, line: &str) -> Option<String> {
        let mut out = Vec::new();
        let (verb, arguments) = split(line);
        maildrop.execute(&verb, arguments, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn messages_are_listed_and_sent_with_stuffed_dots() {
        let mut drop = maildrop();
        assert_eq!(say(&mut drop, "stat").unwrap(), "+OK 2 28\r\n");
        assert_eq!(say(&mut drop, "LIST").unwrap(), "+OK\r\n1 19\r\n2 9\r\n.\r\n");
        assert_eq!(say(&mut drop, "UIDL 2").unwrap(), "+OK 2 9-5\r\n");
        assert_eq!(say(&mut drop, "RETR 1").unwrap(), "+OK\r\nA: b\r\n\r\n..one\r\ntwo\r\n.\r\n");
        assert_eq!(say(&mut drop, "RETR 2").unwrap(), "+OK\r\nC: d\r\n\r\nx\r\n.\r\n");
        assert_eq!(say(&mut drop, "TOP 1 1").unwrap(), "+OK\r\nA: b\r\n\r\n..one\r\n.\r\n");
        assert_eq!(say(&mut drop, "TOP 1 0").unwrap(), "+OK\r\nA: b\r\n\r\n.\r\n");
        assert!(say(&mut drop, "RETR 3").unwrap().starts_with("-ERR"));
        assert!(say(&mut drop, "RETR 0").unwrap().starts_with("-ERR"));
        assert_eq!(say(&mut drop, "FROB"), None);
        assert_eq!(say(&mut drop, "TOP 1"), None);
    }

    #[test]
    fn deleting_is_taken_back_by_rset() {
        let mut drop = maildrop();
        assert_eq!(say(&mut drop, "DELE 1").unwrap(), "+OK\r\n");
        assert!(say(&mut drop, "DELE 1").unwrap().starts_with("-ERR"));
        assert_eq!(say(&mut drop, "LIST").unwrap(), "+OK\r\n2 9\r\n.\r\n");
        say(&mut drop, "RSET").unwrap();
        assert_eq!(say(&mut drop, "STAT").unwrap(), "+OK 2 28\r\n");
    }
}
