//! The socket of `gatepost sendmail`. It opens and closes as the control socket does: the next
//! process puts its own in the place, and this one sends those away who are still in its queue. They
//! try again.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::error::StartError;
use super::generation::Generation;
use super::running::Running;
use crate::session::submission::Program;
use crate::system::local_socket::LocalSocket;
use gatepost_config::{Sendmail, user};
use gatepost_core::protocol::Protocol;
use gatepost_core::system_error::Plain;

/// Everybody may connect. The service asks the system who it is.
const MODE: u32 = 0o666;
/// Pause after a connection could not be accepted.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Most refused users that are remembered, so that the log names each once.
const REFUSED_USERS: usize = 1_024;

/// The users that the present configuration refused.
#[derive(Debug, Default)]
struct Refused {
    generation: u64,
    users: HashSet<u32>,
}

impl Refused {
    /// Returns true if this user is refused, and the log does not say so yet.
    fn is_news(&mut self, generation: &Generation, user: u32) -> bool {
        if self.generation != generation.number || self.users.len() >= REFUSED_USERS {
            self.users.clear();
            self.generation = generation.number;
        }
        let sends = generation.config.sendmail.as_ref().is_some_and(|sendmail| sendmail.rule_for(user).is_some());
        !sends && self.users.insert(user)
    }
}

/// Opens the socket. It is put in its place when it is served.
///
/// # Errors
/// [`StartError::Sendmail`].
pub(crate) fn open(config: &Sendmail) -> Result<LocalSocket, StartError> {
    let socket = LocalSocket::prepare(&config.socket, MODE)
        .map_err(|source| StartError::Sendmail { socket: config.socket.clone(), source })?;
    warn_of_limits(config);
    Ok(socket)
}

/// Warns of users who may send, but who cannot reach the socket or cannot be recognized.
fn warn_of_limits(config: &Sendmail) {
    let others = config.users.as_ref().map_or(&[][..], Vec::as_slice);
    if config.users.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    if let Some((directory, mode)) = closed_directory(&config.socket) {
        tracing::warn!(
            "programs of other users cannot reach `{}`: the directory `{}` has mode {mode:04o}. Gatepost admin: set \
             `RuntimeDirectoryMode=0711` in the systemd unit, or set the mode to 0711",
            config.socket.display(),
            directory.display()
        );
    }
    if let Some(id) = unseen(others) {
        tracing::warn!(
            "programs of user {} cannot send by `gatepost sendmail`, because the service cannot see this user. Gatepost \
             admin: install the drop-in `sendmail.conf` for the systemd unit (docs/recipes/sendmail.md)",
            user::name(id)
        );
    }
}

/// Returns the directory above the socket that keeps other users out, and its mode.
pub(crate) fn closed_directory(socket: &Path) -> Option<(&Path, u32)> {
    socket.ancestors().skip(1).find_map(|directory| {
        let mode = fs::metadata(directory).ok()?.permissions().mode() & 0o7777;
        (mode & 0o001 == 0).then_some((directory, mode))
    })
}

/// Returns the first of these users whom this process cannot see.
pub(crate) fn unseen(users: &[u32]) -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    users.iter().copied().find(|id| !is_seen(&map, *id))
}

/// Whether a user is in the map of a user namespace (user_namespaces(7)). Without a map, there is
/// none.
fn is_seen(map: &str, id: u32) -> bool {
    let mut ranges = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().ok());
        Some((fields.next()??, fields.nth(1)??))
    });
    map.is_empty() || ranges.any(|(first, count)| (first..first + count).contains(&u64::from(id)))
}

/// Puts the socket in its place, and serves programs from now on.
pub(crate) fn accept(running: &Arc<Running>, mut socket: LocalSocket) {
    match socket.place() {
        Ok(()) => running.listeners.accept_beside(serve(Arc::clone(running), socket)),
        Err(error) => tracing::error!("`gatepost sendmail` cannot reach the service: {}", Plain(&error)),
    }
}

/// Serves programs until the service drains, and then until their messages have ended or are cut.
async fn serve(running: Arc<Running>, socket: LocalSocket) {
    let mut sessions = JoinSet::new();
    let mut refused = Refused::default();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept_any() => accepted,
            Some(_ended) = sessions.join_next() => continue,
            () = running.process.draining.cancelled() => break,
        };
        match accepted {
            Ok((stream, user)) => {
                let is_news = refused.is_news(&running.generation.get(), user);
                if let Some(session) = session(&running, Program { stream, user, is_news }) {
                    sessions.spawn(session);
                }
            }
            // Descriptors or memory are exhausted, or the program has left.
            Err(_) => sleep(BACK_OFF).await,
        }
    }
    while let Ok(Ok((stream, user))) = timeout(Duration::ZERO, socket.accept_any()).await {
        Program { stream, user, is_news: false }.turn_away().await;
    }
    drop(socket);
    tokio::select! {
        () = async { while sessions.join_next().await.is_some() {} } => {}
        () = running.stopping.cancelled() => sessions.shutdown().await,
    }
}

/// Returns the session of a program, with the present configuration.
fn session(running: &Arc<Running>, program: Program) -> Option<impl Future<Output = ()> + Send + 'static> {
    let generation = running.generation.get();
    let listener = &generation.config.sendmail.as_ref()?.listener;
    let service = generation.services.iter().find(|service| service.listener.name == *listener)?;
    let (shared, service) = (Arc::clone(&generation.shared), Arc::clone(service));
    let config = Arc::clone(&generation.config);
    let counted = running.listeners.sessions().enter(Protocol::Smtp);
    Some(async move {
        program.serve(shared, service, config).await;
        drop(counted);
    })
}
