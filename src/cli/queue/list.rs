//! `gatepost queue list`: the messages, and why they wait.

use serde_json::Value;

use super::context::{QueueContext, with_queue};
use crate::admin::queued::{QueuedMessage, counted};
use crate::cli::queue_options::QueueListOptions;
use gatepost_core::clock::Clock;
use gatepost_store::queue::{QueueId, State};

/// Messages that are read at once.
const PAGE: usize = 1_000;

/// Lists messages on standard output. Returns the exit code.
pub fn list(options: &QueueListOptions) -> u8 {
    with_queue(&options.settings, async |context| try_list(context, options).await)
}

async fn try_list(context: &QueueContext, options: &QueueListOptions) -> anyhow::Result<String> {
    let states: Vec<State> = match options.states.is_empty() {
        true => State::ALL.to_vec(),
        false => options.states.iter().map(|state| State::from(*state)).collect(),
    };
    let (mut found, now) = (Vec::new(), Clock::system().unix_time());
    if let Some(queue) = context.queue() {
        let mut after = QueueId(0);
        loop {
            let page = queue.list(&states, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            found.extend(page.into_iter().map(|entry| QueuedMessage::of(entry, now)));
        }
    }
    Ok(if options.json { json(&found)? } else { text(&found) })
}

fn json(found: &[QueuedMessage]) -> anyhow::Result<String> {
    let values: Vec<Value> = found.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    Ok(format!("{:#}\n", Value::Array(values)))
}

fn text(found: &[QueuedMessage]) -> String {
    let mut text = match found.len() {
        0 => return "There are no messages.\n".to_owned(),
        _ => format!("{}\n", counted(found)),
    };
    for message in found {
        text.push_str(&format!(
            "\n{}  {}\n    {}\n    {}\n",
            message.id,
            message.headline(),
            message.route(),
            message.situation
        ));
    }
    text
}
