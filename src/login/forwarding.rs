//! Whether a password that nobody has proved yet may be tried at Entra. Smart lock-out allows ten wrong ones (three in
//! the US Government clouds) before it locks the account, and behind Gatepost all users share one address. So guesses
//! are budgeted per user, and counted over all users for the sake of that address's reputation.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;

use crate::clock::{Moment, UnixTime};
use crate::config::{Cloud, Limits, PasswordBudget};
use crate::live::Live;
use crate::login::tally::{self, Counted, Tally, Uncounted, WINDOW};
pub(super) use crate::net::source::Source;
use crate::oauth::grant::TokenKey;
use crate::oauth::proof::Proof;

/// First time without forwarding after Entra said "locked"; doubles up to [`LONGEST_LOCK`].
const FIRST_LOCK: Duration = Duration::from_secs(60);
const LONGEST_LOCK: Duration = Duration::from_secs(30 * 60);
/// Sources remembered per user as having succeeded.
const SOURCES: usize = 32;
/// Users with a ledger.
const USERS: usize = 100_000;

/// Why a password is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Entra said that the account is locked.
    Locked {
        /// How long still.
        wait: Duration,
    },
    /// The account's budget of refused passwords is spent.
    Budget,
    /// Too many refused passwords over all accounts.
    Egress,
    /// There would be too many if all that are under way were refused: a verdict decides.
    Turn,
}

/// A password on its way to Entra.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Authority, tenant and user.
    pub(super) user: TokenKey,
    /// Of the password.
    pub(super) proof: Proof,
    /// Who presents it.
    pub(super) source: Source,
    /// Entra accepted this very password lately, so it is no guess.
    pub(super) proved: bool,
    /// Decides the size of the budget.
    pub(super) cloud: Cloud,
}

#[derive(Debug, Default)]
struct Ledger {
    refused: Vec<Refused>,
    /// Guesses whose verdict is out, from familiar and from unfamiliar sources: parallel guesses count before they fail.
    out_familiar: u32,
    out_unfamiliar: u32,
    /// All attempts whose verdict is out.
    out: u32,
    familiar: VecDeque<Source>,
    locked_until: Option<Moment>,
    lock: Duration,
}

#[derive(Debug)]
struct Refused {
    at: Moment,
    proof: Proof,
    familiar: bool,
}

#[derive(Debug, Default)]
struct Egress {
    refused: VecDeque<Moment>,
    /// Unproved passwords under way: parallel ones count before they fail.
    out: usize,
    warned: bool,
}

/// All budgets.
#[derive(Debug)]
pub(super) struct Forwarding {
    limits: Live<Limits>,
    tally: Arc<Tally>,
    ledgers: DashMap<TokenKey, Ledger>,
    egress: Mutex<Egress>,
    verdicts: Notify,
}

impl Forwarding {
    /// Counts in `tally` what has to outlive the process. The budgets over all accounts are counted here alone, a share
    /// for each replica.
    pub(super) fn new(limits: &Limits, tally: Arc<Tally>) -> Self {
        Self {
            limits: Live::new(limits.clone()),
            tally,
            ledgers: DashMap::new(),
            egress: Mutex::default(),
            verdicts: Notify::new(),
        }
    }

    /// Other budgets from now on. What was counted is still counted.
    pub(super) fn adjust(&self, limits: &Limits) {
        self.limits.set(limits.clone());
    }

    /// Lets an attempt go out, and counts it until its verdict is in; a guess also where a restart and other replicas find
    /// it, before this returns. While as many are under way as may still be refused over all accounts, it waits for a verdict.
    pub(super) async fn forward(self: &Arc<Self>, attempt: Attempt, now: Moment) -> Result<Forward, Hold> {
        let mut forward = self.in_turn(attempt.clone(), now).await?;
        if !forward.guess {
            return Ok(forward);
        }
        let budget = self.budget(&attempt);
        match self.tally.count(&attempt.user, forward.familiar, budget).await {
            Ok(counted) => forward.counted = Some(counted),
            Err(Uncounted::Spent) => return Err(Hold::Budget),
            Err(Uncounted::Away) if self.budget(&attempt) != budget => {
                // What all replicas may do together is no measure for one that counts alone.
                drop(forward);
                forward = self.in_turn(attempt, now).await?;
            }
            Err(Uncounted::Away) => {}
        }
        Ok(forward)
    }

    async fn in_turn(self: &Arc<Self>, attempt: Attempt, now: Moment) -> Result<Forward, Hold> {
        loop {
            let mut verdict = pin!(self.verdicts.notified());
            verdict.as_mut().enable();
            match self.open(attempt.clone(), now) {
                Err(Hold::Turn) => verdict.await,
                opened => return opened,
            }
        }
    }

