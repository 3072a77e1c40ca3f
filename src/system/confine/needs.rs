//! Determines what a configuration needs of the machine. It only reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[cfg(feature = "pac")]
use gatepost_config::PacLocation;
use gatepost_config::{
    AuditLog, Config, Credential, ForwardProxy, Http, IdentityEndpoint, ListenerBackend, ProxyChoice, State, StateKey,
    Submission,
};
#[cfg(feature = "negotiate")]
use gatepost_proto::tunnel::credentials::ProxyAuthentication;
use gatepost_store::queue::Queue;

/// Port of HTTPS: token service, EWS, Graph.
const HTTPS: u16 = 443;
/// The ports of Exchange Online's mail protocols.
const IMAPS: u16 = 993;
const POP3S: u16 = 995;
const SUBMISSION: u16 = 587;
/// DNS over TCP, for answers that do not fit into a datagram.
const DNS: u16 = 53;
/// Port of the endpoints of managed identities, unless the platform names another.
const HTTP: u16 = 80;

/// Files and servers that are needed while serving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files and directories to read, with all below them.
    pub read: BTreeSet<PathBuf>,
    /// Directories to write into.
    pub write: BTreeSet<PathBuf>,
    /// TCP ports to connect to; `None`: any.
    pub connect: Option<BTreeSet<u16>>,
    /// Whether programs are run, whose own needs are unknown.
    pub commands: bool,
}

impl Needs {
    /// Returns what `config` needs.
    pub fn of(config: &Config) -> Self {
        // A reload may add a listener for another protocol.
        let usual = BTreeSet::from([HTTPS, DNS, IMAPS, POP3S, SUBMISSION]);
        let mut needs = Self { connect: Some(usual), ..Self::default() };
        for file in &config.files {
            needs.read.extend(readable(file));
        }
        needs.commands = config.runs_commands;
        needs.store(&config.state);
        needs.write.extend(config.spool.clone());
        let queue = config.queue.iter().filter(|queue| config.has_queue() || queue.directory.exists());
        needs.write.extend(queue.flat_map(|queue| Queue::directories(&queue.directory)));
        if let Some(AuditLog::File(file)) = &config.log.audit {
            needs.write.extend(directory(file));
        }
        if let Some(socket) = &config.admin.socket {
            needs.write.extend(directory(socket));
            // The place is removed at the end.
            needs.write.extend(config.admin.meeting_place.iter().filter_map(|place| directory(place)));
        }
        if let Some(sendmail) = &config.sendmail {
            needs.write.extend(directory(&sendmail.socket));
        }
        for listener in &config.listeners {
            match &listener.serves {
                ListenerBackend::Relay(upstream) => needs.port(upstream.port),
                ListenerBackend::Submission(Submission { smtp, graph, .. }) => {
                    needs.port(graph.port);
                    if let Some(smtp) = smtp {
                        needs.port(smtp.port);
                    }
                }
                ListenerBackend::Maildrop(origin) | ListenerBackend::Http(Http { origin, .. }) => {
                    needs.port(origin.port)
                }
            }
        }
        for account in config.accounts.entries() {
            needs.port(account.application.issuer.authority().port_or_known_default().unwrap_or(HTTPS));
            if let Some(provider) = account.application.issuer.provider() {
                let further = [&provider.device_url, &provider.revoke_url];
                for url in further.into_iter().flatten() {
                    needs.port(url.port_or_known_default().unwrap_or(HTTPS));
                }
                provider.hosts.iter().for_each(|upstream| needs.port(upstream.port));
            }
            if let Credential::Certificates(certificates) = &*account.application.credential {
                for certificate in certificates.iter().filter(|certificate| certificate.renewal.is_some()) {
                    // Their files are replaced, and others are kept beside them.
                    let files = std::iter::once(&certificate.certificate).chain(&certificate.private_key);
                    needs.write.extend(files.filter_map(|file| directory(file)));
                    let graph = certificate.renewal.as_ref().and_then(|renewal| renewal.graph.as_ref());
                    needs.port(graph.and_then(url::Url::port_or_known_default).unwrap_or(HTTPS));
                }
            }
            if let Credential::ManagedIdentity(identity) = &*account.application.credential {
                needs.port(match &identity.endpoint {
                    IdentityEndpoint::Imds => HTTP,
                    IdentityEndpoint::AppService { url, .. } | IdentityEndpoint::Arc { url } => {
                        url.port_or_known_default().unwrap_or(HTTP)
                    }
                });
            }
        }
        needs.proxy(config.forward_proxy.as_deref());
        needs
    }

    fn port(&mut self, port: u16) {
        if let Some(ports) = &mut self.connect {
            ports.insert(port);
        }
    }

