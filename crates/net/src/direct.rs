//! Connecting directly, with Happy Eyeballs (RFC 8305).
//!
//! The system's resolver returns the addresses of both families together, so the family that
//! answers first gets no head start (RFC 8305 §3). Addresses that did not answer lately are tried
//! last.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::addresses::UnhealthyAddresses;
use super::error::{DialError, timed_out};
use super::listen;
use super::resolve::Resolver;
use gatepost_config::Limits;
use gatepost_core::clock::Clock;

/// How long one address is tried before the next is tried as well (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Most addresses of one name that one login tries.
const ADDRESSES: usize = 6;

/// Opens direct connections, and remembers what it learns about names and addresses.
pub(super) struct DirectDialer {
    /// The longest time for resolving a name.
    lookup: Duration,
    /// The longest time for connecting to one address.
    attempt: Duration,
    /// The longest time that the server may leave data untaken.
    stall: Duration,
    resolver: Resolver,
    dead: UnhealthyAddresses,
}

impl DirectDialer {
    /// Creates a dialer with the deadlines of `limits`.
    pub(super) fn new(limits: &Limits) -> Self {
        let clock = Clock::system();
        let (resolver, dead) = (Resolver::system(clock.clone()), UnhealthyAddresses::new(clock));
        let (lookup, attempt, stall) = (limits.resolve, limits.connect_attempt, limits.write_stall);
        Self { lookup, attempt, stall, resolver, dead }
    }

    /// Notes that the network may have changed, as after a suspend: names are looked up again, and
    /// no address counts as dead.
    pub(super) fn network_changed(&self) {
        self.resolver.doubt_all();
        self.dead.forget();
    }

    /// Connects to `host:port` by `deadline`, and tunes the socket.
    pub(super) async fn direct(&self, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, DialError> {
        let in_time = deadline.min(Instant::now() + self.lookup);
        let found = self.resolver.resolve(host, port, in_time).await;
        let found = found.map_err(|source| DialError::Resolve { host: host.to_owned(), source })?;
        let mut addresses = self.dead.order(interleave(found));
        addresses.truncate(ADDRESSES);
        let tried = addresses.len();
        let fail = |source| DialError::Connect { host: host.to_owned(), port, tried, source };
        let socket = self.race(addresses, deadline).await.map_err(|error| {
            self.resolver.invalidate(host);
            fail(error)
        })?;
        listen::tune(&socket, self.stall).map_err(fail)?;
        Ok(socket)
    }

    /// Returns the first address that connects. Each further address is tried when the one before
    /// has failed, or has not answered for [`STAGGER`].
    async fn race(&self, addresses: Vec<SocketAddr>, deadline: Instant) -> io::Result<TcpStream> {
        let attempt = self.attempt;
        let mut waiting = addresses.into_iter();
        let mut running = Attempts::default();
        let mut last_error = timed_out();
        let mut next_start = Instant::now();
        loop {
            if running.is_empty() || Instant::now() >= next_start {
                match waiting.next() {
                    Some(address) => running.start(address, attempt),
                    None if running.is_empty() => return Err(last_error),
                    None => {}
                }
                next_start = Instant::now() + STAGGER;
            }
            tokio::select! {
                (address, result) = running.finished() => match result {
                    Ok(socket) => {
                        self.dead.mark_alive(address);
                        // A later attempt overtook these addresses, so they count as dead.
                        running.silent().for_each(|silent| self.dead.mark_dead(silent));
                        return Ok(socket);
                    }
                    Err(error) => {
                        if blames_address(&error) {
                            self.dead.mark_dead(address);
                        }
                        last_error = error;
                        next_start = Instant::now();
                    }
                },
                () = sleep_until(next_start), if waiting.len() > 0 => {}
                () = sleep_until(deadline) => {
                    running.silent().for_each(|silent| self.dead.mark_dead(silent));
                    return Err(last_error);
                }
            }
        }
    }
}

/// The connection attempts that are running.
#[derive(Default)]
struct Attempts {
    tasks: JoinSet<(SocketAddr, io::Result<TcpStream>)>,
    started: Vec<(SocketAddr, Instant)>,
}

impl Attempts {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn start(&mut self, address: SocketAddr, attempt: Duration) {
        self.started.push((address, Instant::now()));
        self.tasks.spawn(async move {
            let connect = timeout(attempt, TcpStream::connect(address)).await;
            (address, connect.unwrap_or_else(|_| Err(timed_out())))
        });
    }

    /// The next attempt that ends; waits for ever if none is running.
    async fn finished(&mut self) -> (SocketAddr, io::Result<TcpStream>) {
        match self.tasks.join_next().await {
            Some(Ok((address, result))) => {
                self.started.retain(|(started, _)| *started != address);
                (address, result)
            }
            Some(Err(aborted)) => std::panic::resume_unwind(aborted.into_panic()),
            None => std::future::pending().await,
        }
    }

    /// Addresses that have been tried for [`STAGGER`] and have not answered.
    fn silent(&self) -> impl Iterator<Item = SocketAddr> {
        self.started.iter().filter(|(_, since)| since.elapsed() >= STAGGER).map(|(address, _)| *address)
    }
}

/// Alternates the address families (RFC 8305 §4), beginning with the one that the system prefers.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == preferred_v6);
    let mut second = second.into_iter();
    let mut in_turn = Vec::new();
    for address in first {
        in_turn.push(address);
        in_turn.extend(second.next());
    }
    in_turn.extend(second);
    in_turn
}

/// Whether an error is about the address, and not about this machine's descriptors, ports or
/// memory.
fn blames_address(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        let expected = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "192.0.2.3:1"]);
        assert_eq!(interleave(found), expected);
    }

    fn dialer() -> DirectDialer {
        DirectDialer::new(&Limits::default())
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_from_the_living_and_is_tried_last_from_then_on() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let living = listener.local_addr().unwrap();
        let dead = {
            let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            closed.local_addr().unwrap()
        };
        let (dialer, deadline) = (dialer(), Instant::now() + Duration::from_secs(5));
        assert_eq!(dialer.dead.order(vec![dead, living]), [dead, living]);
        let socket = dialer.race(vec![dead, living], deadline).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), living);
        assert_eq!(dialer.dead.order(vec![dead, living]), [living, dead]);
        assert!(dialer.race(vec![dead], deadline).await.is_err());
        dialer.network_changed();
        assert_eq!(dialer.dead.order(vec![dead, living]), [dead, living]);
    }

    #[tokio::test]
    async fn an_address_that_was_overtaken_is_tried_last_and_the_deadline_holds() {
        // A full backlog accepts no more connections and does not answer.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let _takes_the_place = std::net::TcpStream::connect(silent).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let living = listener.local_addr().unwrap();

        let dialer = dialer();
        let start = Instant::now();
        let socket = dialer.race(vec![silent, living], start + Duration::from_secs(5)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), living);
        assert!(start.elapsed() >= STAGGER);
        assert_eq!(dialer.dead.order(vec![silent, living]), [living, silent]);
        let error = dialer.race(vec![silent], Instant::now() + Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
