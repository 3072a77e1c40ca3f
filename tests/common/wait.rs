//! Patience. What takes this long does not come, on however slow a machine: it ends a test that
//! hangs, and proves nothing. What must come within a time says so itself.

use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until there is something.
pub(crate) fn wait_for<T>(what: &str, there: impl FnMut() -> Option<T>) -> T {
    wait_or(|| what.to_owned(), there)
}

/// The same. What failed is described when it has.
pub(crate) fn wait_or<T>(what: impl Fn() -> String, mut there: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "it never came to that: {}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, so: impl Fn() -> bool) {
    wait_for(what, || so().then_some(()));
}

/// The same without holding up the thread.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, look).await.is_ok(), "it never came to that: {what}");
}
