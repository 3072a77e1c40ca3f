//! Learns what the upstreams announce, on connections of Gatepost's own. No client is needed for
//! it, and none waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::upstream::Target;
use crate::session::context::SessionContext;

/// First delay after a failure. It doubles up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);

/// Learns the list of `target` now, and again every `limits.capability_refresh`, until the service
/// drains. Until the first success, clients are told what Exchange Online is known to announce.
pub async fn keep_learning(shared: Arc<SessionContext>, target: Arc<Target>) {
    let refresh = shared.limits.capability_refresh;
    let mut retry = FIRST_RETRY.min(refresh);
    loop {
        let upstream = format!("{}:{}", target.upstream.host, target.upstream.port);
        let learned = tokio::select! {
            () = shared.draining.cancelled() => return,
            learned = shared.opener.learn(&target) => learned,
        };
        let pause = match learned {
            Ok(capabilities) => {
                tracing::debug!(
                    upstream,
                    capabilities = capabilities.0.join(" "),
                    "learned what the upstream announces"
                );
                target.announce(capabilities);
                retry = FIRST_RETRY.min(refresh);
                refresh
            }
            Err(error) => {
                let failure = error.failure(&target.upstream);
                tracing::warn!(
                    upstream,
                    cause = failure.cause.name(),
                    "could not learn what the upstream announces. Clients are told the list known so far: {failure}"
                );
                let pause = retry;
                retry = (retry * 2).min(refresh);
                pause
            }
        };
        tokio::select! {
            () = shared.draining.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}
