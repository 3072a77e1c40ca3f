//! Who listens on an address of this machine (Linux: proc(5)). Only reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Who listens on an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The running service of this configuration, with its process id.
    Service(Option<u32>),
    /// systemd, for a socket unit.
    SocketUnit,
    /// Another process.
    Process {
        /// Its id.
        id: u32,
        /// The name of its program.
        name: String,
    },
    /// A process that this user cannot see, with the name of its user.
    OfUser(String),
}

/// Returns who listens on `address`, or on one that includes it. `None`: nobody, or it cannot be
/// known here. `service` are the sockets at which the running service answers.
#[cfg(target_os = "linux")]
pub fn holder(address: SocketAddr, service: &[PathBuf]) -> Option<Holder> {
    let rows = |table: &str| -> Vec<Row> {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().filter_map(Row::parse).filter(|row| row.address.port() == address.port()).collect()
    };
    let (same_family, of_ipv6) = match address {
        SocketAddr::V4(_) => (rows("/proc/net/tcp"), rows("/proc/net/tcp6")),
        SocketAddr::V6(_) => (rows("/proc/net/tcp6"), Vec::new()),
    };
    let row = same_family.into_iter().find(|row| row.takes(address));
    let row = row.or_else(|| of_ipv6.into_iter().find(|row| row.address.ip().is_unspecified() && is_taken(address)))?;
    let processes = processes_with(row.inode);
    let running = running(service);
    if let Some(Running { process: Some(id), .. }) = running
        && processes.contains(&id)
    {
        return Some(Holder::Service(Some(id)));
    }
    Some(match (processes.iter().find(|id| **id != 1).or(processes.first()), running) {
        (Some(1), _) => Holder::SocketUnit,
        (Some(id), _) => Holder::Process { id: *id, name: program(*id) },
        // The service shows its socket to its user, and its files to root alone.
        (None, Some(running)) if running.user == row.user => Holder::Service(running.process),
        (None, Some(_)) if row.user == 0 => Holder::SocketUnit,
        (None, _) => Holder::OfUser(super::user::name(row.user)),
    })
}

