//! Drops capabilities, the separate rights of the superuser (Linux, capabilities(7)).

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Binding ports below 1024, also after a reload.
const PORTS: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Reading files of other users, which root can do only with this capability.
const FILES: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Permanently drops all capabilities but the one to bind low ports. If one of `files` can only be
/// read with it, the one to read files of others is also kept, because a reload reads them again.
/// Must be called by the only thread.
///
/// # Errors
/// A sentence that says what is missing.
pub(super) fn drop_all_but_needed(files: &[PathBuf]) -> Result<String, String> {
    let open = |error| format!("capabilities are kept: {error}");
    let have = capabilities(None).map_err(open)?;
    let leave = |effective: CapabilitySet, permitted: CapabilitySet| {
        let sets = CapabilitySets {
            effective: have.effective & effective,
            permitted: have.permitted & permitted,
            inheritable: CapabilitySet::empty(),
        };
        if sets != have { set_capabilities(None, sets) } else { Ok(()) }
    };
    leave(PORTS, PORTS | FILES).map_err(open)?;
    let of_others = files.iter().find(|file| have.permitted.contains(FILES) && is_closed(file));
    let kept = if of_others.is_some() { PORTS | FILES } else { PORTS };
    leave(kept, kept).map_err(open)?;
    Ok(match (of_others, have.permitted.contains(PORTS)) {
        (Some(file), _) => format!(
            "no capabilities except to bind low ports and to read all files (CAP_NET_BIND_SERVICE, CAP_DAC_READ_SEARCH). \
             It keeps the second because `{}` belongs to another user",
            file.display()
        ),
        (None, true) => "no capabilities but to bind low ports (CAP_NET_BIND_SERVICE)".to_owned(),
        (None, false) => "no capabilities".to_owned(),
    })
}

/// Whether the effective rights do not allow this process to read a file.
fn is_closed(file: &Path) -> bool {
    accessat(CWD, file, Access::READ_OK, AtFlags::EACCESS) == Err(Errno::ACCESS)
}
