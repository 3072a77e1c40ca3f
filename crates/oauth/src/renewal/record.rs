//! What was done so far to renew a certificate, and what comes next.
//!
//! The record is written before each step that others see, so that a restart continues where the
//! process before it stopped. It holds no secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use gatepost_core::clock::UnixTime;

/// How long the replaced certificate stays registered, so that somebody can go back to it.
pub const GRACE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How long Entra may take until it accepts a certificate that was added. Administrators report
/// minutes.
pub const SPREADS: Duration = Duration::from_secs(3_600);

/// How often an added certificate is tried meanwhile.
pub const TRIED: Duration = Duration::from_secs(120);

/// The pauses after a first failure and after many.
const PAUSES: (Duration, Duration) = (Duration::from_secs(3_600), Duration::from_secs(12 * 3_600));

/// A certificate of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its SHA-1 thumbprint, in upper-case hexadecimal digits.
    pub thumbprint: String,
    /// The id that Graph gave it, if that is known.
    pub key_id: Option<String>,
}

/// How far a renewal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The new certificate is on the disk, and nobody knows of it.
    Created,
    /// Graph was asked to add it. The answer is not known.
    Asked,
    /// Graph has added it.
    Added(UnixTime),
    /// It is in use, and the old one is still registered.
    Installed(UnixTime),
    /// The renewal is over.
    Done,
}

/// The latest failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// When.
    pub at: UnixTime,
    /// What happened and what to do, for people.
    pub message: String,
}

/// The record of one certificate's renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How far it has come.
    pub phase: Phase,
    /// The certificate that is replaced.
    pub old: Registered,
    /// When that one expires.
    pub old_expires: UnixTime,
    /// The certificate that replaces it.
    pub new: Registered,
    /// Why it does not go on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed: Option<Failed>,
}

/// The certificate that is in the configured files now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Its thumbprint, as in [`Registered`].
    pub thumbprint: String,
    /// When it expires.
    pub expires: UnixTime,
}

/// How the renewal of a certificate goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Renewing {
    /// Gatepost renews it in time.
    Planned,
    /// The last attempt failed: what happened, and what to do.
    Failed(String),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until this time.
    Wait(UnixTime),
    /// Create a key and a certificate.
    Create,
    /// Ask Graph to add the new certificate.
    Add,
    /// Ask Entra for a token with the new certificate. If Entra does not know it, [`after_refusal`]
    /// says how to go on; if Entra takes it, [`Step::Install`].
    Try,
    /// Put the new certificate in place of the old one.
    Install,
    /// Ask Graph to remove the old certificate.
    Remove,
    /// Forget the renewal, because somebody has replaced the files meanwhile.
    Abandon,
    /// The certificate has expired, so nothing can be signed that Microsoft accepts.
    Expired,
}

/// Decides what comes next. `before` is how long before its end a certificate is renewed.
pub fn next(record: Option<&Record>, in_use: &InUse, before: Duration, now: UnixTime) -> Step {
    let Some(record) = record.filter(|record| record.phase != Phase::Done) else {
        let due = in_use.expires.before(before);
        return match now {
            now if now > in_use.expires => Step::Expired,
            now if now >= due => Step::Create,
            _ => Step::Wait(due),
        };
    };
    let is_new = in_use.thumbprint == record.new.thumbprint;
    match record.phase {
        Phase::Installed(at) if is_new => {
            let due = at.after(GRACE);
            if now >= due { Step::Remove } else { Step::Wait(due) }
        }
        // The files were replaced, or restored, by hand.
        Phase::Installed(_) => Step::Abandon,
        // The process ended in the middle of the installation.
        _ if is_new => Step::Install,
        _ if in_use.thumbprint != record.old.thumbprint => Step::Abandon,
        Phase::Created if now > in_use.expires => Step::Expired,
        Phase::Created => Step::Add,
        Phase::Asked | Phase::Added(_) | Phase::Done => Step::Try,
    }
}

/// What follows when Entra does not know the new certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// The request to add it has not arrived: repeat it.
    Add,
    /// It has not reached all of Entra yet: try again at this time.
    Wait(UnixTime),
    /// It should be known by now.
    Fail,
}

/// Decides how to go on when Entra does not know the new certificate.
pub fn after_refusal(phase: Phase, now: UnixTime) -> AfterRefusal {
    match phase {
        Phase::Added(at) if now < at.after(SPREADS) => AfterRefusal::Wait(now.after(TRIED)),
        Phase::Added(at) if now < at.after(24 * SPREADS) => AfterRefusal::Fail,
        _ => AfterRefusal::Add,
    }
}

