//! Signs in to a mailbox over IMAP, POP3 or SMTP, and looks whether it opens.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::talk::Talk;
use crate::login::{Authenticator, AuthorizedLogin};
use crate::session::context::SessionContext;
use crate::session::fresh_token::with_fresh_token;
use crate::session::upstream::MailServers;
use gatepost_config::{Grant, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::escape::escaped;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::{MailProtocol, Protocol};

/// Longest excerpt of a server's reply, in octets.
const REPLY_OCTETS: usize = 200;

/// Why a mailbox did not open.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// As many sessions as it may have are in use, and none was disturbed.
    Occupied,
    /// The failure of a client's login.
    Failed(Failure),
    /// The login succeeded, and the command behind it did not.
    Refused {
        /// The command.
        command: String,
        /// The server's reply, or what happened instead.
        reply: String,
    },
}

/// A message that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The recipient.
    pub(crate) to: MailAddress,
    /// Its complete text, with CRLF line ends.
    pub(crate) text: String,
}

/// A mailbox at a mail server.
pub(crate) struct MailboxProbe<'a> {
    /// What sessions share.
    pub(crate) shared: &'a SessionContext,
    /// The servers, of which the account has one.
    pub(crate) servers: &'a MailServers,
    /// When all of it ends.
    pub(crate) end: Instant,
}

impl MailboxProbe<'_> {
    /// Signs in and looks whether the mailbox opens: IMAP asks for the state of INBOX, POP3 for the
    /// number of messages, SMTP begins a message to the mailbox itself and drops it. With a
    /// message, SMTP sends it. Returns what was found, for people.
    ///
    /// # Errors
    /// [`Unopened`].
    pub(crate) async fn open(&self, admission: AuthorizedLogin, message: Option<&Message>) -> Result<String, Unopened> {
        let protocol = Protocol::from(self.servers.protocol());
        let mailbox = admission.bearer.user.clone();
        let place = self.shared.places.try_acquire(protocol, &mailbox).ok_or(Unopened::Occupied)?;
        let login = admission.login.clone();
        let authenticator = &self.shared.authenticator;
        let fetch = || again(authenticator, &login);
        let sign_in =
            |admission: &AuthorizedLogin| self.shared.sign_in_as(self.servers, admission, &mailbox, &place, self.end);
        let signed_in = match admission.account.grant {
            // Another token needs the user's password again, which counts if Entra rejects it.
            Grant::Password => sign_in(&admission).await,
            _ => {
                let again = with_fresh_token(authenticator, admission, fetch, sign_in).await;
                again.map_err(Unopened::Failed)?.map(|(_, signed_in)| signed_in)
            }
        };
        let (stream, authenticated) = signed_in.map_err(|error| Unopened::Failed(error.failure))?;
        let talk = Talk::new(stream, authenticated.into_leftovers(), self.end);
        match self.servers.protocol() {
            MailProtocol::Imap => imap(talk).await,
            MailProtocol::Pop3 => pop3(talk).await,
            MailProtocol::Smtp => smtp(talk, &mailbox, message).await,
        }
    }
}

async fn imap(mut talk: Talk) -> Result<String, Unopened> {
    const STATUS: &str = "STATUS INBOX";
    let asked = async {
        talk.say("d1 STATUS INBOX (MESSAGES)").await?;
        talk.reply(|line| line.starts_with("d1 ")).await
    };
    let lines = asked.await.map_err(broken(STATUS))?;
    let last = lines.last().map(String::as_str).unwrap_or_default();
    if !last.to_ascii_uppercase().starts_with("D1 OK") {
        return Err(refused(STATUS, last));
    }
    let messages = lines.iter().find_map(|line| {
        let (_, behind) = line.split_once("MESSAGES ")?;
        behind.split([' ', ')']).next()?.parse::<u64>().ok()
    });
    talk.end("d2 LOGOUT").await;
    Ok(messages.map_or_else(|| "INBOX opens".to_owned(), |number| format!("INBOX has {}", counted(number))))
}

async fn pop3(mut talk: Talk) -> Result<String, Unopened> {
    const STAT: &str = "STAT";
    let asked = async {
        talk.say(STAT).await?;
        talk.reply(|_| true).await
    };
    let lines = asked.await.map_err(broken(STAT))?;
    let reply = lines.first().map(String::as_str).unwrap_or_default();
    let Some(figures) = reply.strip_prefix("+OK ") else { return Err(refused(STAT, reply)) };
    let number = figures.split(' ').next().and_then(|number| number.parse::<u64>().ok());
    talk.end("QUIT").await;
    Ok(number.map_or_else(|| "the mailbox opens".to_owned(), |number| format!("INBOX has {}", counted(number))))
}

async fn smtp(mut talk: Talk, mailbox: &MailAddress, message: Option<&Message>) -> Result<String, Unopened> {
    let to = message.map_or(mailbox, |message| &message.to);
    let mut commands = vec![format!("MAIL FROM:<{mailbox}>"), format!("RCPT TO:<{to}>")];
    let text = message.map(|message| {
        commands.push("DATA".to_owned());
        stuffed(&message.text)
    });
    let last = if message.is_some() { "the message" } else { "RSET" };
    commands.push(text.unwrap_or_else(|| last.to_owned()));
    for (place, command) in commands.iter().enumerate() {
        let shown = if place + 1 == commands.len() { last } else { command };
        let asked = async {
            talk.say(command).await?;
            talk.reply(|line| line.as_bytes().get(3) != Some(&b'-')).await
        };
        let lines = asked.await.map_err(broken(shown))?;
        let reply = lines.last().map(String::as_str).unwrap_or_default();
        if !reply.starts_with(['2', '3']) {
            return Err(refused(shown, reply));
        }
    }
    talk.end("QUIT").await;
    Ok(match message {
        Some(message) => format!("sent a message to {}", message.to),
        None => "may send".to_owned(),
    })
}

/// Gets another token for an account that has one without a password.
async fn again(authenticator: &Arc<Authenticator>, login: &MailAddress) -> Result<AuthorizedLogin, Failure> {
    authenticator.admit_afresh(login.as_login(), Resource::Exchange).await
}

/// Doubles the dots at the beginning of lines, and ends the message (RFC 5321 §4.5.2).
fn stuffed(text: &str) -> String {
    let lines = text.trim_end_matches("\r\n").split("\r\n");
    let mut stuffed = String::with_capacity(text.len() + 8);
    for line in lines {
        if line.starts_with('.') {
            stuffed.push('.');
        }
        stuffed.push_str(line);
        stuffed.push_str("\r\n");
    }
    stuffed.push('.');
    stuffed
}

fn counted(number: u64) -> String {
    if number == 1 { "1 message".to_owned() } else { format!("{number} messages") }
}

fn refused(command: &str, reply: &str) -> Unopened {
    Unopened::Refused { command: command.to_owned(), reply: escaped(reply.as_bytes(), REPLY_OCTETS) }
}

fn broken(command: &str) -> impl Fn(io::Error) -> Unopened {
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refused(command, "the server closed the connection"),
        io::ErrorKind::TimedOut => refused(command, "no answer in time"),
        _ => refused(command, &error.to_string()),
    }
}

#[cfg(test)]
mod tests;
