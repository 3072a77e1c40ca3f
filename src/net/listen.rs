//! Listening sockets, and the options of every mail connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// So many connections may wait for `accept`; a burst of clients after an outage does not wait for retransmissions.
const BACKLOG: i32 = 4_096;

/// Binds and listens. An IPv6 address takes IPv6 only, so that `[::]` and `0.0.0.0` can stand side by side.
///
/// # Errors
/// The address is taken, foreign, or privileged.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it a restart fails while old connections linger in TIME_WAIT. (On Windows it would mean something else.)
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Sends small writes at once, and finds a dead peer within two minutes: probes begin after a minute, below the timers
/// of NAT devices and of Azure's load balancer (4 minutes).
///
/// # Errors
/// The socket is gone.
pub fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
    let keepalive = keepalive.with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))?;
    Ok(())
}
