//! Reads the section `admin`: the status page and the control socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::identity::read_identity;
use super::model::admin::{Admin, AdminToken};
use super::model::listener::Bind;
use super::purpose::Purpose;
use super::reader::{Context, Node, Section};
use super::{secrets, state, value};

/// Name of the Unix socket in Gatepost's own directory.
const SOCKET_FILE: &str = "gatepost.sock";

/// The runtime directory of the unit `gatepost.service`.
const OF_UNIT: &str = "/run/gatepost";

/// Characters of base64 that hold 128 bits.
const TOKEN_CHARACTERS: usize = 22;

/// Least number of different characters. A random text of that length has more with near certainty.
const TOKEN_LETTERS: usize = 8;

const TOKEN_HINT: &str = "make one with `openssl rand -base64 24`";

/// Reads the section. Without it there is no page, and a socket only where a default path exists.
pub(super) fn read(root: &Section<'_>) -> Option<Admin> {
    let section = &root.section("admin");
    let bind = section.get("bind").map(|node| (node.clone(), node.read_each(bind)));
    let sockets = read_sockets(root, section)?;
    let (certificate, private_key) = (section.get("certificate"), section.get("private_key"));
    let tls = match (&certificate, &private_key) {
        (Some(certificate), Some(private_key)) => Some(read_identity(certificate, private_key)),
        (None, None) => None,
        (given, _) => {
            let missing = if given.is_some() { "private_key" } else { "certificate" };
            section.missing(missing, ", which TLS needs", "name a PEM file. `gatepost cert` makes one for tests");
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
        meeting_place: meeting_places(section.context()).into_iter().next().filter(|_| sockets.own.is_some()),
        socket: sockets.own,
        service_sockets: sockets.of_service,
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

/// Reads an address of the page. The two loopback addresses are always taken together.
fn bind(text: &str) -> Result<SocketAddr, value::ValueError> {
    value::bind(text).map(|bind| match bind {
        Bind::Address(address) => address,
        Bind::Localhost(port) => (Ipv4Addr::LOCALHOST, port).into(),
    })
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
    let Some(text) = secrets::read(node, Purpose::Check)?.read() else { return Some(AdminToken::not_read()) };
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

/// The Unix sockets of a configuration.
#[derive(Debug, PartialEq)]
struct Sockets {
    /// Where this process listens, if it is the service.
    own: Option<PathBuf>,
    /// Where the running service may listen, the likeliest first.
    of_service: Vec<PathBuf>,
}

/// Where the running service may listen, the likeliest first.
pub(super) fn service_sockets(root: &Section<'_>) -> Option<Vec<PathBuf>> {
    read_sockets(root, &root.section("admin")).map(|sockets| sockets.of_service)
}

fn read_sockets(root: &Section<'_>, section: &Section<'_>) -> Option<Sockets> {
    let context = root.context();
    if let Some(node) = section.get("socket") {
        let own = Some(node.text()?).filter(|text| *text != "none").map(|text| node.context().path(text));
        let mut of_service: Vec<PathBuf> = own.iter().cloned().collect();
        // A service that has been started before `socket` was changed.
        of_service.extend(meeting_places(context).into_iter().filter(|_| own.is_some()));
        return Some(Sockets { of_service, own });
    }
    let runtime = context.outside.variable("RUNTIME_DIRECTORY").unwrap_or_default();
    // Several directories are joined by colons.
    let runtime = runtime.split(':').find(|part| part.starts_with('/')).map(Path::new);
    let store = state::directory(root);
    Some(default_sockets(runtime, store.as_deref(), &meeting_places(context), context.is_of_unit()))
}

fn meeting_places(context: &Context<'_>) -> Vec<PathBuf> {
    let file = context.document.file.as_ref().map(|(name, _)| Path::new(name));
    // The service does not ask another one.
    context.outside.meeting_places(file, !context.is_for(Purpose::Service))
}

/// The sockets when none is configured.
///
/// The service listens in the directory that systemd creates for it (systemd.exec(5),
/// `RuntimeDirectory`), or else beside the store, or else at the first of `meeting`. Only the service
/// is told of the first directory, and the store may have been another one at its start. So a command
/// looks in a directory of which it was told, beside the store, at the meeting places, and in the
/// directory of the unit. The last one is for the configuration of the unit alone, because otherwise a
/// command with another configuration would reach the unit's service. It comes last, because a
/// service that was started by hand with the unit's configuration takes over from the unit's.
fn default_sockets(runtime: Option<&Path>, store: Option<&Path>, meeting: &[PathBuf], is_of_unit: bool) -> Sockets {
    let mut of_service = Vec::new();
    let socket = |directory: &Path| directory.join(SOCKET_FILE);
    let of_unit = is_of_unit.then(|| Path::new(OF_UNIT)).map(socket);
    let before = [runtime, store].into_iter().flatten().map(socket);
    for socket in before.chain(meeting.iter().cloned()).chain(of_unit) {
        if !of_service.contains(&socket) {
            of_service.push(socket);
        }
    }
    let own = runtime.or(store).map(socket).or_else(|| meeting.first().cloned());
    Sockets { own, of_service }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_listens_in_one_place_and_is_looked_for_in_up_to_three() {
        let (runtime, store) = (Some(Path::new("/run/x")), Some(Path::new("/var/lib/gatepost")));
        let (in_runtime, beside) = ("/run/x/gatepost.sock", "/var/lib/gatepost/gatepost.sock");
        let of_unit = "/run/gatepost/gatepost.sock";
        for (runtime, store, is_of_unit, own, of_service) in [
            // The service of the unit, and a command beside it.
            (Some(Path::new(OF_UNIT)), store, true, Some(of_unit), &[of_unit, beside][..]),
            (None, store, true, Some(beside), &[beside, of_unit]),
            // The same with a store elsewhere, or in memory.
            (Some(Path::new(OF_UNIT)), None, true, Some(of_unit), &[of_unit]),
            (None, None, true, None, &[of_unit]),
            // A configuration of somebody's own.
            (None, store, false, Some(beside), &[beside]),
            (None, None, false, None, &[]),
            // Another unit, and what is started within it.
            (runtime, store, false, Some(in_runtime), &[in_runtime, beside]),
            (runtime, None, false, Some(in_runtime), &[in_runtime]),
            (runtime, store, true, Some(in_runtime), &[in_runtime, beside, of_unit]),
        ] {
            let expected =
                Sockets { own: own.map(PathBuf::from), of_service: of_service.iter().map(PathBuf::from).collect() };
            assert_eq!(default_sockets(runtime, store, &[], is_of_unit), expected);
        }
        let meeting = [PathBuf::from("/tmp/gatepost-7/x.sock")];
        let sockets = default_sockets(None, None, &meeting, false);
        assert_eq!((sockets.own.as_ref(), &sockets.of_service[..]), (meeting.first(), &meeting[..]));
        let sockets = default_sockets(None, store, &meeting, true);
        assert_eq!(sockets.own.unwrap(), Path::new(beside));
        assert_eq!(sockets.of_service, [Path::new(beside), &meeting[0], Path::new(of_unit)]);
    }
}
