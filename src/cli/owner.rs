//! Whose the service's files are, for commands that another user runs.

use gatepost_config::Config;

/// Returns how commands are run as the owner of a file that may be closed to this user, such as
/// `sudo -u gatepost`. `None`: the owner is root, or is not known.
#[cfg(unix)]
pub(super) fn of(path: &std::path::Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(std::path::Path::new("."));
    // The owner of a directory can be seen even when what is in it cannot. The file may be absent.
    let owner = std::fs::metadata(path).or_else(|_| std::fs::metadata(directory)).ok()?.uid();
    (owner != 0).then(|| gatepost_config::user::as_user(owner))
}

/// Returns why root must not act with this configuration. It would begin the audit log in the
/// place of the service's user, who could then not write it.
#[cfg(unix)]
pub(super) fn hindrance(config: &Config) -> Option<String> {
    let Some(gatepost_config::AuditLog::File(file)) = &config.log.audit else { return None };
    let as_user = of(file).filter(|_| rustix::process::geteuid().is_root())?;
    Some(format!(
        "the audit log `{}` belongs to another user than root. Run the command as that user: `{as_user} gatepost …`",
        file.display()
    ))
}

#[cfg(not(unix))]
pub(super) fn hindrance(_config: &Config) -> Option<String> {
    None
}
