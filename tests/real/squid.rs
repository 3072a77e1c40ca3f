//! Squid as the corporate proxy. It alone can resolve the upstream's names, and it leaves from an address of its own,
//! so what arrives under such a name, or from that address, has gone through it.

use std::net::Ipv4Addr;
use std::process::Command;

use super::authority::{AUTHORITY_NAME, SUBMISSION_NAME, UPSTREAM_NAME};
use super::process::{Directory, Server, free_port, is_root, run};

/// What the tests give Squid's password check, where they turn it on.
pub(crate) const USER: &str = "svc-mail";
/// Characters that a careless program would quote or cut. (Squid itself stumbles over a percent sign.)
pub(crate) const PASSWORD: &str = "p:rox yü";

/// The server; its address towards upstreams differs between the two set-ups.
pub(crate) struct Squid {
    pub(crate) port: u16,
    /// Whether it asks for a password.
    pub(crate) basic: bool,
    /// The address that upstreams see.
    pub(crate) leaves_from: Ipv4Addr,
    server: Server,
    directory: Directory,
}

/// One line of the access log.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// `host:port` of CONNECT.
    pub(crate) destination: String,
    /// `TCP_TUNNEL/200`, `TCP_DENIED/407`, …
    pub(crate) result: String,
    /// Who, when Squid asks.
    pub(crate) user: String,
}

impl Squid {
    /// Without a password.
    pub(crate) fn open() -> Self {
        Self::listening_on(Ipv4Addr::LOCALHOST, false, None)
    }

    /// With Basic authentication (RFC 7617) against an htpasswd file.
    pub(crate) fn with_basic() -> Self {
        Self::listening_on(Ipv4Addr::LOCALHOST, true, None)
    }

    /// On another address than 127.0.0.1, and within TLS when there are a certificate and a key in PEM form.
    pub(crate) fn listening_on(address: Ipv4Addr, basic: bool, tls: Option<(String, String)>) -> Self {
        let directory = Directory::new();
        let path = directory.path().display().to_string();
        let port = free_port();
        let leaves_from = Ipv4Addr::new(127, 0, 0, if basic { 3 } else { 2 });
        let listen = match tls {
            None => format!("http_port {address}:{port}"),
            Some((certificate, key)) => {
                directory.write("tls.pem", certificate);
                directory.write("tls.key", key);
                format!("https_port {address}:{port} tls-cert={path}/tls.pem tls-key={path}/tls.key")
            }
        };

        let hosts = [UPSTREAM_NAME, SUBMISSION_NAME, AUTHORITY_NAME].map(|name| format!("127.0.0.1 {name}\n")).concat();
        directory.write("hosts", hosts);
        let access = if basic {
            let mut htpasswd = Command::new("htpasswd");
            htpasswd.args(["-bcB"]).arg(directory.path().join("passwords")).args([USER, PASSWORD]);
            run(&mut htpasswd).expect_success("htpasswd");
            format!(
                "auth_param basic program {} {path}/passwords\n\
                 auth_param basic children 2\n\
                 auth_param basic realm proxy\n\
                 acl known proxy_auth REQUIRED\n\
                 http_access deny !known\n\
                 http_access allow known\n",
                password_check()
            )
        } else {
            "http_access allow all\n".to_owned()
        };
        let identity = if is_root() { "cache_effective_user proxy\n" } else { "" };
        let configuration = directory.write(
            "squid.conf",
            format!(
                "{identity}\
                 {listen}\n\
                 tcp_outgoing_address {leaves_from}\n\
                 hosts_file {path}/hosts\n\
                 dns_nameservers 127.0.0.1\n\
                 {access}\
                 access_log stdio:{path}/access.log\n\
                 cache_log {path}/cache.log\n\
                 pid_filename {path}/squid.pid\n\
                 coredump_dir {path}\n\
                 visible_hostname proxy.corp.test\n\
                 cache deny all\n\
                 memory_cache_shared off\n\
                 pinger_enable off\n\
                 max_filedescriptors 1024\n\
                 shutdown_lifetime 0 seconds\n"
            ),
        );
        // It drops root, and then reads and writes here.
        if is_root() {
            let mut chown = Command::new("chown");
            run(chown.args(["-R", "proxy", &path])).expect_success("chown");
        }
        let mut command = Command::new("squid");
        command.args(["-N", "-f"]).arg(configuration);
        let mut server = Server::start("squid", &mut command, directory.path().join("output.log"));
        server.wait_for_address((address, port).into());
        Self { port, basic, leaves_from, server, directory }
    }

    /// Ends it and reads its access log, which is complete only then: a tunnel is written down when it closes.
    pub(crate) fn stop(mut self) -> Vec<Tunnel> {
        self.server.stop();
        let log = std::fs::read_to_string(self.directory.path().join("access.log")).unwrap();
        // time, duration, client, result, octets, method, destination, user, hierarchy, type
        let tunnel = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(3);
            let result = fields.next()?.to_owned();
            let destination = fields.nth(2)?.to_owned();
            Some(Tunnel { destination, result, user: fields.next()?.to_owned() })
        };
        // The harness connects once to see that Squid is up, and asks for nothing.
        let lines = log.lines().filter(|line| !line.contains("error:transaction-end-before-headers"));
        lines.map(|line| tunnel(line).unwrap_or_else(|| panic!("access log: {line}"))).collect()
    }
}

fn password_check() -> &'static str {
    let places =
        ["/usr/lib/squid/basic_ncsa_auth", "/usr/lib64/squid/basic_ncsa_auth", "/usr/libexec/squid/basic_ncsa_auth"];
    places.into_iter().find(|path| std::path::Path::new(path).exists()).expect("Squid's basic_ncsa_auth")
}
