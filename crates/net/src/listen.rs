//! Listening sockets, and the socket options of every mail connection.

use std::borrow::Borrow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// How many connections may wait for `accept`, so that a burst of clients after an outage does not
/// wait for retransmissions.
const BACKLOG: i32 = 4_096;

/// Attempts to find a port that is free on both loopback addresses.
const TRIES: usize = 16;

/// Binds an address and listens on it. An IPv6 address accepts IPv6 only, so that `[::]` and
/// `0.0.0.0` can be used together.
///
/// # Errors
/// The address is in use, does not belong to this machine, or is privileged.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = unbound(address)?;
    socket.bind(&address.into())?;
    listen(socket)
}

/// Like [`bind`], but `closing` are in nobody's way: sockets of this user that are closed
/// afterwards. So `0.0.0.0` and an address with the same port change places while no client is
/// refused (Linux: `SO_REUSEPORT`, socket(7), for the moment of the change).
///
/// # Errors
/// As [`bind`].
pub fn bind_beside(address: SocketAddr, closing: &[&TcpListener]) -> io::Result<TcpListener> {
    match bind(address) {
        #[cfg(target_os = "linux")]
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !closing.is_empty() => {
            bind_sharing(unbound(address)?, address, closing)
        }
        bound => bound,
    }
}

/// A socket of [`bind_early`].
#[derive(Debug)]
pub struct Bound {
    /// The socket, which listens.
    pub socket: TcpListener,
    /// Whether this machine does not have the address yet.
    pub is_address_missing: bool,
}

/// Like [`bind_beside`], also for an address that this machine does not have yet, because at boot
/// it may come later (Linux: `IP_FREEBIND`, ip(7)).
///
/// # Errors
/// As [`bind`].
pub fn bind_early(address: SocketAddr, closing: &[&TcpListener]) -> io::Result<Bound> {
    match bind_beside(address, closing) {
        #[cfg(target_os = "linux")]
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            let socket = unbound(address)?;
            match address {
                SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
                SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
            }
            Ok(Bound { socket: bind_sharing(socket, address, closing)?, is_address_missing: true })
        }
        bound => Ok(Bound { socket: bound?, is_address_missing: false }),
    }
}

#[cfg(target_os = "linux")]
fn bind_sharing(socket: Socket, address: SocketAddr, closing: &[&TcpListener]) -> io::Result<TcpListener> {
    let share = |share| closing.iter().try_for_each(|socket| SockRef::from(*socket).set_reuse_port(share));
    let bind = || {
        share(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)
    };
    let bound = bind();
    // Nobody else may share the port afterwards.
    share(false)?;
    bound?;
    socket.set_reuse_port(false)?;
    listen(socket)
}

fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without this option, a restart fails while old connections are in TIME_WAIT. (On Windows it
    // has another meaning.)
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// The sockets of [`bind_both_loopbacks`].
#[derive(Debug)]
pub struct Loopbacks<L> {
    /// The listener at the requested address.
    pub wanted: L,
    /// The listener at the other loopback address. `None` if the machine has none, or if the
    /// requested address is not loopback.
    pub other: Option<L>,
}

/// Binds 127.0.0.1 and ::1 together if `address` is one of them. A program that connects to
/// `localhost` may try either first, so no other user of this machine may listen on the other one.
/// `open` creates the socket for an address. For port 0, a port is chosen that is free on both.
///
/// # Errors
/// The address that cannot be listened on, and the system's error.
pub fn bind_both_loopbacks<L: Borrow<TcpListener>>(
    address: SocketAddr,
    mut open: impl FnMut(SocketAddr) -> io::Result<L>,
) -> Result<Loopbacks<L>, (SocketAddr, io::Error)> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let wanted = open(address).map_err(|error| (address, error))?;
        let bound = wanted.borrow().local_addr().map_err(|error| (address, error))?;
        let Some(other) = other_loopback(bound) else { return Ok(Loopbacks { wanted, other: None }) };
        match open(other) {
            Ok(other) => return Ok(Loopbacks { wanted, other: Some(other) }),
            Err(error) if is_missing(&error) => return Ok(Loopbacks { wanted, other: None }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() == 0 && tries > 0 => {}
            Err(error) => return Err((other, error)),
        }
    }
}

/// Binds what `localhost` means to clients: 127.0.0.1 and ::1 with this port. One that the machine
/// lacks is left out. `open` creates the socket for an address. For port 0, a port is chosen that
/// is free on both.
///
/// # Errors
/// The address that cannot be listened on, and the system's error.
pub fn bind_localhost<L: Borrow<TcpListener>>(
    port: u16,
    mut open: impl FnMut(SocketAddr) -> io::Result<L>,
) -> Result<Vec<L>, (SocketAddr, io::Error)> {
    let (v4, v6) = ((Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into());
    match bind_both_loopbacks(v4, &mut open) {
        Ok(Loopbacks { wanted, other }) => Ok([Some(wanted), other].into_iter().flatten().collect()),
        Err((address, error)) if address == v4 && is_missing(&error) => {
            open(v6).map(|socket| vec![socket]).map_err(|error| (v6, error))
        }
        Err(failed) => Err(failed),
    }
}

/// 127.0.0.1 for ::1, and ::1 for 127.0.0.1, with the same port.
pub fn other_loopback(address: SocketAddr) -> Option<SocketAddr> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let other = match address.ip() {
        V4 => V6,
        V6 => V4,
        _ => return None,
    };
    Some((other, address.port()).into())
}

/// True if the machine has no such address, so that nobody else can listen on it either.
fn is_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    let no_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    #[cfg(not(unix))]
    let no_family = 10_047;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