    fn store(&mut self, state: &State) {
        let key = match state {
            State::Memory | State::NotRead => return,
            State::Sqlite { directory, key } => {
                self.write.insert(directory.clone());
                key
            }
            State::Redis { server, key } => {
                self.port(server.port);
                key
            }
        };
        match key {
            // It is created at the first start.
            StateKey::File(path) if !path.exists() => self.write.extend(directory(path)),
            StateKey::File(path) | StateKey::Credential(path) => self.read.extend(readable(path)),
            StateKey::Literal(_) => {}
            StateKey::Command { .. } => self.commands = true,
        }
    }

    fn proxy(&mut self, proxy: Option<&ForwardProxy>) {
        #[cfg(feature = "negotiate")]
        if let Some(ForwardProxy { authentication: Some(ProxyAuthentication::Negotiate(_)), .. }) = proxy {
            // The system's configuration names the key distribution center.
            self.connect = None;
            self.write.insert(ticket_cache());
        }
        match proxy.map(|proxy| &proxy.choice) {
            None => {}
            Some(ProxyChoice::Servers(servers)) => servers.iter().for_each(|server| self.port(server.port)),
            // The script may name any server.
            #[cfg(feature = "pac")]
            Some(ProxyChoice::Script { location, .. }) => {
                self.connect = None;
                if let PacLocation::File(path) = location {
                    self.read.extend(readable(path));
                }
            }
        }
    }

    /// Returns the first need that is not among `allowed`, in words.
    pub(super) fn beyond(&self, allowed: &Self) -> Option<String> {
        let within = |path: &Path, of: &BTreeSet<PathBuf>| of.iter().any(|allowed| path.starts_with(allowed));
        if self.commands && !allowed.commands {
            return Some("programs, which a `{command: …}` runs".to_owned());
        }
        let file = |path: &PathBuf| !within(path, &allowed.read) && !within(path, &allowed.write);
        if let Some(path) = self.read.iter().find(|path| file(path)) {
            return Some(format!("`{}`", path.display()));
        }
        if let Some(path) = self.write.iter().find(|path| !within(path, &allowed.write)) {
            return Some(format!("`{}`", path.display()));
        }
        match (&self.connect, &allowed.connect) {
            (_, None) => None,
            (None, Some(_)) => Some("the ports that a proxy script or Kerberos may need".to_owned()),
            (Some(ours), Some(theirs)) => ours.difference(theirs).next().map(|port| format!("servers at port {port}")),
        }
    }
}

/// The directory of the credential cache, into which tickets are written as well (MIT Kerberos,
/// "Credential cache").
#[cfg(feature = "negotiate")]
fn ticket_cache() -> PathBuf {
    let named = std::env::var_os("KRB5CCNAME").and_then(|name| name.into_string().ok()).unwrap_or_default();
    let file = named.strip_prefix("FILE:").or(named.starts_with('/').then_some(named.as_str()));
    file.and_then(|file| directory(Path::new(file))).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Returns what must be readable so that `file` can be read again after it was replaced, for
/// example a mounted secret: its directory, and that of the file it points to. In a directory that
/// is shared with others, only the file itself.
fn readable(file: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let resolved = absolute.canonicalize().ok();
    let mut paths = Vec::new();
    for path in std::iter::once(absolute).chain(resolved) {
        match path.parent() {
            Some(parent) if !is_shared(parent) => paths.push(parent.to_path_buf()),
            _ => paths.push(path),
        }
    }
    paths
}

/// Whether a directory is shared with other programs.
fn is_shared(directory: &Path) -> bool {
    const SHARED: [&str; 12] =
        ["/", "/etc", "/usr", "/var", "/var/lib", "/run", "/tmp", "/var/tmp", "/home", "/root", "/opt", "/srv"];
    let is_home = || std::env::var_os("HOME").is_some_and(|home| directory == Path::new(&home));
    SHARED.iter().any(|shared| directory == Path::new(shared)) || is_home()
}

fn directory(file: &Path) -> Option<PathBuf> {
    std::path::absolute(file).ok()?.parent().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use gatepost_config::RedisServer;

    fn with_key(key: StateKey) -> Needs {
        let server = RedisServer {
            host: "redis.example".into(),
            port: 6_379,
            database: 0,
            username: None,
            password: None,
            tls: None,
        };
        let mut needs = Needs { connect: Some(BTreeSet::new()), ..Needs::default() };
        needs.store(&State::Redis { server: Arc::new(server), key });
        assert_eq!(needs.connect, Some(BTreeSet::from([6_379])));
        needs
    }

    #[test]
    fn the_key_of_the_state_is_needed_wherever_it_comes_from() {
        let file = std::env::current_exe().unwrap();
        let directory = file.parent().unwrap();
        assert!(with_key(StateKey::File(file.clone())).read.contains(directory));
        assert!(with_key(StateKey::Credential(file.clone())).read.contains(directory));
        assert!(with_key(StateKey::File(directory.join("not made yet"))).write.contains(directory));
        let command = StateKey::Command { command: vec!["pass".into()], hidden: Vec::new() };
        assert!(with_key(command).commands);
    }
}
