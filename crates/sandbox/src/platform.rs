//! The machine's side of managed identities: what the platform knows about them, and how it fails
//! on demand.

use std::collections::VecDeque;
use std::path::PathBuf;

use parking_lot::{Mutex, MutexGuard};

use super::random;

/// What the platform knows about its identities.
pub(super) struct Platform {
    /// What App Service puts into `IDENTITY_HEADER`.
    pub(super) header: String,
    pub(super) user_assigned: String,
    state: Mutex<PlatformState>,
}

#[derive(Default)]
pub(super) struct PlatformState {
    /// The statuses of the next answers.
    pub(super) faults: VecDeque<u16>,
    /// Where the agent of Azure Arc leaves its keys, and the key that it expects.
    pub(super) arc: Option<PathBuf>,
    pub(super) arc_key: Option<String>,
    pub(super) absent: bool,
}

impl Platform {
    pub(super) fn new(user_assigned: &str) -> Self {
        Self { header: random::guid(), user_assigned: user_assigned.to_lowercase(), state: Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, PlatformState> {
        self.state.lock()
    }

    /// The next answers have these statuses, whatever is asked.
    pub(super) fn fail_with(&self, statuses: &[u16]) {
        self.state().faults = statuses.iter().copied().collect();
    }

    /// Takes all identities from the machine, or gives them back.
    pub(super) fn set_absent(&self, absent: bool) {
        self.state().absent = absent;
    }

    pub(super) fn set_arc_keys(&self, directory: PathBuf) {
        self.state().arc = Some(directory);
    }
}
