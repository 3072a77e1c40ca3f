//! Delivers the messages of the queue while the service runs, with the configuration in force.

use std::sync::Arc;

use tokio::sync::watch;

use super::running::Running;
use crate::session::submission::queue::{Present, deliver};
use gatepost_store::queue::Queue;

/// Delivers messages from when there is a queue until the service is told to stop, and lets attempts
/// end that cannot be taken back.
pub(crate) async fn keep_delivering(running: Arc<Running>) {
    let _delivered = running.delivered.clone().drop_guard();
    let draining = running.process.draining.clone();
    let mut generations = running.changed.subscribe();
    let queue = tokio::select! {
        queue = opened(&running, &mut generations) => queue,
        () = draining.cancelled() => return,
    };
    let (sender, receiver) = watch::channel(Arc::new(present(&running)));
    let follow = async {
        while generations.changed().await.is_ok() {
            sender.send_replace(Arc::new(present(&running)));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = deliver(queue, receiver, draining) => {}
        () = follow => {}
    }
}

/// Waits until a configuration has a queue.
async fn opened(running: &Running, generations: &mut watch::Receiver<u64>) -> Queue {
    loop {
        if let Some(queue) = running.process.queue.get() {
            return queue.clone();
        }
        if generations.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn present(running: &Running) -> Present {
    let generation = running.generation.get();
    Present {
        shared: Arc::clone(&generation.shared),
        services: generation.services.clone(),
        config: generation.config.queue.clone(),
    }
}