/// The pause after so many failures in a row: an hour, doubled each time up to twelve, and up to a
/// quarter more by `fraction` (0 to 1), so that services that failed together do not retry together.
pub fn pause(failures: u32, fraction: f64) -> Duration {
    let (first, longest) = PAUSES;
    let pause = first.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(longest);
    pause + pause.mul_f64(fraction.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn in_use(thumbprint: &str, days: i32) -> InUse {
        let span = DAY * days.unsigned_abs();
        InUse { thumbprint: thumbprint.to_owned(), expires: if days < 0 { NOW.before(span) } else { NOW.after(span) } }
    }

    fn record(phase: Phase) -> Record {
        let registered = |thumbprint: &str| Registered { thumbprint: thumbprint.to_owned(), key_id: None };
        let old_expires = NOW.after(20 * DAY);
        Record { phase, old: registered("OLD"), old_expires, new: registered("NEW"), failed: None }
    }

    fn step(phase: Phase, in_use: &InUse) -> Step {
        next(Some(&record(phase)), in_use, 30 * DAY, NOW)
    }

    #[test]
    fn a_renewal_begins_so_many_days_ahead_of_the_end_and_not_after_it() {
        for record in [None, Some(record(Phase::Done))] {
            let next = |days| next(record.as_ref(), &in_use("OLD", days), 30 * DAY, NOW);
            assert_eq!(next(31), Step::Wait(NOW.after(DAY)));
            assert_eq!([30, 29, 0].map(next), [Step::Create; 3]);
            assert_eq!(next(-1), Step::Expired);
        }
    }

    #[test]
    fn each_phase_leads_to_the_next() {
        let old = in_use("OLD", 20);
        assert_eq!(step(Phase::Created, &old), Step::Add);
        assert_eq!(step(Phase::Asked, &old), Step::Try);
        assert_eq!(step(Phase::Added(NOW), &old), Step::Try);
        let new = in_use("NEW", 365);
        assert_eq!(step(Phase::Installed(NOW), &new), Step::Wait(NOW.after(GRACE)));
        assert_eq!(step(Phase::Installed(NOW.before(GRACE - DAY)), &new), Step::Wait(NOW.after(DAY)));
        assert_eq!(step(Phase::Installed(NOW.before(GRACE)), &new), Step::Remove);
    }

    #[test]
    fn a_process_that_ended_in_the_middle_of_the_installation_finishes_it() {
        for phase in [Phase::Asked, Phase::Added(NOW)] {
            assert_eq!(step(phase, &in_use("NEW", 365)), Step::Install);
        }
    }

    #[test]
    fn files_that_somebody_replaced_or_restored_are_left_alone() {
        for phase in [Phase::Created, Phase::Asked, Phase::Added(NOW), Phase::Installed(NOW)] {
            assert_eq!(step(phase, &in_use("OTHER", 365)), Step::Abandon);
        }
        // The undo: the old one is not removed then.
        assert_eq!(step(Phase::Installed(NOW.before(GRACE)), &in_use("OLD", 20)), Step::Abandon);
    }

    #[test]
    fn the_end_of_the_old_one_stops_only_what_needs_it() {
        let past = in_use("OLD", -1);
        assert_eq!(step(Phase::Created, &past), Step::Expired);
        assert_eq!(step(Phase::Created, &in_use("OLD", 0)), Step::Add, "in its last second");
        assert_eq!(step(Phase::Added(NOW), &past), Step::Try);
    }

    #[test]
    fn an_unknown_certificate_is_waited_for_or_added_again() {
        let minutes = |minutes: u32| after_refusal(Phase::Added(NOW.before(Duration::from_secs(60) * minutes)), NOW);
        assert_eq!(after_refusal(Phase::Asked, NOW), AfterRefusal::Add);
        assert_eq!([0, 59].map(minutes), [AfterRefusal::Wait(NOW.after(TRIED)); 2]);
        assert_eq!([60, 24 * 60 - 1].map(minutes), [AfterRefusal::Fail; 2]);
        assert_eq!(minutes(24 * 60), AfterRefusal::Add);
    }

    #[test]
    fn pauses_grow_from_an_hour_to_half_a_day_and_are_spread() {
        let hours = |failures, fraction| pause(failures, fraction).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 5, 90].map(|failures| hours(failures, 0.0)), [60, 120, 240, 480, 720, 720]);
        assert_eq!([1, 5].map(|failures| hours(failures, 1.0)), [75, 900]);
        assert_eq!(hours(0, 0.0), 60);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for phase in [Phase::Created, Phase::Asked, Phase::Added(NOW), Phase::Installed(NOW), Phase::Done] {
            let failed = Some(Failed { at: NOW, message: "no".to_owned() });
            let record = Record { failed, ..record(phase) };
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        }
    }
}
