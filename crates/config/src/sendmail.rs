//! Reads the section `sendmail`: the socket of `gatepost sendmail`, and which users may send.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::account::Accounts;
use super::model::listener::{Listener, ListenerBackend};
use super::model::submission::{Sendmail, TrustedSource};
use super::reader::{Context, Node, Section};
use super::value::{self, wrong};
use super::{submission, user};
use gatepost_core::account::MailAddress;

/// Name of the socket in the runtime directory.
const SOCKET_FILE: &str = "sendmail.sock";

/// What a process sees in place of a user of another user namespace (user_namespaces(7)).
const UNSEEN: u32 = 65_534;

/// Whether the section names this listener, whose messages Gatepost then takes itself. `only`: there
/// is no other SMTP listener.
pub(super) fn names(root: &Section<'_>, listener: &str, only: bool) -> bool {
    let section = root.section("sendmail");
    match section.get("listener") {
        Some(node) => node.as_text() == Some(listener),
        None => only && !section.is_empty(),
    }
}

/// Reads the section. `Some(None)`: there is none. Call it after the listeners have been read.
pub(super) fn read(root: &Section<'_>, listeners: &[Listener], accounts: &Accounts) -> Option<Option<Sendmail>> {
    let section = &root.section("sendmail");
    if section.is_empty() {
        return Some(None);
    }
    let listener = read_listener(section, listeners);
    let socket = match section.get("socket") {
        Some(node) => node.text().map(|text| section.context().path(text)),
        None => Some(default_socket(section.context())),
    };
    let users = section.get("users").map_or(Some(Some(Vec::new())), |node| read_users(&node));
    let local_mail_to = section.get("local_mail_to").map(|node| node.read(recipient));
    let rule = submission::read_rule(section, Some(TrustedSource::User(0)), "local programs send as", accounts);
    section.finish();
    if section.context().is_for(super::purpose::Purpose::Service) && cfg!(not(unix)) {
        section.problem("this system has no users that a socket could tell apart", "remove the section");
    }
    let local_mail_to = match local_mail_to {
        Some(read) => Some(read?),
        None => None,
    };
    if let (Some(users), Some(rule)) = (&users, &rule) {
        let who = match users {
            None => "all users",
            Some(users) if users.is_empty() => "root and the service's own user",
            Some(_) => "root, the service's own user, and those of `sendmail.users`",
        };
        let note = format!("programs of {who} on this machine send mail as `{}` without a login", rule.login);
        section.context().note(note);
    }
    Some(Some(Sendmail { socket: socket?, listener: listener?, users: users?, local_mail_to, rule: rule? }))
}

fn read_listener(section: &Section<'_>, listeners: &[Listener]) -> Option<Arc<str>> {
    let is_smtp = |listener: &&Listener| matches!(listener.serves, ListenerBackend::Submission(_));
    if let Some(node) = section.get("listener") {
        return node.read(|name| match listeners.iter().find(|listener| *listener.name == *name) {
            Some(listener) if is_smtp(&listener) => Ok(Arc::clone(&listener.name)),
            Some(_) => wrong(format!("the listener {} is not for SMTP", value::quoted(name)), "name an SMTP listener"),
            None => wrong(
                format!("there is no listener {}", value::quoted(name)),
                "name the SMTP listener whose destination and rules hold for these messages",
            ),
        });
    }
    let mut found = listeners.iter().filter(is_smtp);
    match (found.next(), found.next()) {
        (Some(only), None) => Some(Arc::clone(&only.name)),
        _ => {
            section.missing(
                "listener",
                "",
                "name the SMTP listener whose destination and rules hold for these messages",
            );
            None
        }
    }
}

/// The path of the socket that nobody has configured: the command looks there too.
fn default_socket(context: &Context<'_>) -> PathBuf {
    let runtime = context.outside.variable("RUNTIME_DIRECTORY").unwrap_or_default();
    let runtime = runtime.split(':').find(|part| part.starts_with('/'));
    runtime.map_or_else(|| PathBuf::from(Sendmail::DEFAULT_SOCKET), |runtime| Path::new(runtime).join(SOCKET_FILE))
}

/// Reads the users. `Some(None)`: every user. A name that the machine does not know is left out.
fn read_users(node: &Node<'_>) -> Option<Option<Vec<u32>>> {
    let outside = node.context().outside;
    let read = node.read_each(|text| {
        if text == "*" {
            return Ok(None);
        }
        let id = text.parse().ok().or_else(|| outside.user_id(text));
        if id == Some(UNSEEN) {
            return wrong(
                format!("{} stands for every user whom the service cannot see", value::quoted(text)),
                "let programs that send mail run as a user of their own",
            );
        }
        Ok(Some((text.to_owned(), id)))
    })?;
    let mut users = Vec::new();
    for item in read {
        match item {
            None => return Some(None),
            Some((_, Some(id))) => users.push(id),
            Some((name, None)) => node.context().note(format!(
                "`sendmail.users`: this machine has no user {}, so nobody can send under this name. A user of a directory \
                 service is written as its number (`id -u`)",
                value::quoted(&name)
            )),
        }
    }
    Some(Some(users))
}

fn recipient(text: &str) -> Result<MailAddress, value::ValueError> {
    MailAddress::parse(text).or_else(|error| wrong(error.to_string(), "write an address, such as `admin@contoso.com`"))
}

impl Sendmail {
    /// The socket if neither the configuration nor the environment of the service names one.
    pub const DEFAULT_SOCKET: &str = "/run/gatepost/sendmail.sock";

    /// Whether the service sees only some users of the machine, and this is what it sees in place of
    /// the others.
    pub fn is_unseen(id: u32) -> bool {
        id == UNSEEN && user::own() != UNSEEN
    }
}
