//! The process as a whole: descriptors, core files, and the user it runs as.

use std::io;
use std::path::Path;

use gatepost_config::{Config, Limits};

/// Descriptors kept for the log, token requests, certificates and the like, and for the attempts of the
/// queue: 128 at once, with a connection and a file each.
const RESERVE: u64 = 64 + 2 * 128;

/// Protects the memory of this process, which holds passwords and tokens, from files and from other
/// processes. It disables core files, even those that the system pipes to a program, for which the
/// limit does not apply (Linux, core(5)). It also disables debuggers of the same user (Linux,
/// PR_SET_DUMPABLE). Best effort, to be called first of all; [`prepare`] reports what did not
/// succeed.
pub fn hide_memory() {
    #[cfg(unix)]
    let _told_later = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _told_later = {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
    };
}

#[cfg(unix)]
fn memory_is_open() -> Option<String> {
    let core_files = rlimit::getrlimit(rlimit::Resource::CORE).is_ok_and(|(soft, _)| soft > 0);
    #[cfg(target_os = "linux")]
    let core_files = core_files || {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        dumpable_behavior() != Ok(DumpableBehavior::NotDumpable)
    };
    core_files.then(|| "core files could not be turned off. A crash may write secrets to disk".to_owned())
}

/// Raises the limit of open files as far as the system allows. Returns what the operator should
/// know, one sentence each.
pub fn prepare(limits: &Limits) -> Vec<String> {
    let mut notes = Vec::new();
    #[cfg(unix)]
    {
        notes.extend(memory_is_open());
        notes.extend(raise_descriptors(limits));
        if rustix::process::geteuid().is_root() {
            notes.push(
                "Gatepost runs as root but does not need to. Gatepost admin: run it as a dedicated user".to_owned(),
            );
        }
    }
    #[cfg(not(unix))]
    let _unused_here = limits;
    notes
}

/// Returns how many open files `limits` need: a session has two connections.
pub fn wanted_files(limits: &Limits) -> u64 {
    limits.connections as u64 * 2 + RESERVE
}

/// Returns how many files this process may have open, if the system says so.
pub fn open_files() -> Option<u64> {
    #[cfg(unix)]
    let most = rlimit::Resource::NOFILE.get().ok().map(|(soft, _)| soft);
    #[cfg(not(unix))]
    let most = None;
    most
}

/// Raises the limit of open files as far as the system allows. Returns a sentence if that is not
/// enough for `limits`.
pub fn raise_descriptors(limits: &Limits) -> Option<String> {
    #[cfg(unix)]
    {
        let wanted = wanted_files(limits);
        let have = rlimit::increase_nofile_limit(wanted).unwrap_or(0);
        (have < wanted).then(|| {
            format!(
                "{have} open files are allowed, enough for {} sessions but not for `limits.connections: {}`. Gatepost \
                 admin: raise the limit (`LimitNOFILE` in a systemd unit, `ulimit -n` in a shell), or lower the key",
                have.saturating_sub(RESERVE) / 2,
                limits.connections
            )
        })
    }
    #[cfg(not(unix))]
    {
        let _unused_here = limits;
        None
    }
}

/// The variables that tell MIT Kerberos the client keytab and the credential cache.
#[cfg(all(unix, feature = "negotiate"))]
const KEYTAB_VARIABLE: &str = "KRB5_CLIENT_KTNAME";
#[cfg(all(unix, feature = "negotiate"))]
const CACHE_VARIABLE: &str = "KRB5CCNAME";

/// Returns `forward_proxy.keytab`, for which the process needs another environment from its start.
pub fn keytab(config: &Config) -> Option<&Path> {
    #[cfg(feature = "negotiate")]
    if let Some(proxy) = &config.forward_proxy
        && let Some(gatepost_proto::tunnel::credentials::ProxyAuthentication::Negotiate(credentials)) =
            &proxy.authentication
    {
        return credentials.keytab.as_deref();
    }
    #[cfg(not(feature = "negotiate"))]
    let _unused_here = config;
    None
}

/// Makes the Kerberos library find `forward_proxy.keytab`. The library reads it from the
/// environment only. A program must not change its environment while another thread may read it. So
/// this one starts itself again with another environment, under the same process id, and does not
/// return. Tickets stay in memory unless a cache is named.
///
/// # Errors
/// As the system reports them, when the program cannot be started again.
pub fn hand_over_keytab(config: &Config) -> io::Result<()> {
    #[cfg(all(unix, feature = "negotiate"))]
    if let Some(keytab) = keytab(config) {
        use std::os::unix::process::CommandExt as _;
        let keytab = std::path::absolute(keytab)?;
        if std::env::var_os(KEYTAB_VARIABLE).is_none_or(|named| named != keytab) {
            let mut again = std::process::Command::new(std::env::current_exe()?);
            again.args(std::env::args_os().skip(1)).env(KEYTAB_VARIABLE, keytab);
            if std::env::var_os(CACHE_VARIABLE).is_none() {
                again.env(CACHE_VARIABLE, "MEMORY:gatepost");
            }
            return Err(again.exec());
        }
    }
    #[cfg(not(all(unix, feature = "negotiate")))]
    let _unused_here = config;
    Ok(())
}
