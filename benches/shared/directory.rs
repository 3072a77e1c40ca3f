//! Where a benchmark keeps its files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A directory that goes away with us.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    /// Makes it below another.
    pub(crate) fn new(base: &Path) -> anyhow::Result<Self> {
        let path = base.join(format!("gatepost-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make `{}`", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
