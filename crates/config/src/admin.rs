//! Reads the section `admin`: the status page and the control socket.

use std::path::PathBuf;

use super::identity::read_identity;
use super::model::admin::{Admin, AdminToken};
use super::model::state::State;
use super::reader::{Node, Section};
use super::secrets;
use super::value;

/// Name of the Unix socket in Gatepost's own directory.
const SOCKET_FILE: &str = "gatepost.sock";

/// Characters of base64 that hold 128 bits.
const TOKEN_CHARACTERS: usize = 22;

/// Least number of different characters. A random text of that length has more with near certainty.
const TOKEN_LETTERS: usize = 8;

const TOKEN_HINT: &str = "make one with `openssl rand -base64 24`";

/// Reads the section. Without it there is no page, and a socket only where a default path exists.
pub(super) fn read(section: &Section<'_>, state: Option<&State>) -> Option<Admin> {
    let bind = section.get("bind").map(|node| (node.clone(), node.read_each(value::bind)));
    let socket = match section.get("socket") {
        Some(node) => match node.text()? {
            "none" => None,
            text => Some(node.context().path(text)),
        },
        None => default_socket(section, state),
    };
    let (certificate, private_key) = (section.get("certificate"), section.get("private_key"));
    let tls = match (&certificate, &private_key) {
        (Some(certificate), Some(private_key)) => Some(read_identity(certificate, private_key)),
        (None, None) => None,
        (given, _) => {
            let missing = if given.is_some() { "private_key" } else { "certificate" };
            section.missing(missing, ", which TLS needs", "name a PEM file; `gatepost cert` makes one for tests");
            Some(None)
        }
    };
    let token = section.get("token").map(|node| read_token(&node));
    let hosts = section.get("hosts").map_or(Some(Vec::new()), |node| node.read_each(value::host_name));
    let open_metrics = section.get("open_metrics").map(|node| node.read(value::truth));
    section.finish();

    let (bind_node, bind) = match bind {
        Some((node, addresses)) => (Some(node), addresses?),
        None => (None, Vec::new()),
    };
    let is_local = bind.iter().all(|address| address.ip().is_loopback());
    let (has_tls, has_token) = (tls.is_some(), token.is_some());
    let admin = Admin {
        socket,
        tls: all_or_none(tls)?,
        token: all_or_none(token)?,
        hosts: hosts?,
        open_metrics: all_or_none(open_metrics)?.unwrap_or(is_local),
        bind,
    };
    match bind_node {
        Some(node) => check_reach(&node, &admin, is_local, (has_tls, has_token)).then_some(admin),
        None => Some(admin),
    }
}

/// Turns an optional value that may be unreadable inside out: the result is `None` if it is
/// unreadable.
fn all_or_none<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(None) => None,
        read => Some(read.flatten()),
    }
}

/// Checks who could reach the page, and whether that is safe.
fn check_reach(node: &Node<'_>, admin: &Admin, is_local: bool, (has_tls, has_token): (bool, bool)) -> bool {
    if is_local {
        if !has_token && admin.socket.is_none() {
            node.context().note(
                "nobody can open the status page: it is opened with `admin.token`, or with a link that `gatepost status` \
                 prints where there is `admin.socket`"
                    .to_owned(),
            );
        }
        return true;
    }
    if !(has_tls && has_token) {
        node.problem(
            "the page would be open to other machines",
            "bind it to loopback, such as `127.0.0.1:9180`, or write `certificate`, `private_key` and `token`",
        );
        return false;
    }
    if admin.hosts.is_empty() && admin.bind.iter().any(|address| address.ip().is_unspecified()) {
        node.problem(
            "no browser could reach the page: it answers to names that are known to be its own, and there is none",
            "write `hosts`, such as `hosts: [gatepost.corp.example]`",
        );
        return false;
    }
    true
}

fn read_token(node: &Node<'_>) -> Option<AdminToken> {
    let text = secrets::read(node)?;
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    if text.chars().count() < TOKEN_CHARACTERS || letters.len() < TOKEN_LETTERS {
        node.problem(
            format!("the token can be guessed: it has to be random, and {TOKEN_CHARACTERS} characters or longer"),
            TOKEN_HINT,
        );
        return None;
    }
    Some(AdminToken::new(&text))
}

/// The socket in the directory that systemd creates (systemd.exec(5), `RuntimeDirectory`), or
/// beside the store.
fn default_socket(section: &Section<'_>, state: Option<&State>) -> Option<PathBuf> {
    let given = section.context().outside.variable("RUNTIME_DIRECTORY").unwrap_or_default();
    if let Some(first) = given.split(':').find(|part| part.starts_with('/')) {
        return Some(PathBuf::from(first).join(SOCKET_FILE));
    }
    match state? {
        State::Sqlite { directory, .. } => Some(directory.join(SOCKET_FILE)),
        State::Memory | State::Redis { .. } => None,
    }
}