/// Whether an address cannot be bound because another socket has it. The kernel does not show whether
/// a socket of `[::]` takes IPv4 too (ipv6(7), `IPV6_V6ONLY`), so it is tried for a moment.
#[cfg(target_os = "linux")]
fn is_taken(address: SocketAddr) -> bool {
    std::net::TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Returns nothing, because it cannot be known here.
#[cfg(not(target_os = "linux"))]
pub fn holder(_address: SocketAddr, _service: &[PathBuf]) -> Option<Holder> {
    None
}

/// Returns whether this process may listen on a port: those below the system's limit need a right
/// (capabilities(7), `CAP_NET_BIND_SERVICE`).
#[cfg(target_os = "linux")]
pub fn may_bind(port: u16) -> bool {
    const BIND_SERVICE: u32 = 10;
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let limit: u16 = limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1_024);
    if port == 0 || port >= limit {
        return true;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    effective.is_none_or(|set| set & (1 << BIND_SERVICE) != 0)
}

/// Returns whether this process may listen on a port, as far as is known here.
#[cfg(not(target_os = "linux"))]
pub fn may_bind(_port: u16) -> bool {
    true
}

/// Returns whether this machine has an address. A socket without a peer is opened for a moment,
/// which nobody sees.
pub fn has_address(address: IpAddr) -> bool {
    match std::net::UdpSocket::bind((address, 0)) {
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
        Ok(_) => true,
    }
}

/// A listening socket of `/proc/net/tcp` or `tcp6`.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows its sockets so"))]
#[derive(Debug, PartialEq, Eq)]
struct Row {
    address: SocketAddr,
    user: u32,
    inode: u64,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows its sockets so"))]
impl Row {
    /// Reads a line. `None`: it is a heading or no listening socket.
    fn parse(line: &str) -> Option<Self> {
        const LISTEN: &str = "0A";
        let mut fields = line.split_ascii_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        if fields.nth(1)? != LISTEN {
            return None;
        }
        let user = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Self { address: SocketAddr::new(numeric(address)?, port), user, inode })
    }

    /// Whether nobody else can listen on `address` beside it.
    fn takes(&self, address: SocketAddr) -> bool {
        let (ours, theirs) = (address.ip(), self.address.ip());
        self.address.port() == address.port()
            && ours.is_ipv4() == theirs.is_ipv4()
            && (ours == theirs || ours.is_unspecified() || theirs.is_unspecified())
    }
}

/// Reads an address as the kernel writes it: 32-bit words in the byte order of this machine.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows its sockets so"))]
fn numeric(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => word(0).map(|octets| Ipv4Addr::from(octets).into()),
        32 => {
            let mut octets = [0; 16];
            for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// The processes that have the socket open, as far as this user may see.
#[cfg(target_os = "linux")]
fn processes_with(inode: u64) -> Vec<u32> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let has_it = |id: &u32| {
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        descriptors.map(|entry| entry.path()).any(|path| std::fs::read_link(path).is_ok_and(|link| link == wanted))
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has_it).collect()
}

/// The name of a process's program.
#[cfg(target_os = "linux")]
fn program(id: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    // Its process chose it.
    let name: String = name.trim().chars().filter(|c| !c.is_control() && *c != '`').collect();
    if name.is_empty() { "a process".to_owned() } else { name }
}

/// The service that answers at a socket.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
struct Running {
    process: Option<u32>,
    user: u32,
}

/// Returns the service behind the first of the sockets at which somebody answers. Where this user
/// may not ask, the owner of the socket is its user.
#[cfg(target_os = "linux")]
fn running(service: &[PathBuf]) -> Option<Running> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    use std::os::unix::net::UnixStream;
    service.iter().find_map(|path| {
        let path = path.clone();
        let metadata = std::fs::metadata(&path).ok().filter(|found| found.file_type().is_socket())?;
        // A thread of its own connects, because a service that hangs must not block this process.
        let (send, receive) = std::sync::mpsc::channel();
        let connecting = move || {
            let connected = UnixStream::connect(path);
            let peer = connected.map(|stream| rustix::net::sockopt::socket_peercred(&stream).ok());
            // Nobody waits any longer after the deadline.
            let _late = send.send(peer);
        };
        std::thread::Builder::new().name("ask-service".to_owned()).spawn(connecting).ok()?;
        match receive.recv_timeout(CONNECT).ok()? {
            Ok(Some(peer)) => {
                let process = u32::try_from(peer.pid.as_raw_nonzero().get()).ok();
                Some(Running { process, user: peer.uid.as_raw() })
            }
            Ok(None) => None,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Some(Running { process: None, user: metadata.uid() })
            }
            Err(_) => None,
        }
    })
}

/// How long to wait for the service's socket to accept.
#[cfg(target_os = "linux")]
const CONNECT: std::time::Duration = std::time::Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_read_as_the_kernel_writes_it() {
        let line = "   0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 12345 1 0 100 0 0 10 0";
        let row = Row::parse(line);
        if cfg!(target_endian = "little") {
            let address = "127.0.0.1:631".parse().unwrap();
            assert_eq!(row, Some(Row { address, user: 997, inode: 12345 }));
            let line = line.replace("0100007F", "00000000000000000000000001000000");
            assert_eq!(Row::parse(&line).unwrap().address, "[::1]:631".parse().unwrap());
        }
        for line in ["", "  sl  local_address rem_address   st", &line.replace(" 0A ", " 01 "), "0: x:y 0 0A 0 0 0 0 0"]
        {
            assert_eq!(Row::parse(line), None, "{line}");
        }
    }

    #[test]
    fn an_address_is_taken_by_itself_and_by_all_addresses() {
        let takes = |theirs: &str, ours: &str| {
            Row { address: theirs.parse().unwrap(), user: 0, inode: 1 }.takes(ours.parse().unwrap())
        };
        assert!(takes("127.0.0.1:25", "127.0.0.1:25") && takes("0.0.0.0:25", "127.0.0.1:25"));
        assert!(takes("127.0.0.1:25", "0.0.0.0:25"));
        assert!(!takes("127.0.0.1:25", "127.0.0.1:26") && !takes("127.0.0.2:25", "127.0.0.1:25"));
        assert!(!takes("[::]:25", "127.0.0.1:25"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_listening_process_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let Some(Holder::Process { id, .. }) = holder(address, &[]) else { panic!("{:?}", holder(address, &[])) };
        assert_eq!(id, std::process::id());
        assert_eq!(holder(SocketAddr::new(address.ip(), 1), &[]), None);
        assert!(has_address("127.0.0.1".parse().unwrap()));
        assert!(!has_address("192.0.2.77".parse().unwrap()));
    }
}
