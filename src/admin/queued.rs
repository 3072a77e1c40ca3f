//! The messages of the queue in words and as JSON: for the status page and the command line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::units::{octets, span};
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::Actor;
use gatepost_store::queue::{Entry, Queue, QueueError, QueueId, State};

/// Most messages that the status lists.
const LISTED: usize = 200;

/// Recipients that a line names before it counts the others.
const NAMED: usize = 2;

/// A message of the queue.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QueuedMessage {
    /// Its number.
    pub(crate) id: u64,
    /// The word of its state.
    pub(crate) state: &'static str,
    /// Since when it is in this state.
    pub(crate) since: String,
    /// When it was accepted.
    pub(crate) accepted_at: String,
    /// When it is tried or looked up next. Absent if it waits for a person.
    pub(crate) next_at: Option<String>,
    /// How many times it was tried.
    pub(crate) attempts: u32,
    /// Octets of its content.
    pub(crate) bytes: u64,
    /// The listener that accepted it. This and what follows is absent if its record is damaged.
    pub(crate) listener: Option<String>,
    /// The account's user name.
    pub(crate) login: Option<String>,
    /// The mailbox that it is sent from.
    pub(crate) mailbox: Option<String>,
    /// Where it came from.
    pub(crate) device: Option<String>,
    /// The sender of the envelope.
    pub(crate) sender: Option<String>,
    /// The recipients of the envelope.
    pub(crate) recipients: Vec<String>,
    /// The Message-ID.
    pub(crate) message_id: Option<String>,
    /// The last failure.
    pub(crate) reason: Option<Reason>,
    /// What happened, who acts, and what happens next, in sentences.
    pub(crate) situation: String,
    #[serde(skip)]
    entered: Entered,
}

/// Why a message is where it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reason {
    /// When it was noted.
    pub(crate) at: String,
    /// The cause's word in the log.
    pub(crate) cause: Option<String>,
    /// The other side's code or reply.
    pub(crate) code: Option<String>,
    /// What happened.
    pub(crate) what: String,
    /// Who must act.
    pub(crate) action_by: Option<String>,
    /// What to do.
    pub(crate) to_do: Option<String>,
}

/// The state and times, for the words.
#[derive(Clone, Copy, Debug)]
struct Entered {
    state: State,
    since: UnixTime,
    due: UnixTime,
}

impl QueuedMessage {
    /// A message as it is at a time.
    pub(crate) fn of(entry: Entry, now: UnixTime) -> Self {
        let Entry { id, state, since, accepted_at, due_at, bytes, attempts, message, note, .. } = entry;
        let reason = note.map(|note| Reason {
            at: note.at.rfc3339(),
            cause: note.cause,
            code: note.code,
            what: note.what,
            action_by: note.action_by,
            to_do: note.to_do,
        });
        let is_due = matches!(state, State::Waiting | State::Looking);
        let mut shown = Self {
            id: id.0,
            state: state.name(),
            since: since.rfc3339(),
            accepted_at: accepted_at.rfc3339(),
            next_at: is_due.then(|| due_at.rfc3339()),
            attempts,
            bytes,
            listener: None,
            login: None,
            mailbox: None,
            device: None,
            sender: None,
            recipients: Vec::new(),
            message_id: None,
            reason,
            situation: String::new(),
            entered: Entered { state, since, due: due_at },
        };
        if let Some(message) = message {
            shown.recipients = message.recipients.into_iter().map(|recipient| recipient.address).collect();
            shown.sender = message.sender;
            shown.message_id = message.message_id;
            (shown.listener, shown.login) = (Some(message.listener), Some(message.login));
            (shown.mailbox, shown.device) = (Some(message.mailbox), Some(message.device));
        }
        shown.situation = shown.situation(now);
        shown
    }

    /// Whether a person can let it be tried again.
    pub(crate) fn can_retry(&self) -> bool {
        !matches!(self.entered.state, State::Sending | State::Sent)
    }

    /// Whether a person can delete it.
    pub(crate) fn can_discard(&self) -> bool {
        self.entered.state != State::Sending
    }

    /// Whether it waits for a person.
    pub(crate) fn needs_person(&self) -> bool {
        matches!(self.entered.state, State::Failed | State::Unknown)
    }

    /// Whether it may have been sent.
    pub(crate) fn may_be_sent(&self) -> bool {
        matches!(self.entered.state, State::Unknown | State::Looking)
    }

    /// State, its beginning, and the size.
    pub(crate) fn headline(&self) -> String {
        format!("{} since {}, {}", self.state, self.entered.since, octets(self.bytes))
    }

    /// The sender, as a person reads it.
    pub(crate) fn sender_shown(&self) -> String {
        match (&self.sender, &self.mailbox) {
            (Some(sender), _) => sender.clone(),
            (None, Some(_)) => "(no sender)".to_owned(),
            (None, None) => "(not known)".to_owned(),
        }
    }

