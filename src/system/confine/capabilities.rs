//! Rights of the superuser in parts (Linux, capabilities(7)).

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Ports below 1024, also after a reload.
const PORTS: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Files of others, which root reads only by this right.
const FILES: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Gives up all rights but to bind low ports, for good; and, where one of `files` cannot be read without it, the one to read what
/// belongs to others, because a reload reads them again. To be called by the only thread.
///
/// # Errors
/// What is missing, as a sentence.
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
            "no capabilities but to bind low ports and to read all files (CAP_NET_BIND_SERVICE, CAP_DAC_READ_SEARCH); the second \
             one is kept because `{}` belongs to another user",
            file.display()
        ),
        (None, true) => "no capabilities but to bind low ports (CAP_NET_BIND_SERVICE)".to_owned(),
        (None, false) => "no capabilities".to_owned(),
    })
}

/// Whether the rights that are in effect do not let this process read a file.
fn is_closed(file: &Path) -> bool {
    accessat(CWD, file, Access::READ_OK, AtFlags::EACCESS) == Err(Errno::ACCESS)
}
