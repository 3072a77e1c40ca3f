//! Resolves names with the system's resolver (`getaddrinfo`). It knows `/etc/hosts`, search domains
//! and whatever else the administrator has set up, and notices changes of `resolv.conf`.
//!
//! The resolver blocks for half a minute if no name server answers. So each lookup has a thread of
//! its own, at most one for each name and [`LOOKUPS`] in all, and no caller waits longer than its
//! deadline. An answer is cached for a short while. If later lookups fail, it is used for up to a
//! day (RFC 8767 §4), because TLS proves whether it still leads to the right server.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use gatepost_core::clock::{Clock, Moment};

/// How long an answer is used without another lookup. `getaddrinfo` does not return a record's time
/// to live; the times of Exchange Online are about as short.
const FRESH: Duration = Duration::from_secs(30);

/// The shortest time between two lookups of a name, whatever happened. A failure is remembered no
/// longer than this.
const PAUSE: Duration = Duration::from_secs(1);

/// How long an old answer is used if there is no new one; RFC 8767 §5 suggests one to three days.
const STALE: Duration = Duration::from_secs(24 * 3_600);

/// How long to wait for a lookup before an old answer is used (RFC 8767 §5 suggests 1.8 seconds).
const STALE_WAIT: Duration = Duration::from_secs(1);

/// Most lookups at once. The names come from the configuration, so more are a sign that the
/// resolver hangs.
const LOOKUPS: usize = 32;

/// Stack of a lookup's thread, in octets. Modules of the name service switch may need a good part
/// of it.
const STACK: usize = 512 * 1_024;

/// Looks up a name; it may block.
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Resolves the names of upstreams and forward proxies, and caches the answers. The cache is
/// bounded only by the number of names in the configuration, so never pass a name that a client
/// sent.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    clock: Clock,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    known: HashMap<Box<str>, Known>,
    /// Lookup threads that are running.
    lookups: usize,
}

/// What is known about a name.
#[derive(Default)]
struct Known {
    answer: Option<Answer>,
    /// The error of the last lookup, if it failed.
    failed: Option<(Moment, Failed)>,
    running: Option<Running>,
}

#[derive(Clone)]
struct Answer {
    addresses: Arc<[IpAddr]>,
    at: Moment,
    /// No address could be connected to, or the network has changed.
    doubted: bool,
}

/// An error that can be given to several callers.
#[derive(Clone)]
struct Failed(io::ErrorKind, Arc<str>);

/// A lookup that is running.
#[derive(Clone)]
struct Running {
    since: Instant,
    /// Closed when the lookup ends; the outcome is in [`Known`] then.
    done: watch::Receiver<()>,
}

/// What to do about a name.
enum Next {
    Use(Arc<[IpAddr]>),
    Wait(Running),
    Fail(io::Error),
}