    /// From whom to whom, and over which listener.
    pub(crate) fn route(&self) -> String {
        let (Some(device), Some(listener)) = (&self.device, &self.listener) else {
            return "sender and recipients are not known, because the record is damaged".to_owned();
        };
        let named: Vec<&str> = self.recipients.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.recipients.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("from {} to {}{more}, device {device}, listener `{listener}`", self.sender_shown(), named.join(", "))
    }

    fn situation(&self, now: UnixTime) -> String {
        let Self { id, .. } = self;
        let happened = self.reason.as_ref().map(|reason| reason.happened()).unwrap_or_default();
        let remedy = self.reason.as_ref().map(|reason| reason.remedy()).unwrap_or_default();
        let wait = match self.entered.due.since(now).as_secs() {
            0 => "now".to_owned(),
            seconds => format!("in {}", span(seconds)),
        };
        match self.entered.state {
            State::Waiting if self.reason.is_none() => format!("Gatepost sends it {wait}."),
            State::Waiting => format!("{happened}{remedy}Next try: {wait}."),
            State::Sending => "It is being sent.".to_owned(),
            State::Looking => format!("{happened}Gatepost looks for it in Sent Items {wait}."),
            State::Failed => format!("{happened}{remedy}To try again, run `gatepost queue retry {id}`."),
            State::Unknown => format!(
                "{happened}{remedy}Look in Sent Items of {}. If it is there, run `gatepost queue discard {id}`. If not, run \
                 `gatepost queue retry {id}`.",
                self.mailbox.as_deref().unwrap_or("the mailbox")
            ),
            State::Sent => "It was sent, and is kept as `queue.keep_sent` says.".to_owned(),
        }
    }
}

impl Reason {
    fn happened(&self) -> String {
        let code = self.code.as_deref().filter(|code| !self.what.contains(code));
        match code {
            Some(code) => format!("{} (`{code}`). ", capital(&self.what)),
            None => format!("{}. ", capital(&self.what)),
        }
    }

