//! Reads the section `queue`, and the key `queue` of a listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::model::account::{Account, Accounts, Grant};
use super::model::listener::Listener;
use super::model::queue::Queue;
use super::model::state::State;
use super::reader::{Node, Section};
use super::state;
use super::value::{self, wrong};
use gatepost_core::account::MailAddress;

/// The queue's directory in that of the state.
const DIRECTORY: &str = "queue";

const GIB: u64 = 1 << 30;

/// Default of `size`.
const SIZE: u64 = 10 * GIB;

/// Default of `retry_for`: a weekend without Microsoft 365 or without the network loses nothing.
const RETRY_FOR: Duration = Duration::from_secs(2 * 24 * 3_600);

/// Default of `messages_per_minute`: the limit of Exchange Online for a mailbox.
const MESSAGES_PER_MINUTE: u32 = 30;

/// Reads whether a listener has a queue, and notes whose messages it does not take.
pub(super) fn read_switch(section: &Section<'_>, accounts: &Accounts) -> Option<bool> {
    let Some(node) = section.get("queue") else { return Some(false) };
    let is_queued = node.read(value::truth)?;
    if is_queued {
        check_grants(&node, section.path().trim_start_matches("listeners."), accounts);
    }
    Some(is_queued)
}

/// A queue sends without the client, so that an account whose token comes from the client's password
/// cannot use it.
fn check_grants(node: &Node<'_>, listener: &str, accounts: &Accounts) {
    let of_password = |account: &&Arc<Account>| account.grant == Grant::Password;
    match accounts.entries().iter().filter(of_password).count() {
        0 => {}
        number if number == accounts.entries().len() => node.problem(
            "every account has `grant: password`. Gatepost keeps no passwords, so no message could wait in the queue",
            "give an account `grant: client_credentials` or `grant: authorization_code`, or remove `queue`",
        ),
        _ => node.context().note(format!(
            "the queue of the listener `{listener}` does not take messages of accounts with `grant: password`, because \
             Gatepost keeps no passwords. These messages go to Microsoft while the client waits"
        )),
    }
}

/// Reads the section. `None`: there is no directory for a queue, which is reported if a listener has
/// one, or the section is wrong.
pub(super) fn read(root: &Section<'_>, state: Option<&State>, listeners: &[Listener]) -> Option<Queue> {
    let section = root.section("queue");
    let directory = match section.get("directory") {
        Some(node) => node.text().map(|text| Some(node.context().path(text))),
        None => default_directory(root, state),
    };
    let size = section.get("size").map_or(Some(SIZE), |node| node.size());
    let retry_for = section.get("retry_for").map_or(Some(RETRY_FOR), |node| node.time());
    let keep_sent = section.get("keep_sent").map_or(Some(Duration::ZERO), |node| node.time());
    let report_to = section.get("report_to").map(|node| node.read(address));
    let messages_per_minute = section
        .get("messages_per_minute")
        .map_or(Some(MESSAGES_PER_MINUTE), |node| node.count().and_then(|count| u32::try_from(count).ok()));
    section.finish();
    let is_used = listeners.iter().any(Listener::has_queue);
    if !is_used && !section.is_empty() {
        section
            .context()
            .note("`queue` has no effect on new messages without a listener that has `queue: true`".into());
    }
    // Its key seals the messages.
    let directory = directory?.filter(|_| !matches!(state, Some(State::Memory) | None));
    if directory.is_none() && is_used && state.is_some() {
        root.section("state").missing(
            "directory",
            ", which a queue needs",
            "write `state: {directory: /var/lib/gatepost}`, or remove `queue: true` from the listeners",
        );
    }
    Some(Queue {
        directory: directory?,
        size: size?,
        retry_for: retry_for?,
        keep_sent: keep_sent?,
        report_to: match report_to {
            Some(address) => Some(address?),
            None => None,
        },
        messages_per_minute: messages_per_minute?,
    })
}

fn default_directory(root: &Section<'_>, state: Option<&State>) -> Option<Option<PathBuf>> {
    match state? {
        State::Memory => Some(None),
        // Also beside a shared store: each replica has its own disk.
        _ => state::read_directory(&root.section("state"))
            .map(|directory| directory.map(|directory| directory.join(DIRECTORY))),
    }
}

fn address(text: &str) -> Result<MailAddress, value::ValueError> {
    MailAddress::parse(text).or_else(|error| wrong(error.to_string(), "write the address of an administrator"))
}
