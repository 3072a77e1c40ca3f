//! The process as a whole: descriptors, core files, and the user it runs as.

use crate::config::Limits;

/// Descriptors kept for the log, token requests, certificates and the like.
const RESERVE: u64 = 64;

/// Raises the limit of open files as far as the system lets us, switches core files off (they would hold passwords and
/// tokens), and says what the operator should know, one sentence each.
pub fn prepare(limits: &Limits) -> Vec<String> {
    let mut notes = Vec::new();
    #[cfg(unix)]
    {
        if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
            notes.push(format!("core files could not be switched off ({error}): a crash may write secrets to disk"));
        }
        // A session has two connections.
        let wanted = limits.connections as u64 * 2 + RESERVE;
        let have = rlimit::increase_nofile_limit(wanted).unwrap_or(0);
        if have < wanted {
            notes.push(format!(
                "{have} open files are allowed, enough for {} sessions and not for `limits.connections: {}`; raise the \
                 limit (LimitNOFILE in a systemd unit, ulimit -n in a shell) or lower the key",
                have.saturating_sub(RESERVE) / 2,
                limits.connections
            ));
        }
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if is_root {
            notes.push("Gatepost runs as root and needs no such right; run it as a user of its own".to_owned());
        }
    }
    #[cfg(not(unix))]
    let _unused_here = limits;
    notes
}
