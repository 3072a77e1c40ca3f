//! Stops the service without cutting sessions that can still finish. New connections are refused,
//! waiting sessions are ended in turn ([`DrainSchedule`]), and busy ones get time until the limit.
//!
//! [`DrainSchedule`]: crate::session::drain::DrainSchedule

use std::time::Duration;

use tokio::time::{interval, timeout};

use super::running::Running;
use gatepost_core::protocol::Protocol;

/// How often the log says how many sessions are left.
const PROGRESS: Duration = Duration::from_secs(10);

/// How long the end of the service waits for the removal of drafts that were not sent.
const REMOVALS: Duration = Duration::from_secs(10);

/// Refuses new connections, and waits until the sessions have ended, at most `limits.drain`.
/// Returns how many were cut.
pub(crate) async fn drain(running: &Running) -> usize {
    let limit = running.generation.get().config.limits.drain;
    running.begin_drain(limit);
    let sessions = running.listeners.sessions();
    running.listeners.close(running.is_last.is_cancelled());
    if sessions.total() > 0 {
        tracing::info!(
            sessions = sessions.total(),
            left = kinds(&sessions.by_protocol()),
            "stopping: no new connections. Sessions can end by themselves for {limit:?} (a second signal stops at once)"
        );
    }
    let empty = async {
        let mut every = interval(PROGRESS);
        every.tick().await;
        loop {
            tokio::select! {
                () = async {
                    running.listeners.empty().await;
                    // Attempts to deliver messages of the queue that cannot be taken back.
                    running.delivered.cancelled().await;
                } => return,
                _ = every.tick() => {
                    tracing::info!(sessions = sessions.total(), left = kinds(&sessions.by_protocol()), "still \
                    draining");
                }
            }
        }
    };
    let over = tokio::select! {
        finished = timeout(limit, empty) => finished.err().map(|_| "`limits.drain` is over"),
        () = running.stopping.cancelled() => Some("told to stop at once"),
    };
    let cut = sessions.total();
    if let Some(why) = over
        && cut > 0
    {
        tracing::warn!(sessions = cut, left = kinds(&sessions.by_protocol()), "{why}: the remaining sessions are cut");
    }
    running.stopping.cancel();
    running.listeners.empty().await;
    running.generation.get().removed_drafts(REMOVALS).await;
    cut
}

/// Formats the counts, such as `3 imap, 1 smtp`.
fn kinds(sessions: &[(Protocol, usize)]) -> String {
    let some = sessions.iter().filter(|(_, count)| *count > 0);
    some.map(|(protocol, count)| format!("{count} {}", protocol.name())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_left_are_told_by_kind() {
        let left = [(Protocol::Imap, 3), (Protocol::Pop3, 0), (Protocol::Smtp, 1)];
        assert_eq!(kinds(&left), "3 imap, 1 smtp");
    }
}