    fn remedy(&self) -> String {
        let actor = self.action_by.as_deref().and_then(Actor::of_name);
        match (actor, &self.to_do) {
            (Some(Actor::Nobody) | None, None) => String::new(),
            (Some(actor), Some(to_do)) => format!("{}: {to_do}. ", actor.label()),
            (Some(actor), None) => format!("{} must act. ", actor.label()),
            (None, Some(to_do)) => format!("{}. ", capital(to_do)),
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The queue, for the status.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QueueView {
    /// How many messages there are.
    pub(crate) messages: u64,
    /// Octets of their content.
    pub(crate) bytes: u64,
    /// Most octets of all messages.
    pub(crate) size: u64,
    /// How many messages each state has.
    pub(crate) states: BTreeMap<&'static str, u64>,
    /// The age of the oldest message that is not sent and waits for no person.
    pub(crate) oldest_seconds: Option<u64>,
    /// Messages, those that wait for a person first; not all of a long queue.
    pub(crate) list: Vec<QueuedMessage>,
}

impl QueueView {
    /// Looks at a queue.
    pub(super) async fn of(queue: &Queue, now: UnixTime) -> Result<Self, QueueError> {
        const ORDER: [&[State]; 2] =
            [&[State::Failed, State::Unknown], &[State::Sending, State::Looking, State::Waiting]];
        let totals = queue.totals().await?;
        let mut list = Vec::new();
        for states in ORDER {
            let found = queue.list(states, QueueId(0), LISTED.saturating_sub(list.len())).await?;
            list.extend(found.into_iter().map(|entry| QueuedMessage::of(entry, now)));
        }
        let all = totals.all();
        Ok(Self {
            messages: all.messages,
            bytes: all.bytes,
            size: queue.size(),
            states: State::ALL.iter().map(|state| (state.name(), totals.of(*state).messages)).collect(),
            oldest_seconds: totals.oldest.map(|oldest| now.since(oldest).as_secs()),
            list,
        })
    }

    /// How many messages have a state.
    pub(super) fn in_state(&self, state: State) -> u64 {
        self.states.get(state.name()).copied().unwrap_or_default()
    }

    /// How many wait for a person.
    pub(super) fn for_person(&self) -> u64 {
        self.in_state(State::Failed).saturating_add(self.in_state(State::Unknown))
    }

    /// Whether the list leaves messages out.
    pub(super) fn is_cut(&self) -> bool {
        self.list.len() == LISTED
    }

    /// What waits for a person, as a sentence without full stop.
    pub(super) fn complaint(&self) -> Option<String> {
        let said = |state: State, what: &str| {
            let count = self.in_state(state);
            (count > 0).then(|| format!("{count} {what}"))
        };
        let failed = said(State::Failed, "not sent");
        let both: Vec<String> = failed.into_iter().chain(said(State::Unknown, "of unknown outcome")).collect();
        (!both.is_empty()).then(|| format!("messages of the queue need you: {}", both.join(", ")))
    }

    /// How much there is, for a terminal.
    pub(super) fn line(&self) -> String {
        let states = State::ALL.iter().map(|state| (self.in_state(*state), state.name()));
        let states: Vec<String> =
            states.filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
        let noun = if self.messages == 1 { "message" } else { "messages" };
        let states = if states.is_empty() { String::new() } else { format!(": {}", states.join(", ")) };
        let oldest = self.oldest_seconds.map_or_else(String::new, |age| format!(". Oldest: {}", span(age)));
        format!("{} {noun}, {}{states}{oldest}", self.messages, octets(self.bytes))
    }
}

/// How many messages there are, how large, and in which states.
pub(crate) fn counted(messages: &[QueuedMessage]) -> String {
    let bytes = messages.iter().fold(0_u64, |sum, message| sum.saturating_add(message.bytes));
    let of = |state: &State| messages.iter().filter(|message| message.entered.state == *state).count();
    let states = State::ALL.iter().map(|state| (of(state), state.name())).filter(|(count, _)| *count > 0);
    let states: Vec<String> = states.map(|(count, name)| format!("{count} {name}")).collect();
    let noun = if messages.len() == 1 { "message" } else { "messages" };
    format!("{} {noun}, {}: {}", messages.len(), octets(bytes), states.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_store::queue::{NewMessage, Note, QueueId, Recipient};

    const NOW: UnixTime = UnixTime(1_801_353_600);

    fn entry(state: State, note: Option<Note>) -> Entry {
        let to = |address: &str| Recipient { address: address.into(), dsn: Vec::new() };
        Entry {
            id: QueueId(17),
            state,
            since: NOW,
            accepted_at: NOW,
            retry_from: NOW,
            due_at: UnixTime(NOW.0 + 240),
            bytes: 1_300_000,
            attempts: 3,
            changed: 0,
            message: Some(NewMessage {
                listener: "scanners".into(),
                login: "scanner@contoso.com".into(),
                mailbox: "scanner@contoso.com".into(),
                device: "192.168.7.21".into(),
                sender: Some("scanner@contoso.com".into()),
                body: None,
                smtputf8: false,
                dsn: Vec::new(),
                recipients: ["a@contoso.com", "b@contoso.com", "c@contoso.com"].map(to).to_vec(),
                message_id: None,
            }),
            note,
            refused: None,
        }
    }

    fn note(actor: Actor, to_do: Option<&str>) -> Note {
        Note {
            at: NOW,
            cause: Some("message-refused".into()),
            code: Some("550 5.1.10".into()),
            what: "Exchange Online refused the recipient a@contoso.com".into(),
            action_by: Some(actor.name().into()),
            to_do: to_do.map(str::to_owned),
        }
    }

    fn situation(state: State, note: Option<Note>) -> String {
        QueuedMessage::of(entry(state, note), NOW).situation
    }

    #[test]
    fn each_state_says_what_happens_next_and_who_acts() {
        assert_eq!(situation(State::Waiting, None), "Gatepost sends it in 4 min.");
        assert_eq!(
            situation(State::Waiting, Some(note(Actor::Nobody, None))),
            "Exchange Online refused the recipient a@contoso.com (`550 5.1.10`). Next try: in 4 min."
        );
        assert_eq!(
            situation(State::Failed, Some(note(Actor::ClientOwner, Some("correct the address")))),
            "Exchange Online refused the recipient a@contoso.com (`550 5.1.10`). Device owner: correct the address. To try \
             again, run `gatepost queue retry 17`."
        );
        let unknown = situation(State::Unknown, Some(note(Actor::Nobody, None)));
        assert!(unknown.ends_with(
            "Look in Sent Items of scanner@contoso.com. If it is there, run `gatepost queue discard 17`. If not, run \
             `gatepost queue retry 17`."
        ));
    }

    #[test]
    fn a_line_names_two_recipients_and_counts_the_others() {
        let message = QueuedMessage::of(entry(State::Failed, None), NOW);
        assert_eq!(message.headline(), "failed since 2027-01-31 00:00 UTC, 1.2 MiB");
        assert_eq!(
            message.route(),
            "from scanner@contoso.com to a@contoso.com, b@contoso.com and 1 more, device 192.168.7.21, listener `scanners`"
        );
        let damaged = QueuedMessage::of(Entry { message: None, ..entry(State::Failed, None) }, NOW);
        assert!(damaged.route().contains("the record is damaged"));
        assert_eq!(counted(&[message, damaged]), "2 messages, 2.4 MiB: 2 failed");
    }
}
