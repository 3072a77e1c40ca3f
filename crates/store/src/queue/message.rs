//! A message of the queue, and what became of it.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use gatepost_core::clock::UnixTime;

/// The number of a message. Later messages have higher ones, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct QueueId(pub u64);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for QueueId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was not handed over, and is tried when it is due.
    Waiting,
    /// It is being handed over.
    Sending,
    /// Whether it was handed over is to be looked up when it is due.
    Looking,
    /// It was not handed over, and waits for a person.
    Failed,
    /// Nobody can tell whether it was handed over, and it waits for a person.
    Unknown,
    /// It was handed over, and is kept for a while.
    Sent,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Waiting, Self::Sending, Self::Looking, Self::Failed, Self::Unknown, Self::Sent];

    /// The word for programs: in the index, in JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Looking => "looking",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Sent => "sent",
        }
    }

    /// The state with this word.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What is kept of a message besides its content. A new field needs a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// The name of the listener that accepted it.
    pub listener: String,
    /// The account's user name, as the client wrote it.
    pub login: String,
    /// The mailbox that it is sent from.
    pub mailbox: String,
    /// The client's address, or another word for where it came from. Messages of one device and
    /// mailbox keep their order.
    pub device: String,
    /// The sender of the envelope; `None` for `<>`.
    pub sender: Option<String>,
    /// The value of `BODY=`, if the client gave one.
    #[serde(default)]
    pub body: Option<String>,
    /// Whether the client declared UTF-8.
    #[serde(default)]
    pub smtputf8: bool,
    /// RET and ENVID, as received.
    #[serde(default)]
    pub dsn: Vec<String>,
    /// To whom it goes.
    pub recipients: Vec<Recipient>,
    /// The Message-ID, by which it is found among the sent items.
    pub message_id: Option<String>,
}

/// A recipient of the envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// NOTIFY and ORCPT, as received.
    #[serde(default)]
    pub dsn: Vec<String>,
}

/// Why a message is where it is: the last failure, or how it was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When it was noted.
    pub at: UnixTime,
    /// The cause's word in the log.
    #[serde(default)]
    pub cause: Option<String>,
    /// The other side's code, or its reply.
    #[serde(default)]
    pub code: Option<String>,
    /// What happened, without a full stop.
    pub what: String,
    /// Who must act: the name of an actor, such as `gatepost-admin`.
    #[serde(default)]
    pub action_by: Option<String>,
    /// What to do, without a full stop.
    #[serde(default)]
    pub to_do: Option<String>,
}

/// Recipients that Microsoft refused before a message was handed over for the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// They.
    pub recipients: Vec<Recipient>,
    /// Why.
    pub note: Note,
}

/// A message that the courier has to deliver or to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its number.
    pub id: QueueId,
    /// [`State::Waiting`] or [`State::Looking`].
    pub state: State,
    /// The mailbox that it is sent from.
    pub mailbox: String,
    /// Where it came from.
    pub device: String,
    /// When it was accepted.
    pub accepted_at: UnixTime,
    /// When its time to be delivered began: at its acceptance, or when a person wanted another try.
    pub retry_from: UnixTime,
    /// Not to be touched before.
    pub due_at: UnixTime,
    /// Octets of its content.
    pub bytes: u64,
    /// How many times it was tried.
    pub attempts: u32,
    /// The number of the last act of a person on it, 0 without one.
    pub changed: u64,
}

/// All that is known about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: QueueId,
    /// Where it stands.
    pub state: State,
    /// Since when it stands there. [`State::Looking`] counts from when it was handed over.
    pub since: UnixTime,
    /// When it was accepted.
    pub accepted_at: UnixTime,
    /// When its time to be delivered began.
    pub retry_from: UnixTime,
    /// When it is tried or looked up next; of no meaning in other states.
    pub due_at: UnixTime,
    /// Octets of its content.
    pub bytes: u64,
    /// How many times it was tried.
    pub attempts: u32,
    /// The number of the last act of a person on it, 0 without one.
    pub changed: u64,
    /// `None`: the record is damaged.
    pub message: Option<NewMessage>,
    /// The last failure.
    pub note: Option<Note>,
    /// The recipients that were refused when it was handed over last.
    pub refused: Option<Refused>,
}

/// A message as an attempt saw it. Whatever changes the message makes another one of it, so that an
/// outcome that comes late, or twice, overwrites nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub id: QueueId,
    pub(super) attempts: u32,
    pub(super) changed: u64,
}

impl Entry {
    /// The message as it is here, for [`super::Courier::hand_over`] and [`super::Courier::settle`].
    pub fn seen(&self) -> Seen {
        Seen { id: self.id, attempts: self.attempts, changed: self.changed }
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was handed over.
    Sent {
        /// Whether it is kept. Otherwise nothing of it stays.
        keep: bool,
        /// How.
        note: Option<Note>,
    },
    /// It was certainly not handed over, and is tried again.
    Again {
        /// Not before.
        due: UnixTime,
        /// Why.
        note: Option<Note>,
    },
    /// It may have been handed over, which is looked up.
    Look {
        /// Not before.
        due: UnixTime,
        /// What happened.
        note: Option<Note>,
    },
    /// It was handed over to all recipients but these, who are certainly not to be tried again.
    /// They stay, as a message that failed.
    Part {
        /// The others.
        left: Vec<Recipient>,
        /// Why.
        note: Note,
    },
    /// It was certainly not handed over, and is not tried again.
    Failed {
        /// Why.
        note: Note,
    },
    /// Nobody can tell whether it was handed over.
    Unknown {
        /// What happened.
        note: Note,
    },
}

/// What became of a person's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It was done.
    Done,
    /// There is no such message.
    Missing,
    /// It cannot be done in this state.
    Refused(State),
}

/// How much there is of one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Messages.
    pub messages: u64,
    /// Octets of their content.
    pub bytes: u64,
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub(super) by_state: [Total; State::ALL.len()],
    /// When the oldest message was accepted that is not handed over and waits for no person.
    pub oldest: Option<UnixTime>,
}

impl Totals {
    /// How much there is of a state.
    pub fn of(&self, state: State) -> Total {
        State::ALL.iter().zip(self.by_state).find(|(of, _)| **of == state).map(|(_, total)| total).unwrap_or_default()
    }

    /// How much there is of all that is not sent.
    pub fn open(&self) -> Total {
        let (all, sent) = (self.all(), self.of(State::Sent));
        Total { messages: all.messages.saturating_sub(sent.messages), bytes: all.bytes.saturating_sub(sent.bytes) }
    }

    /// How much there is of all.
    pub fn all(&self) -> Total {
        self.by_state.iter().fold(Total::default(), |sum, total| Total {
            messages: sum.messages.saturating_add(total.messages),
            bytes: sum.bytes.saturating_add(total.bytes),
        })
    }
}
