//! Judges a queue by what its clients were told, what it says of itself, and what Microsoft really
//! sent.

use std::collections::{BTreeMap, HashMap};

use gatepost_sandbox::Delivery;
use serde_json::Value;

use super::devices::{Attempt, Told};

/// The fate of all messages, counted; [`judge`] has found none that breaks the promise.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fates {
    /// Accepted and delivered exactly once.
    pub(crate) delivered: usize,
    /// Accepted, and named as one of which nobody knows whether it was delivered (`unknown`), or
    /// which is being looked for (`looking`): by state, so many were delivered, and so many were not.
    pub(crate) undecided: BTreeMap<String, (usize, usize)>,
    /// Accepted, and not delivered so far.
    pub(crate) waiting: usize,
    /// The client was not told; so many were taken and so many were not.
    pub(crate) open: (usize, usize),
    /// Not taken, and the client knows it.
    pub(crate) not_taken: usize,
}

impl Fates {
    /// How many messages are undecided.
    pub(crate) fn undecided(&self) -> usize {
        self.undecided.values().map(|(delivered, not)| delivered + not).sum()
    }
}

/// Whether a message in this state is never sent again by itself.
fn is_undecided(state: &str) -> bool {
    ["unknown", "looking"].contains(&state)
}

/// Judges each attempt. The service must be at rest or dead.
///
/// # Errors
/// What is wrong, message by message.
pub(crate) fn judge(attempts: &[Attempt], listed: &[Value], deliveries: &[Delivery]) -> Result<Fates, Vec<String>> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for delivery in deliveries {
        *times.entry(&delivery.message_id).or_default() += 1;
    }
    let mut states: HashMap<&str, Vec<&str>> = HashMap::new();
    for row in listed {
        let id = row["message_id"].as_str().unwrap_or_else(|| panic!("no name: {row}"));
        states.entry(id).or_default().push(row["state"].as_str().unwrap());
    }
    let (mut fates, mut wrong) = (Fates::default(), Vec::new());
    for Attempt { message_id, told } in attempts {
        let delivered = times.remove(message_id.as_str()).unwrap_or_default();
        let rows = states.remove(message_id.as_str()).unwrap_or_default();
        match (told, rows.as_slice(), delivered) {
            (Told::Accepted, [], 1) => fates.delivered += 1,
            (Told::Accepted, [state], 0 | 1) if is_undecided(state) => {
                let count = fates.undecided.entry((*state).to_owned()).or_default();
                *(if delivered == 1 { &mut count.0 } else { &mut count.1 }) += 1;
            }
            (Told::Accepted, ["waiting"], 0) => fates.waiting += 1,
            // A crash in the middle of it; who comes next does not send it again, but looks for it.
            (Told::Accepted, ["sending"], 0 | 1) => fates.waiting += 1,
            (Told::Open, [], 0) => fates.open.1 += 1,
            (Told::Open, [], 1) | (Told::Open, ["waiting"], 0) | (Told::Open, ["sending"], 0 | 1) => fates.open.0 += 1,
            (Told::Open, [state], 0 | 1) if is_undecided(state) => fates.open.0 += 1,
            (Told::NotTaken(_), [], 0) => fates.not_taken += 1,
            _ => wrong.push(format!(
                "{message_id}: the client was told {told:?}, delivered {delivered} times, in the queue as {rows:?}"
            )),
        }
    }
    wrong.extend(times.keys().map(|id| format!("{id} was delivered and nobody has sent it")));
    wrong.extend(states.keys().map(|id| format!("{id} is in the queue and nobody has sent it")));
    if wrong.is_empty() { Ok(fates) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gatepost_sandbox::Service;
    use serde_json::json;

    use super::*;

    /// The judgement of one message: told, in the queue, delivered so often.
    fn of_one(told: Told, state: Option<&str>, delivered: usize) -> bool {
        let attempts = [Attempt { message_id: "<1>".into(), told }];
        let delivery = Delivery {
            service: Service::Graph,
            mailbox: "device1@contoso.example".into(),
            message_id: "<1>".into(),
            at: Duration::ZERO,
        };
        let listed: Vec<_> = state.map(|state| json!({"message_id": "<1>", "state": state})).into_iter().collect();
        judge(&attempts, &listed, &vec![delivery; delivered]).is_ok()
    }

    #[test]
    fn whatever_breaks_the_promise_is_found() {
        let not_taken = || Told::NotTaken(String::new());
        for (told, state, delivered, right) in [
            (Told::Accepted, None, 1, true),
            (Told::Accepted, None, 0, false),
            (Told::Accepted, None, 2, false),
            (Told::Accepted, Some("waiting"), 0, true),
            (Told::Accepted, Some("waiting"), 1, false),
            (Told::Accepted, Some("unknown"), 0, true),
            (Told::Accepted, Some("unknown"), 1, true),
            (Told::Accepted, Some("unknown"), 2, false),
            (Told::Accepted, Some("failed"), 0, false),
            (Told::Open, None, 0, true),
            (Told::Open, None, 1, true),
            (Told::Open, None, 2, false),
            (Told::Open, Some("waiting"), 1, false),
            (not_taken(), None, 0, true),
            (not_taken(), None, 1, false),
            (not_taken(), Some("waiting"), 0, false),
        ] {
            assert_eq!(of_one(told.clone(), state, delivered), right, "{told:?} {state:?} {delivered}");
        }
    }
}
