//! Proxies other than Squid, and Squid with TLS: each listens where an island can reach it, alone
//! can resolve the upstream's names, and leaves from an address that tells it apart.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::authority::{AUTHORITY_NAME, SUBMISSION_NAME, UPSTREAM_NAME};
use super::island::Island;
use super::kerberos::Environment;
use super::process::{Directory, Server, free_port};
use super::squid::{Asks, PASSWORD, Squid, USER};
use super::world::World;

/// A running one.
pub(crate) struct Proxy {
    /// The section `forward_proxy` for it.
    pub(crate) section: String,
    /// Variables that Gatepost needs for it.
    pub(crate) environment: Environment,
    /// The address that upstreams see.
    pub(crate) leaves_from: IpAddr,
    _server: Running,
    _directory: Directory,
}

/// Held until the end of the test.
enum Running {
    Squid { _squid: Squid },
    Other { _server: Server },
}

/// Lines for the password that microsocks is told.
fn with_password() -> String {
    format!("  authentication: basic\n  username: {USER}\n  password: \"{PASSWORD}\"\n")
}

impl Proxy {
    pub(crate) fn squid(island: &Island, asks: Asks) -> Self {
        Self::of_squid(Squid::listening_on(island.outside, asks, None), "http", island)
    }

    /// Squid's `https_port`.
    pub(crate) fn squid_with_tls(world: &World, island: &Island, asks: Asks) -> Self {
        let (certificate, key) = world.authority.issue(&island.outside.to_string());
        Self::of_squid(Squid::listening_on(island.outside, asks, Some((certificate, key))), "https", island)
    }

    fn of_squid(squid: Squid, scheme: &str, island: &Island) -> Self {
        Self {
            section: format!("  url: {scheme}://{}:{}\n{}", island.outside, squid.port, squid.credentials()),
            environment: squid.environment(),
            leaves_from: IpAddr::V4(squid.leaves_from),
            _server: Running::Squid { _squid: squid },
            _directory: Directory::new(),
        }
    }

    pub(crate) fn tinyproxy(island: &Island) -> Self {
        let (directory, port, leaves_from) = (Directory::new(), free_port(), Ipv4Addr::new(127, 0, 0, 11));
        let configuration = directory.write(
            "tinyproxy.conf",
            format!(
                "Port {port}\nListen {}\nBind {leaves_from}\nTimeout 600\nMaxClients 50\nLogLevel Connect\n",
                island.outside
            ),
        );
        let configuration = configuration.display().to_string();
        let url = format!("http://{}:{port}", island.outside);
        Self::start("tinyproxy", &["-d", "-c", &configuration], (island, port), leaves_from, format!("  url: {url}\n"))
    }

    pub(crate) fn microsocks(island: &Island, password: bool) -> Self {
        let (port, leaves_from) = (free_port(), Ipv4Addr::new(127, 0, 0, if password { 13 } else { 12 }));
        let (at, from, port_text) = (island.outside.to_string(), leaves_from.to_string(), port.to_string());
        let mut arguments = vec!["-i", &at, "-p", &port_text, "-b", &from];
        let mut section = format!("  url: socks5h://{at}:{port}\n");
        if password {
            arguments.extend(["-u", USER, "-P", PASSWORD]);
            section.push_str(&with_password());
        }
        Self::start("microsocks", &arguments, (island, port), leaves_from, section)
    }

    pub(crate) fn dante(island: &Island) -> Self {
        let (directory, port) = (Directory::new(), free_port());
        let at = island.outside;
        let configuration = directory.write(
            "danted.conf",
            format!(
                "logoutput: stderr\n\
                 internal: {at} port = {port}\n\
                 external: 127.0.0.1\n\
                 clientmethod: none\n\
                 socksmethod: none\n\
                 user.privileged: root\n\
                 user.unprivileged: nobody\n\
                 client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
                 socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect }}\n"
            ),
        );
        let (configuration, pid) = (configuration.display().to_string(), directory.path().join("pid"));
        let arguments = ["-f", &configuration, "-p", &pid.display().to_string()];
        let section = format!("  url: socks5h://{at}:{port}\n");
        Self::start("danted", &arguments, (island, port), Ipv4Addr::LOCALHOST, section)
    }

    /// Starts a program that resolves names by the system's means: it sees a file of hosts of its
    /// own.
    fn start(
        program: &'static str,
        arguments: &[&str],
        (island, port): (&Island, u16),
        leaves_from: Ipv4Addr,
        section: String,
    ) -> Self {
        let directory = Directory::new();
        let names = ["localhost", UPSTREAM_NAME, SUBMISSION_NAME, AUTHORITY_NAME];
        let hosts = directory.write("hosts", names.map(|name| format!("127.0.0.1 {name}\n")).concat());
        make_readable(&hosts);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#, "sh"]);
        command.arg(hosts).arg(program).args(arguments);
        let mut server = Server::start(program, &mut command, directory.path().join("output.log"));
        server.wait_for_address(SocketAddr::from((island.outside, port)));
        Self {
            section,
            environment: Vec::new(),
            leaves_from: IpAddr::V4(leaves_from),
            _server: Running::Other { _server: server },
            _directory: directory,
        }
    }
}

/// Some of these programs drop root before they resolve names.
fn make_readable(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
}
