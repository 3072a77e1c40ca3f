//! What is kept of a failure, and what it says when it is read again.

use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::{Actor, Failure};
use gatepost_store::queue::{Note, Refused};

/// Returns what is kept of a failure.
pub(super) fn note(failure: &Failure, at: UnixTime) -> Note {
    Note {
        at,
        cause: Some(failure.cause.name().to_owned()),
        code: failure.code.as_deref().map(str::to_owned),
        what: failure.message.clone(),
        action_by: Some(failure.actor.name().to_owned()),
        to_do: Some(failure.remedy.to_string()),
    }
}

/// Returns what is kept of a failure as the log told it.
pub(super) fn said(note: &Note) -> String {
    let actor = note.action_by.as_deref().and_then(Actor::of_name);
    match (actor, &note.to_do) {
        (Some(actor), Some(to_do)) => format!("{}. {}: {to_do}.", note.what, actor.label()),
        _ => format!("{}.", note.what),
    }
}

/// Returns what is kept of a message that was sent.
pub(super) fn note_sent(what: String, at: UnixTime) -> Note {
    Note { at, cause: None, code: None, what, action_by: None, to_do: None }
}

/// Returns the failure of recipients that were refused when the message was handed over.
pub(super) fn failure_of(refused: &Refused) -> Failure {
    let Note { code, what, action_by, to_do, .. } = &refused.note;
    let mut failure = Failure::new(Cause::RecipientRefused, what.clone());
    failure.code = code.as_deref().map(Into::into);
    if let Some(actor) = action_by.as_deref().and_then(Actor::of_name) {
        failure = failure.by(actor);
    }
    match to_do {
        Some(to_do) => failure.to_do(to_do.clone()),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_is_read_again_says_who_must_act_and_what_to_do() {
        let failure = Failure::new(Cause::RecipientRefused, "it was refused").by(Actor::M365Admin).to_do("look at it");
        let kept = note(&failure.coded("5.7.133"), UnixTime(7));
        assert_eq!(said(&kept), "it was refused. Microsoft 365 admin: look at it.");
        let again = failure_of(&Refused { recipients: Vec::new(), note: kept });
        assert_eq!(
            (again.actor, &*again.remedy, again.code.as_deref()),
            (Actor::M365Admin, "look at it", Some("5.7.133"))
        );
        assert_eq!(said(&note_sent("sent: 250 OK".into(), UnixTime(7))), "sent: 250 OK.");
    }
}
