//! Where a benchmark keeps its files.

use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

/// Makes a directory below another, which goes away with us.
pub(crate) fn temporary(base: &Path) -> anyhow::Result<TempDir> {
    let made = tempfile::Builder::new().prefix("gatepost-bench-").tempdir_in(base);
    made.with_context(|| format!("make a directory in `{}`", base.display()))
}
