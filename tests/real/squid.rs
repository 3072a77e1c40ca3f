//! Squid as the corporate proxy. It alone can resolve the upstream's names, and it leaves from an
//! address of its own, so what arrives under such a name, or from that address, has gone through
//! it.

use std::net::Ipv4Addr;
use std::process::Command;

use md5::{Digest as _, Md5};

use super::authority::{AUTHORITY_NAME, SUBMISSION_NAME, UPSTREAM_NAME};
use super::kerberos::{self, Environment, Kdc};
use super::process::{Directory, Server, free_port, is_root, run};

/// What the tests give Squid's password check, where they turn it on.
pub(crate) const USER: &str = "svc-mail";
/// Characters that a careless program would quote or cut. (Squid itself stumbles over a percent
/// sign.)
pub(crate) const PASSWORD: &str = "p:rox yü";

/// What Squid asks for.
pub(crate) enum Asks {
    Nothing,
    /// RFC 7617, against an htpasswd file.
    Basic,
    /// RFC 7616, against a file.
    Digest,
    /// With Squid's stand-in for a domain controller: it goes through all the steps, and takes any
    /// password.
    Ntlm,
    /// Kerberos (RFC 4559), with the realm's keys.
    Negotiate(Kdc),
}

impl Asks {
    fn environment(&self) -> Environment {
        if let Self::Negotiate(kdc) = self { kdc.environment() } else { Vec::new() }
    }
}

/// The server; its address towards upstreams differs between the set-ups.
pub(crate) struct Squid {
    pub(crate) port: u16,
    pub(crate) asks: Asks,
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
    /// On 127.0.0.1.
    pub(crate) fn start(asks: Asks) -> Self {
        Self::listening_on(Ipv4Addr::LOCALHOST, asks, None)
    }

    /// On another address, and within TLS when there are a certificate and a key in PEM form.
    pub(crate) fn listening_on(address: Ipv4Addr, asks: Asks, tls: Option<(String, String)>) -> Self {
        let directory = Directory::new();
        let path = directory.path().display().to_string();
        let port = free_port();
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
        let (last, scheme) = match &asks {
            Asks::Nothing => (2, String::new()),
            Asks::Basic => {
                let mut htpasswd = Command::new("htpasswd");
                htpasswd.args(["-bcB"]).arg(directory.path().join("passwords")).args([USER, PASSWORD]);
                run(&mut htpasswd).expect_success("htpasswd");
                (
                    3,
                    format!(
                        "basic program {} {path}/passwords\nauth_param basic realm proxy",
                        helper("basic_ncsa_auth")
                    ),
                )
            }
            Asks::Digest => {
                // Hashed (RFC 7616 §3.4.2), because the plain form has no room for a colon.
                let hash = Md5::digest(format!("{USER}:proxy:{PASSWORD}"));
                let hash: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
                directory.write("passwords", format!("{USER}:proxy:{hash}\n"));
                let program = helper("digest_file_auth");
                (4, format!("digest program {program} -c {path}/passwords\nauth_param digest realm proxy"))
            }
            Asks::Ntlm => (5, format!("ntlm program {}", helper("ntlm_fake_auth"))),
            Asks::Negotiate(kdc) => {
                std::fs::copy(kdc.service_keytab(), directory.path().join("keytab")).unwrap();
                let program = helper("negotiate_kerberos_auth");
                (6, format!("negotiate program {program} -k {path}/keytab -s GSS_C_NO_NAME -t none"))
            }
        };
        let leaves_from = Ipv4Addr::new(127, 0, 0, last);
        let access = match scheme.split_once(' ') {
            None => "http_access allow all\n".to_owned(),
            Some((name, _)) => format!(
                "auth_param {scheme}\n\
                 auth_param {name} children 2\n\
                 acl known proxy_auth REQUIRED\n\
                 http_access deny !known\n\
                 http_access allow known\n"
            ),
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
        command.envs(asks.environment());
        let mut server = Server::start("squid", &mut command, directory.path().join("output.log"));
        server.wait_for_address((address, port).into());
        Self { port, asks, leaves_from, server, directory }
    }

    /// What programs of the same realm must be told, if there is one.
    pub(crate) fn environment(&self) -> Environment {
        self.asks.environment()
    }

    /// The keys of `forward_proxy` that it takes, each on its line.
    pub(crate) fn credentials(&self) -> &'static str {
        match self.asks {
            Asks::Nothing => "",
            Asks::Basic => "  authentication: basic\n  username: svc-mail\n  password: \"p:rox yü\"\n",
            Asks::Digest => "  authentication: digest\n  username: svc-mail\n  password: \"p:rox yü\"\n",
            Asks::Ntlm => "  authentication: ntlm\n  username: CORP\\svc-mail\n  password: \"p:rox yü\"\n",
            Asks::Negotiate(_) => "  authentication: negotiate\n",
        }
    }

    /// Whom it knows Gatepost as, as its access log tells.
    pub(crate) fn user(&self) -> String {
        match self.asks {
            Asks::Nothing => "-".to_owned(),
            Asks::Basic | Asks::Digest => USER.to_owned(),
            // A backslash, as its log writes it.
            Asks::Ntlm => format!("CORP\\\\{USER}"),
            Asks::Negotiate(_) => format!("{}@{}", kerberos::USER, kerberos::REALM),
        }
    }

    /// Ends it and reads its access log, which is complete only then: a tunnel is written down when
    /// it closes.
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

/// Where Squid's helper is.
fn helper(name: &str) -> String {
    let places = ["/usr/lib/squid", "/usr/lib64/squid", "/usr/libexec/squid"].map(|place| format!("{place}/{name}"));
    places.into_iter().find(|path| std::path::Path::new(path).exists()).unwrap_or_else(|| panic!("Squid's {name}"))
}
