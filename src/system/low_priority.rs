//! Work that keeps a processor busy, on threads that yield to everything else.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// Each such thread gets a tenth of the time of a thread that waits for nothing (sched(7)), so that a
/// password gets its turn on a busy machine, too.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Runs `work` to its end on a thread of its own, also if nobody waits for the result any longer.
/// On Linux the thread has a lower priority than the service's others, so that a session on the same
/// processor does not wait for it (sched(7)); elsewhere a priority would be the whole process's.
///
/// # Errors
/// The system gave no thread, or `work` panicked.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new().name("low-priority".to_owned()).spawn(move || {
        // Refused only by a sandbox that forbids it; then the work is merely in the way of others.
        #[cfg(target_os = "linux")]
        let _best_effort = rustix::process::nice(NICENESS);
        let _nobody_waits = tell.send(work());
    })?;
    told.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_the_thread_of_the_work_has_the_lower_priority() {
        let before = rustix::process::nice(0).unwrap();
        assert_eq!(run(|| rustix::process::nice(0).unwrap()).await.unwrap(), (before + NICENESS).min(19));
        assert_eq!(rustix::process::nice(0).unwrap(), before);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        assert!(run(|| assert!(std::hint::black_box(false), "meant")).await.is_err());
    }
}
