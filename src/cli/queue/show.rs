//! `gatepost queue show`: all that is known about a message.

use super::context::{QueueContext, with_queue};
use crate::admin::queued::QueuedMessage;
use crate::cli::queue_options::QueueShowOptions;
use gatepost_core::clock::Clock;

/// Shows a message. Returns the exit code.
pub fn show(options: &QueueShowOptions) -> u8 {
    with_queue(&options.settings, async |context| try_show(context, options).await)
}

async fn try_show(context: &QueueContext, options: &QueueShowOptions) -> anyhow::Result<String> {
    let (_, entry) = context.message(options.id).await?;
    let message = QueuedMessage::of(entry, Clock::system().unix_time());
    match options.json {
        true => Ok(format!("{:#}\n", serde_json::to_value(&message)?)),
        false => Ok(text(&message)),
    }
}

fn text(message: &QueuedMessage) -> String {
    let unknown = || "(not known)".to_owned();
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(unknown);
    let mut rows = vec![
        ("State", message.headline()),
        ("Accepted", message.accepted_at.clone()),
        ("Device", or_unknown(&message.device)),
        ("Listener", or_unknown(&message.listener)),
        ("Account", or_unknown(&message.login)),
        ("Mailbox", or_unknown(&message.mailbox)),
        ("From", message.sender_shown()),
    ];
    rows.extend(message.recipients.iter().map(|recipient| ("To", recipient.clone())));
    rows.push(("Message-ID", or_unknown(&message.message_id)));
    rows.push(("Attempts", message.attempts.to_string()));
    rows.push(("Situation", message.situation.clone()));
    let lines = rows.into_iter().map(|(name, value)| format!("{:<12}{value}\n", format!("{name}:")));
    format!("Message {}\n\n{}", message.id, lines.collect::<String>())
}