/// When a silent peer is asked whether it is there: below the timers of NAT devices and of Azure's
/// load balancer (4 minutes).
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// Sets the options of a connection: small writes are sent at once, and a dead peer is found within
/// two minutes, or within `stall` if that is longer.
///
/// A peer that lives may leave data untaken for `stall`, because Linux ends connections to the living
/// as well at the time by which it finds the dead (tcp(7), `TCP_USER_TIMEOUT`). That time has room for
/// all probes too, or else a single one that gets lost ends a session.
///
/// # Errors
/// The socket is closed.
pub fn tune(socket: &TcpStream, stall: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
    let keepalive = keepalive.with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stall.max(PROBE_AFTER + PROBES * PROBE_EVERY)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: io::ErrorKind) -> io::Error {
        kind.into()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_gives_a_peer_the_time_of_all_probes_and_of_a_stall() {
        for (stall, ended) in [(1, 120), (120, 120), (3_600, 3_600)] {
            let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            tune(&socket, Duration::from_secs(stall)).unwrap();
            let socket = SockRef::from(&socket);
            let probed = socket.tcp_keepalive_retries().unwrap() * socket.tcp_keepalive_interval().unwrap();
            assert_eq!(socket.tcp_keepalive_time().unwrap() + probed, Duration::from_secs(120));
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(ended)));
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_that_closes_is_in_nobodys_way_and_another_one_is() {
        for [old, new] in [["0.0.0.0", "127.0.0.1"], ["127.0.0.1", "0.0.0.0"], ["127.0.0.1", "127.0.0.1"]] {
            let old = bind(format!("{old}:0").parse().unwrap()).unwrap();
            let new = SocketAddr::new(new.parse().unwrap(), old.local_addr().unwrap().port());
            assert_eq!(bind_beside(new, &[]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let unrelated = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            assert_eq!(bind_beside(new, &[&unrelated]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let bound = bind_beside(new, &[&old]).unwrap();
            drop(old);
            let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, new.port())).await.unwrap();
            bound.accept().await.unwrap();
            assert!(!SockRef::from(&bound).reuse_port().unwrap());
            assert!(bind_beside(new, &[]).is_err(), "nobody else shares it");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_that_comes_later_is_bound_early() {
        // Of the addresses for documentation (RFC 5737), so it never comes.
        let address = "192.0.2.1:0".parse().unwrap();
        assert_eq!(bind(address).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        assert!(bind_early(address, &[]).unwrap().is_address_missing);
        assert!(!bind_early("127.0.0.1:0".parse().unwrap(), &[]).unwrap().is_address_missing);
    }

    #[tokio::test]
    async fn both_loopback_addresses_are_taken_or_none() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            // The port that the first attempt finds is in use on the other address.
            let mut opened = Vec::new();
            let both = bind_both_loopbacks(address, |address| {
                opened.push(address);
                if opened.len() == 2 { Err(error(io::ErrorKind::AddrInUse)) } else { bind(address) }
            });
            if let Ok(Loopbacks { wanted, other: Some(other) }) = both {
                assert_eq!(Some(other.local_addr().unwrap()), other_loopback(wanted.local_addr().unwrap()));
                assert_eq!(opened.len(), 4);
                // A port that was named is not replaced by another one.
                drop(other);
                let named = wanted.local_addr().unwrap();
                drop(wanted);
                let refused = bind_both_loopbacks(named, |address| match address == named {
                    true => bind(address),
                    false => Err(error(io::ErrorKind::AddrInUse)),
                });
                assert_eq!(refused.err().map(|(address, _)| address), other_loopback(named));
            }
        }
    }

    #[tokio::test]
    async fn an_address_that_the_machine_lacks_is_left_out_and_any_other_trouble_is_not() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let with = |trouble: fn() -> io::Error| {
            bind_both_loopbacks(address, |address| if address.is_ipv4() { bind(address) } else { Err(trouble()) })
        };
        #[cfg(unix)]
        let missing: [fn() -> io::Error; 2] =
            [|| io::ErrorKind::AddrNotAvailable.into(), || rustix::io::Errno::AFNOSUPPORT.into()];
        #[cfg(not(unix))]
        let missing: [fn() -> io::Error; 1] = [|| io::ErrorKind::AddrNotAvailable.into()];
        for trouble in missing {
            assert!(with(trouble).unwrap().other.is_none());
        }
        assert!(with(|| error(io::ErrorKind::AddrInUse)).is_err());
        assert!(with(|| error(io::ErrorKind::PermissionDenied)).is_err());
        assert!(with(|| error(io::ErrorKind::Other)).is_err());
        // `localhost` does without either of them, and not without both.
        let lacking = |lacks: fn(&SocketAddr) -> bool, trouble: io::ErrorKind| {
            bind_localhost(0, |address| if lacks(&address) { Err(error(trouble)) } else { bind(address) })
        };
        let missing = io::ErrorKind::AddrNotAvailable;
        for lacks in [SocketAddr::is_ipv4, SocketAddr::is_ipv6] {
            if let Ok(sockets) = lacking(lacks, missing) {
                assert!(sockets.len() == 1 && !lacks(&sockets[0].local_addr().unwrap()));
            }
            assert!(lacking(lacks, io::ErrorKind::PermissionDenied).is_err());
        }
        assert!(lacking(SocketAddr::is_ipv6, missing).is_ok());
        assert!(lacking(|_| true, missing).is_err());
        // Another address of 127.0.0.0/8 has no counterpart.
        let alone = bind_both_loopbacks("127.0.0.2:0".parse().unwrap(), bind);
        assert!(alone.is_ok_and(|alone| alone.other.is_none()));
    }
}
