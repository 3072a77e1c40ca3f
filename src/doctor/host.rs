//! This machine: its clock against Entra's, the store, and the limit of open files.

use std::time::Duration;

use tokio::time::timeout;

use super::facts::Facts;
use super::step::{Outcome, Section, Step};
use crate::system::process;
use gatepost_config::{State, user};
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::Actor;

const HERE: Section = Section::Host;
/// Time limit of the store.
const STORE: Duration = Duration::from_secs(5);
/// A clock that is off by more is told, in seconds. Entra's own tolerance is five minutes.
const WORTH_A_WORD: u64 = 120;
/// A clock that is off by more makes certificates look expired, or not valid yet.
const GRAVE: u64 = 24 * 3_600;

/// What Entra's answer says about this machine's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockSample {
    /// The time here when the answer arrived.
    pub(super) here: UnixTime,
    /// Entra's time.
    pub(super) there: UnixTime,
}

pub(super) async fn steps(facts: &Facts, clock: Option<ClockSample>) -> Vec<Step> {
    let mut steps = vec![clock_step(clock)];
    steps.push(state(facts).await);
    if let Some(files) = process::open_files() {
        let wanted = process::wanted_files(&facts.config.limits);
        let text = format!("{files} open files allowed");
        steps.push(if files >= wanted {
            Step::ok(HERE, "", text)
        } else {
            let remedy = format!(
                "allow {wanted} (`LimitNOFILE=` in the systemd unit, `ulimit -n` in a shell), or lower `limits.connections`"
            );
            let text = format!("{text}, too few for `limits.connections: {}`", facts.config.limits.connections);
            Step::warning(HERE, "", text, (Actor::GatepostAdmin, remedy))
        });
    }
    steps
}

fn clock_step(clock: Option<ClockSample>) -> Step {
    let Some(ClockSample { here, there }) = clock else {
        return Step::skipped(HERE, "", "clock not compared, because Entra did not answer");
    };
    let (ahead, behind) = (here.since(there).as_secs(), there.since(here).as_secs());
    let off = ahead.max(behind);
    if off <= WORTH_A_WORD {
        let text = if off <= 1 { "clock agrees with Entra".to_owned() } else { format!("clock {off} s from Entra") };
        return Step::ok(HERE, "", text);
    }
    let which = if ahead > behind { "ahead of" } else { "behind" };
    let by = match off {
        0..7_200 => format!("{off} s"),
        7_200..172_800 => format!("{} hours", off / 3_600),
        _ => format!("{} days", off / 86_400),
    };
    let remedy = "set up a time service, such as chrony or systemd-timesyncd".to_owned();
    if off > GRAVE {
        let text = format!("clock {by} {which} Entra, so that valid certificates are refused");
        return Step::problem(HERE, "", text, (Actor::GatepostAdmin, remedy));
    }
    let text = format!("clock {by} {which} Entra, tokens still work");
    Step::warning(HERE, "", text, (Actor::GatepostAdmin, remedy))
}

async fn state(facts: &Facts) -> Step {
    if let Some(problem) = &facts.store_problem {
        return problem.clone();
    }
    let directory = match &facts.config.state {
        State::Memory => return Step::ok(HERE, "", "no state directory, nothing outlives a restart"),
        State::Sqlite { directory, .. } => Some(directory),
        State::Redis { .. } | State::NotRead => None,
    };
    let place = directory.map_or_else(|| "Redis".to_owned(), |directory| format!("`{}`", directory.display()));
    if facts.store_is_new && directory.is_none_or(|directory| !directory.exists()) {
        return Step::without_remedy(HERE, "", Outcome::Ok, format!("state directory {place} does not exist yet"));
    }
    let remedy = match directory {
        Some(_) => format!("let the service's user write to {place}, then restart Gatepost"),
        None => "check that Redis is running, and that `state.store` names it".to_owned(),
    };
    let remedy = (Actor::GatepostAdmin, remedy);
    #[cfg(unix)]
    if let Some(directory) = directory
        && rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_err()
    {
        let text = format!("the state directory {place} is not writable for user {}", user::name(user::own()));
        return Step::problem(HERE, "", text, remedy);
    }
    if facts.store_is_new {
        return Step::ok(HERE, "", format!("state directory {place} has no store yet"));
    }
    match timeout(STORE, facts.shared.authenticator.store().revision()).await {
        Ok(Ok(_)) if directory.is_some() => Step::ok(HERE, "", "state writable"),
        Ok(Ok(_)) => Step::ok(HERE, "", "Redis answers"),
        Ok(Err(error)) => Step::problem(HERE, "", error.to_string(), remedy),
        Err(_) => Step::problem(HERE, "", format!("the store in {place} does not answer"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_when_it_is_off() {
        let there = UnixTime(1_800_000_000);
        let at = |here: u64| {
            let step = clock_step(Some(ClockSample { here: UnixTime(here), there }));
            (step.outcome, step.text)
        };
        assert_eq!(at(1_800_000_001), (Outcome::Ok, "clock agrees with Entra".into()));
        assert_eq!(at(1_800_000_090), (Outcome::Ok, "clock 90 s from Entra".into()));
        assert_eq!(at(1_800_000_600), (Outcome::Warning, "clock 600 s ahead of Entra, tokens still work".into()));
        assert_eq!(at(1_799_990_000), (Outcome::Warning, "clock 2 hours behind Entra, tokens still work".into()));
        let (outcome, text) = at(1_768_464_000);
        assert_eq!(outcome, Outcome::Failed);
        assert!(text.starts_with("clock 365 days behind Entra"), "{text}");
        assert_eq!(clock_step(None).outcome, Outcome::Skipped);
    }
}
