//! Rights of the superuser in parts (Linux, capabilities(7)).

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Ports below 1024, also after a reload; and files of others that were readable at the start, which root has only by this
/// right. A process of an ordinary user has neither.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE.union(CapabilitySet::DAC_READ_SEARCH);

/// Gives up the others, for good. To be called by the only thread.
///
/// # Errors
/// What is missing, as a sentence.
pub(super) fn drop_all_but_needed() -> Result<String, String> {
    let open = |error| format!("capabilities are kept: {error}");
    let have = capabilities(None).map_err(open)?;
    let kept = have.permitted & KEPT;
    if have.permitted != kept || !have.inheritable.is_empty() {
        let sets =
            CapabilitySets { effective: have.effective & KEPT, permitted: kept, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).map_err(open)?;
    }
    Ok(match kept.is_empty() {
        true => "no capabilities".to_owned(),
        false => "no capabilities but to bind low ports and to read files (CAP_NET_BIND_SERVICE, CAP_DAC_READ_SEARCH)"
            .to_owned(),
    })
}