    /// Lets an attempt go out, counted in this process only.
    fn open(self: &Arc<Self>, attempt: Attempt, now: Moment) -> Result<Forward, Hold> {
        if self.ledgers.len() >= USERS && !self.ledgers.contains_key(&attempt.user) {
            self.sweep(now);
            if self.ledgers.len() >= USERS {
                return Err(Hold::Budget);
            }
        }
        let mut ledger = self.ledgers.entry(attempt.user.clone()).or_default();
        ledger.refused.retain(|refused| now.since(refused.at) < WINDOW);
        if let Some(until) = ledger.locked_until
            // After the hold one attempt at a time finds out whether the lock is over.
            && (now < until || ledger.out > 0)
        {
            return Err(Hold::Locked { wait: until.since(now) });
        }
        let familiar = ledger.familiar.contains(&attempt.source);
        // Entra does not count a repeated wrong password again.
        let repeated = ledger.refused.iter().any(|refused| refused.proof == attempt.proof);
        let guess = !attempt.proved && !repeated;
        if guess {
            let PasswordBudget { total, unfamiliar: unfamiliar_total } = self.budget(&attempt);
            let refused = |familiar: bool| {
                let count = ledger.refused.iter().filter(|refused| refused.familiar == familiar).count();
                u32::try_from(count).unwrap_or(u32::MAX)
            };
            let unfamiliar = refused(false).saturating_add(ledger.out_unfamiliar);
            let familiar_ones = refused(true).saturating_add(ledger.out_familiar);
            if unfamiliar.saturating_add(familiar_ones) >= total || (!familiar && unfamiliar >= unfamiliar_total) {
                return Err(Hold::Budget);
            }
        }
        let out = if attempt.proved { None } else { Some(self.go_out(familiar, now)?) };
        if guess {
            *(if familiar { &mut ledger.out_familiar } else { &mut ledger.out_unfamiliar }) += 1;
        }
        ledger.out += 1;
        drop(ledger);
        let asked_at = self.tally.time();
        Ok(Forward { forwarding: Arc::clone(self), attempt, familiar, guess, counted: None, asked_at, _out: out })
    }

    /// A login from `source` succeeded, also one that Entra was not asked about.
    pub(super) fn succeeded_from(&self, user: &TokenKey, source: Source) {
        let known = self.ledgers.get(user).map(|ledger| ledger.familiar.contains(&source));
        match known {
            Some(true) => {}
            None if self.ledgers.len() >= USERS => {}
            _ => self.ledgers.entry(user.clone()).or_default().make_familiar(source),
        }
    }

    /// Takes guesses that Entra never judged off the count, when nobody has used their place for so long.
    pub(super) async fn release(&self, unused: Duration) {
        self.tally.release(unused).await;
    }

    /// Forgets users about whom nothing needs to be known.
    pub(super) fn sweep(&self, now: Moment) {
        self.ledgers.retain(|_, ledger| {
            ledger.refused.retain(|refused| now.since(refused.at) < WINDOW);
            let locked = ledger.locked_until.is_some_and(|until| now < until.after(LONGEST_LOCK));
            ledger.out > 0 || locked || !ledger.refused.is_empty() || !ledger.familiar.is_empty()
        });
        if self.ledgers.len() >= USERS {
            // Whoever only succeeded becomes unfamiliar, which costs nothing while the budget is whole.
            self.ledgers
                .retain(|_, ledger| ledger.out > 0 || !ledger.refused.is_empty() || ledger.locked_until.is_some());
        }
    }

    /// The budget of an account, or this replica's share of it when the replicas do not count together. Where a share would
    /// be less than one password, the account's own replica has all of it.
    fn budget(&self, attempt: &Attempt) -> PasswordBudget {
        let limits = self.limits.get();
        let PasswordBudget { total, unfamiliar } = limits.password_budget(attempt.cloud);
        let Limits { replicas, replica_index, .. } = *limits;
        if replicas <= 1 || self.tally.is_shared() {
            return PasswordBudget { total, unfamiliar };
        }
        let share = |whole: u32| match whole / replicas {
            0 if tally::owns(&attempt.user, replica_index, replicas) => whole,
            share => share,
        };
        PasswordBudget { total: share(total), unfamiliar: share(unfamiliar) }
    }