impl Resolver {
    /// The system's resolver. The clock should count suspend.
    pub(super) fn system(clock: Clock) -> Self {
        Self::new(clock, |name| {
            // The port is not used.
            (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        })
    }

    fn new(clock: Clock, lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { lookup: Box::new(lookup), clock, names: Mutex::default() }))
    }

    /// The addresses of a name in the system's order of preference (RFC 6724), without duplicates,
    /// waiting until `deadline` at most. If the name is an address, it is returned itself.
    ///
    /// # Errors
    /// `TimedOut`; `NotFound` if the name has no address; or the resolver's error. In all these
    /// cases there is no old answer.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time. A running lookup continues for other callers.
    pub(super) async fn resolve(&self, name: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let addresses = self.addresses(name, deadline).await?;
        Ok(addresses.iter().map(|address| SocketAddr::new(*address, port)).collect())
    }

    async fn addresses(&self, name: &str, deadline: Instant) -> io::Result<Arc<[IpAddr]>> {
        let mut running = match self.0.next(name) {
            Next::Use(addresses) => return Ok(addresses),
            Next::Fail(error) => return Err(error),
            Next::Wait(running) => running,
        };
        let old = self.0.old(name);
        let until = if old.is_some() { deadline.min(running.since + STALE_WAIT) } else { deadline };
        match timeout_at(until, running.done.changed()).await {
            // The sender is dropped once the outcome is stored.
            Ok(_ended) => self.0.outcome(name),
            Err(_) => old.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the resolver did not answer in time")),
        }
    }

    /// Notes that no address of a name could be connected to, so that the next login looks it up
    /// again. The old answer is kept as a last resort.
    pub(super) fn invalidate(&self, name: &str) {
        if let Some(answer) = self.0.names().known.get_mut(name).and_then(|known| known.answer.as_mut()) {
            answer.doubted = true;
        }
    }

    /// Does the same as [`Resolver::invalidate`] for all names, after the network may have changed,
    /// and forgets failures.
    pub(super) fn doubt_all(&self) {
        for known in self.0.names().known.values_mut() {
            known.failed = None;
            if let Some(answer) = &mut known.answer {
                answer.doubted = true;
            }
        }
    }
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, Names> {
        // The state is consistent even after a panic, because no change under the lock is left
        // unfinished.
        self.names.lock()
    }

    fn next(self: &Arc<Self>, name: &str) -> Next {
        let now = self.clock.now();
        let mut names = self.names();
        let lookups = names.lookups;
        let known = names.known.entry(name.into()).or_default();
        if let Some(answer) = &known.answer
            && now.since(answer.at) < if answer.doubted { PAUSE } else { FRESH }
        {
            return Next::Use(Arc::clone(&answer.addresses));
        }
        if let Some((at, failed)) = &known.failed
            && now.since(*at) < PAUSE
        {
            return match known.not_too_old(now) {
                Some(addresses) => Next::Use(addresses),
                None => Next::Fail(failed.error()),
            };
        }
        if let Some(running) = &known.running {
            return Next::Wait(running.clone());
        }
        let busy = if lookups >= LOOKUPS {
            Some(io::Error::other("too many names are being looked up. The resolver seems to hang"))
        } else {
            None
        };
        let started = match busy {
            Some(busy) => Err(busy),
            None => self.start(name),
        };
        match started {
            Ok(running) => {
                known.running = Some(running.clone());
                names.lookups += 1;
                Next::Wait(running)
            }
            Err(error) => known.not_too_old(now).map_or(Next::Fail(error), Next::Use),
        }
    }

    /// Starts a lookup on a thread of its own. The runtime's threads for blocking work are for
    /// files, and the runtime would wait for the lookup before it ends.
    fn start(self: &Arc<Self>, name: &str) -> io::Result<Running> {
        let (ended, done) = watch::channel(());
        let (shared, name) = (Arc::clone(self), Box::from(name));
        std::thread::Builder::new().name("resolve".into()).stack_size(STACK).spawn(move || {
            let found = (shared.lookup)(&name).and_then(|mut addresses| {
                let mut seen = std::collections::HashSet::new();
                addresses.retain(|address| seen.insert(*address));
                match addresses.is_empty() {
                    true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
                    false => Ok(addresses),
                }
            });
            shared.ended(&name, found);
            drop(ended);
        })?;
        Ok(Running { since: Instant::now(), done })
    }

    fn ended(&self, name: &str, found: io::Result<Vec<IpAddr>>) {
        let now = self.clock.now();
        let mut names = self.names();
        names.lookups -= 1;
        let Some(known) = names.known.get_mut(name) else { return };
        known.running = None;
        match found {
            Ok(addresses) => {
                if known.failed.take().is_some() {
                    tracing::info!(name, "the name is resolved again");
                }
                known.answer = Some(Answer { addresses: addresses.into(), at: now, doubted: false });
            }
            Err(error) => {
                let first = known.failed.is_none();
                known.failed = Some((now, Failed(error.kind(), error.to_string().into())));
                if first && known.not_too_old(now).is_some() {
                    tracing::warn!(
                        name,
                        "the name cannot be resolved ({error}), so its last addresses are used, for a day at most. \
                         Network admin: check this machine's DNS"
                    );
                }
            }
        }
    }

    /// The result for a caller after a lookup has ended.
    fn outcome(&self, name: &str) -> io::Result<Arc<[IpAddr]>> {
        let now = self.clock.now();
        let names = self.names();
        let known = names.known.get(name);
        match known.and_then(|known| known.not_too_old(now)) {
            Some(addresses) => Ok(addresses),
            None => Err(match known.and_then(|known| known.failed.as_ref()) {
                Some((_, failed)) => failed.error(),
                None => io::Error::other("the lookup ended without an answer"),
            }),
        }
    }

    fn old(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        self.names().known.get(name)?.not_too_old(self.clock.now())
    }
}

impl Known {
    fn not_too_old(&self, now: Moment) -> Option<Arc<[IpAddr]>> {
        let answer = self.answer.as_ref().filter(|answer| now.since(answer.at) < STALE)?;
        Some(Arc::clone(&answer.addresses))
    }
}

impl Failed {
    fn error(&self) -> io::Error {
        io::Error::new(self.0, &*self.1)
    }
}

#[cfg(test)]
mod tests;
