//! Runs several jobs side by side, a few at a time.

use std::future::Future;

use tokio::task::JoinSet;

/// Most jobs at once. The services of Microsoft take more, and clients need their share.
const AT_ONCE: usize = 8;

/// Runs the jobs, eight at a time, and returns their results in the order of the jobs.
///
/// # Cancel safety
/// Dropping the future ends the jobs.
pub(super) async fn in_order<T, J>(jobs: impl IntoIterator<Item = J>) -> Vec<T>
where
    T: Send + 'static,
    J: Future<Output = T> + Send + 'static,
{
    let mut waiting = jobs.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut done: Vec<(usize, T)> = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((place, job)) = waiting.next()
        {
            running.spawn(async move { (place, job.await) });
        }
        match running.join_next().await {
            Some(Ok(result)) => done.push(result),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Nobody else ends the jobs.
            Some(Err(_)) => {}
            None => break,
        }
    }
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn results_keep_the_order_and_few_jobs_run_at_once() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs = (0..50_u64).map(|number| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100 - number)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                number
            }
        });
        assert_eq!(in_order(jobs).await, (0..50).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    }
}