    /// Counts a password among those under way, if a source may send it there.
    fn go_out(self: &Arc<Self>, familiar: bool, now: Moment) -> Result<Out, Hold> {
        let mut egress = self.egress.lock().unwrap_or_else(PoisonError::into_inner);
        while egress.refused.front().is_some_and(|at| now.since(*at) >= Duration::from_secs(3600)) {
            egress.refused.pop_front();
        }
        let last_minute =
            egress.refused.iter().rev().take_while(|at| now.since(**at) < Duration::from_secs(60)).count();
        let limits = self.limits.get();
        let left_of_hour = share(limits.refused_passwords_per_hour, &limits).saturating_sub(egress.refused.len());
        let left = share(limits.refused_passwords_per_minute, &limits).saturating_sub(last_minute).min(left_of_hour);
        let spent = left == 0;
        if spent && !egress.warned {
            tracing::warn!(
                last_minute,
                last_hour = egress.refused.len(),
                "many passwords were refused; unfamiliar sources are not forwarded to Entra until this subsides"
            );
        }
        egress.warned = spent;
        if !familiar && egress.out >= left {
            return Err(if spent { Hold::Egress } else { Hold::Turn });
        }
        egress.out += 1;
        Ok(Out(Arc::clone(self)))
    }

    fn count_refusal(&self, now: Moment) {
        let mut egress = self.egress.lock().unwrap_or_else(PoisonError::into_inner);
        egress.refused.push_back(now);
        let limits = self.limits.get();
        while egress.refused.len() > share(limits.refused_passwords_per_hour, &limits).max(1) {
            egress.refused.pop_front();
        }
    }
}

/// What this replica has of a budget over all accounts.
fn share(whole: u32, limits: &Limits) -> usize {
    usize::try_from(whole / limits.replicas.max(1)).unwrap_or(usize::MAX)
}

impl Ledger {
    fn make_familiar(&mut self, source: Source) {
        if !self.familiar.contains(&source) {
            if self.familiar.len() >= SOURCES {
                self.familiar.pop_front();
            }
            self.familiar.push_back(source);
        }
    }
}

/// An attempt whose verdict is out. Dropping it without a verdict, as after a time-out, takes it off the count.
#[derive(Debug)]
pub(super) struct Forward {
    forwarding: Arc<Forwarding>,
    attempt: Attempt,
    familiar: bool,
    guess: bool,
    counted: Option<Counted>,
    asked_at: UnixTime,
    /// Unless the password is proved.
    _out: Option<Out>,
}

/// A password among those under way over all accounts.
#[derive(Debug)]
struct Out(Arc<Forwarding>);

impl Drop for Out {
    fn drop(&mut self) {
        let mut egress = self.0.egress.lock().unwrap_or_else(PoisonError::into_inner);
        egress.out = egress.out.saturating_sub(1);
        drop(egress);
        self.0.verdicts.notify_waiters();
    }
}

impl Forward {
    /// Entra accepted the password: the account's budget is whole again, as is Entra's own count.
    pub(super) fn accepted(mut self) {
        self.judged();
        self.forwarding.tally.accepted(&self.attempt.user, self.asked_at);
        if let Some(mut ledger) = self.forwarding.ledgers.get_mut(&self.attempt.user) {
            ledger.refused.clear();
            ledger.locked_until = None;
            ledger.lock = Duration::ZERO;
            ledger.make_familiar(self.attempt.source);
        }
    }

    /// Entra refused the password. True when this was the last that the budget allowed.
    pub(super) fn refused(mut self, now: Moment) -> bool {
        self.judged();
        self.forwarding.count_refusal(now);
        let Some(mut ledger) = self.forwarding.ledgers.get_mut(&self.attempt.user) else { return false };
        if ledger.refused.iter().any(|refused| refused.proof == self.attempt.proof) {
            return false;
        }
        ledger.refused.push(Refused { at: now, proof: self.attempt.proof, familiar: self.familiar });
        ledger.refused.len() as u64 == u64::from(self.forwarding.budget(&self.attempt).total)
    }

    fn judged(&mut self) {
        if let Some(counted) = self.counted.take() {
            counted.judged();
        }
    }

    /// Entra said that the account is locked; nothing is forwarded for a while, `at_least` so long.
    pub(super) fn locked(self, now: Moment, at_least: Duration) {
        if let Some(mut ledger) = self.forwarding.ledgers.get_mut(&self.attempt.user) {
            ledger.lock = if ledger.lock.is_zero() { FIRST_LOCK } else { (ledger.lock * 2).min(LONGEST_LOCK) };
            ledger.locked_until = Some(now.after(ledger.lock.max(at_least)));
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Some(mut ledger) = self.forwarding.ledgers.get_mut(&self.attempt.user) {
            ledger.out = ledger.out.saturating_sub(1);
            if self.guess {
                let out = if self.familiar { &mut ledger.out_familiar } else { &mut ledger.out_unfamiliar };
                *out = out.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
