//! Shared code of the commands.

use std::sync::Arc;

use crate::cli::act::Act;
use crate::cli::exit::CONFIGURATION;
use crate::cli::output::{complain, failed, report};
use crate::cli::settings::Settings;
use crate::cli::store_context::{acted, print_result};
use crate::cli::{owner, run};
use gatepost_config::{Config, Purpose};
use gatepost_core::clock::Clock;
use gatepost_store::queue::{Entry, Queue, QueueId};

/// The configuration and its queue.
pub(super) struct QueueContext {
    config: Arc<Config>,
    queue: Option<Queue>,
}

impl QueueContext {
    /// The queue; `None`: nothing was ever queued.
    pub(super) fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// The queue with the message of a number.
    ///
    /// # Errors
    /// There is no such message, or the queue cannot be read.
    pub(super) async fn message(&self, id: QueueId) -> anyhow::Result<(&Queue, Entry)> {
        let missing = || anyhow::anyhow!("there is no message {id}. To list the messages, run `gatepost queue list`");
        let queue = self.queue().ok_or_else(missing)?;
        Ok((queue, queue.show(id).await?.ok_or_else(missing)?))
    }

    /// Tells the running service and the audit log what was done with a message.
    pub(super) async fn acted(&self, outcome: &'static str, entry: &Entry) {
        let account = entry.message.as_ref().map_or("", |message| &message.login);
        let item = format!("message {}", entry.id);
        acted(&self.config, &Act { outcome, account, device: "", item: &item }).await;
    }
}

/// Opens the queue that the configuration names, does the work, prints its text, and returns the
/// exit code.
pub(super) fn with_queue(settings: &Settings, work: impl AsyncFnOnce(&QueueContext) -> anyhow::Result<String>) -> u8 {
    let config = match settings.load(Purpose::Store, std::env::vars_os()) {
        Ok(config) => Arc::new(config),
        Err(problems) => return report(&problems),
    };
    let (Some(of_queue), Some(key)) = (&config.queue, config.state.key()) else {
        complain(
            "gatepost: a queue needs a state directory. Set `state: {directory: /var/lib/gatepost}`, or another directory \
             that only Gatepost uses",
        );
        return CONFIGURATION;
    };
    if let Some(hindrance) = owner::hindrance(&config) {
        return failed(hindrance);
    }
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    print_result(runtime.block_on(async {
        let queue = match Queue::exists(&of_queue.directory) {
            true => Some(Queue::open(&of_queue.directory, of_queue.size, key, Clock::system()).await?),
            false => None,
        };
        work(&QueueContext { config: Arc::clone(&config), queue }).await
    }))
}
