//! `gatepost queue retry` and `discard`.

use anyhow::bail;

use super::context::{QueueContext, with_queue};
use crate::cli::output;
use crate::cli::queue_options::{QueueDiscardOptions, QueueRetryOptions};
use gatepost_store::queue::{Acted, QueueId, State};

/// When a message is tried that waits. A wait that Microsoft asked for, and the limit of the mailbox, are
/// known to the service alone.
const WHEN: &str = "If the service runs, it tries within seconds, or as soon as a wait that Microsoft asked for and \
                    `queue.messages_per_minute` allow it.";

/// Lets messages be tried again. Returns the exit code.
pub fn retry(options: &QueueRetryOptions) -> u8 {
    with_queue(&options.settings, async |context| match options.all_failed {
        true => retry_failed(context).await,
        false => each(&options.ids, async |id| retry_one(context, id).await).await,
    })
}

/// Deletes messages. Returns the exit code.
pub fn discard(options: &QueueDiscardOptions) -> u8 {
    with_queue(&options.settings, async |context| each(&options.ids, async |id| discard_one(context, id).await).await)
}

/// Acts on each message, also when another one fails.
async fn each(ids: &[QueueId], act: impl AsyncFn(QueueId) -> anyhow::Result<String>) -> anyhow::Result<String> {
    let (mut done, mut failures) = (String::new(), Vec::new());
    for id in ids {
        match act(*id).await {
            Ok(told) => done.push_str(&told),
            Err(error) => failures.push(output::told(&error)),
        }
    }
    if failures.is_empty() {
        return Ok(done);
    }
    if !done.is_empty() {
        output::show(done.trim_end());
    }
    bail!("{}", failures.join("\n"))
}

async fn retry_one(context: &QueueContext, id: QueueId) -> anyhow::Result<String> {
    let (queue, entry) = context.message(id).await?;
    done(id, queue.retry(id).await?)?;
    context.acted("queue-retried", &entry).await;
    let twice = match entry.state {
        State::Unknown | State::Looking => " It may have been sent before, so it may arrive twice.",
        _ => "",
    };
    Ok(format!("Message {id} waits for its next try. {WHEN}{twice}\n"))
}

async fn retry_failed(context: &QueueContext) -> anyhow::Result<String> {
    let Some(queue) = context.queue() else { return Ok("There are no failed messages.\n".to_owned()) };
    let retried = queue.retry_failed().await?;
    for id in &retried {
        if let Some(entry) = queue.show(*id).await? {
            context.acted("queue-retried", &entry).await;
        }
    }
    Ok(match retried.as_slice() {
        [] => "There are no failed messages.\n".to_owned(),
        [id] => format!("Message {id} waits for its next try. {WHEN}\n"),
        ids => format!("{} messages wait for their next try. {WHEN}\n", ids.len()),
    })
}

async fn discard_one(context: &QueueContext, id: QueueId) -> anyhow::Result<String> {
    let (queue, entry) = context.message(id).await?;
    done(id, queue.discard(id).await?)?;
    context.acted("queue-discarded", &entry).await;
    Ok(format!("Discarded message {id}.\n"))
}

fn done(id: QueueId, acted: Acted) -> anyhow::Result<()> {
    match acted {
        Acted::Done => Ok(()),
        Acted::Missing => bail!("there is no message {id} any more"),
        Acted::Refused(State::Sent) => {
            bail!("message {id} was sent. To have its text, run `gatepost queue export {id}`")
        }
        Acted::Refused(_) => bail!("message {id} is being sent at this moment. Try again in a minute"),
    }
}
