//! Decides whether an unverified password may be tried at Entra. Smart lockout allows ten wrong
//! passwords (three in the US Government clouds) before it locks the account. Behind Gatepost all
//! users share one address, so guesses are budgeted per user, and also counted over all users to
//! protect that address's reputation.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::login::attempt_log::{AttemptLog, Counted, NOTED_AGAIN, SOURCES, Uncounted, WINDOW};
use gatepost_config::{Limits, PasswordBudget};
use gatepost_core::clock::{Moment, UnixTime};
use gatepost_core::rate_limit::SlidingWindow;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::source::Source;
use gatepost_oauth::password_digest::PasswordDigest;
use gatepost_oauth::tokens::{Attempt, User};
use gatepost_store::StoreError;

/// How long nothing is forwarded after Entra first said "locked". It doubles up to
/// [`LONGEST_LOCK`].
const FIRST_LOCK: Duration = Duration::from_secs(60);
const LONGEST_LOCK: Duration = Duration::from_secs(30 * 60);
/// If the store did not note a source, it is offered to the store again after this time.
const NOTE_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Most users with a ledger. A ledger protects its user from being locked, so none that holds
/// information is evicted. Without room, nothing is forwarded for a further user.
const USERS: usize = 100_000;

/// Why a password is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// Entra said that the account is locked.
    Locked {
        /// Time until the next attempt.
        wait: Duration,
    },
    /// The account's budget of refused passwords is spent.
    Budget(Spent),
    /// Too many passwords were refused over all accounts.
    GlobalBudget,
    /// There would be too many refusals if all attempts under way were refused. The caller waits
    /// for a verdict.
    Turn,
}

/// A spent budget of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    /// Time until the budget allows another guess.
    pub(super) wait: Duration,
    /// How many refused passwords the source of the attempt may cause.
    pub(super) most: u32,
    /// How many all sources may cause.
    pub(super) total: u32,
    /// Where the last refused password came from, if this process has seen it.
    pub(super) from: Option<Source>,
}

#[derive(Debug, Default)]
struct AccountBudget {
    refused: Vec<Refused>,
    /// When passwords were refused again that were refused before. Entra does not count them, but a
    /// directory behind pass-through authentication does.
    repeated: Vec<Moment>,
    /// Guesses that await a verdict, from familiar and from unfamiliar sources. Parallel guesses
    /// count before they fail.
    out_familiar: u32,
    out_unfamiliar: u32,
    /// All attempts that await a verdict.
    out: u32,
    /// Familiar sources, with the time at which the store is to note them again.
    familiar: VecDeque<(Source, Moment)>,
    locked_until: Option<Moment>,
    lock: Duration,
}

#[derive(Debug)]
struct Refused {
    at: Moment,
    proof: PasswordDigest,
    source: Source,
    familiar: bool,
    /// Its entry in the store, if it has one.
    entry: Option<u64>,
}

#[derive(Debug, Default)]
struct GlobalBudget {
    refused: SlidingWindow,
    /// Unverified passwords under way. Parallel ones count before they fail.
    out: usize,
    warned: bool,
}

/// The budgets of all users.
#[derive(Debug)]
pub(super) struct LockoutGuard {
    limits: Reloadable<Limits>,
    attempts: Arc<AttemptLog>,
    ledgers: DashMap<User, AccountBudget>,
    egress: Mutex<GlobalBudget>,
    verdicts: Notify,
}

impl LockoutGuard {
    /// Counts in `attempts` what has to outlive the process. The budgets over all accounts are
    /// counted in this process alone, which has its replica's share.
    pub(super) fn new(limits: &Limits, attempts: Arc<AttemptLog>) -> Self {
        Self {
            limits: Reloadable::new(limits.clone()),
            attempts,
            ledgers: DashMap::new(),
            egress: Mutex::default(),
            verdicts: Notify::new(),
        }
    }

    /// Applies other budgets from now on. Earlier counts stay.
    pub(super) fn adjust(&self, limits: &Limits) {
        self.limits.set(limits.clone());
    }

    /// Lets an attempt go out, and counts it until its verdict arrives. A guess is also counted in
    /// `attempts` before this returns, where a restart and other replicas find it. If as many
    /// attempts are under way as may still be refused over all accounts, it waits for a verdict.
    pub(super) async fn forward(self: &Arc<Self>, mut attempt: Attempt, now: Moment) -> Result<Forward, HeldBack> {
        let name = attempt.user;
        attempt.user = self.attempts.person(name).await;
        let mut forward = match self.in_turn(&attempt, now).await {
            Ok(forward) => forward,
            Err(hold @ HeldBack::Locked { .. }) => return Err(hold),
            Err(hold) if !self.recall(&attempt, now).await => return Err(hold),
            Err(_) => self.in_turn(&attempt, now).await?,
        };
        forward.name = name;
        if !forward.guess {
            return Ok(forward);
        }
        let budget = self.budget(&attempt);
        match self.attempts.count(attempt.user, attempt.source, forward.familiar, budget).await {
            Ok(counted) => forward.counted(counted, now),
            Err(Uncounted::Spent { wait }) => {
                let familiar = forward.familiar;
                return Err(HeldBack::Budget(self.spent(&attempt, familiar, wait)));
            }
            Err(Uncounted::Away) if self.budget(&attempt) != budget => {
                // The budget that all replicas share is too large for one that counts alone.
                drop(forward);
                forward = self.in_turn(&attempt, now).await?;
                forward.name = name;
            }
            Err(Uncounted::Away) => {}
        }
        Ok(forward)
    }

    async fn in_turn(self: &Arc<Self>, attempt: &Attempt, now: Moment) -> Result<Forward, HeldBack> {
        loop {
            let mut verdict = pin!(self.verdicts.notified());
            verdict.as_mut().enable();
            match self.open(attempt.clone(), now) {
                Err(HeldBack::Turn) => verdict.await,
                opened => return opened,
            }
        }
    }

    /// Lets an attempt go out, counted in this process only.
    fn open(self: &Arc<Self>, attempt: Attempt, now: Moment) -> Result<Forward, HeldBack> {
        if self.ledgers.len() >= USERS && !self.ledgers.contains_key(&attempt.user) {
            self.sweep(now);
            if self.ledgers.len() >= USERS {
                let PasswordBudget { total, .. } = self.budget(&attempt);
                return Err(HeldBack::Budget(Spent { wait: WINDOW, most: total, total, from: None }));
            }
        }
        let mut ledger = self.ledgers.entry(attempt.user).or_default();
        ledger.forget_old(now);
        if let Some(until) = ledger.locked_until
            // After the hold, one attempt at a time finds out whether the lock is over.
            && (now < until || ledger.out > 0)
        {
            return Err(HeldBack::Locked { wait: until.since(now) });
        }
        let familiar = ledger.knows(attempt.source);
        // Entra does not count a repeated wrong password again.
        let repeated = ledger.refused.iter().any(|refused| refused.proof == attempt.proof);
        let guess = !attempt.proved && !repeated;
        if guess && let Some(wait) = self.budget(&attempt).wait(familiar, ledger.held(now)) {
            let budget = self.budget(&attempt);
            let is_whole = familiar || budget.wait(true, ledger.held(now)).is_some();
            return Err(HeldBack::Budget(Spent {
                wait,
                most: if is_whole { budget.total } else { budget.unfamiliar },
                total: budget.total,
                from: ledger.last_from(),
            }));
        }
        let out = if attempt.proved { None } else { Some(self.go_out(familiar, now)?) };
        if guess {
            *ledger.out_of(familiar) += 1;
        }
        ledger.out += 1;
        drop(ledger);
        let asked_at = self.attempts.time();
        Ok(Forward {
            lockout: Arc::clone(self),
            name: attempt.user,
            attempt,
            familiar,
            guess,
            counted: None,
            asked_at,
            _out: out,
        })
    }

    /// Notes that a login from `source` succeeded, even if Entra was not asked. The store notes it
    /// in the background.
    pub(super) fn succeeded_from(self: &Arc<Self>, name: User, source: Source, now: Moment) {
        let user = self.attempts.known_person(name);
        let known = self.ledgers.get(&user).map(|ledger| ledger.is_noted(source, now));
        match known {
            Some(true) => {}
            None if self.ledgers.len() >= USERS => {}
            _ => {
                self.ledgers.entry(user).or_default().make_familiar(source, now.after(NOTED_AGAIN));
                self.note([name, user, user], source, now, None);
            }
        }
    }

    /// Writes what a success has changed to the store, in the background. The users are those of
    /// [`AttemptLog::accepted`]. `asked_at` is given if Entra accepted the password.
    fn note(self: &Arc<Self>, users: [User; 3], source: Source, now: Moment, asked_at: Option<UnixTime>) {
        // Without a runtime the process is ending.
        let Ok(runtime) = Handle::try_current() else { return };
        let (this, [.., person]) = (Arc::clone(self), users);
        runtime.spawn(async move {
            let noted = match asked_at {
                Some(asked_at) => this.attempts.accepted(users, source, asked_at).await,
                None => this.attempts.remember(person, source).await,
            };
            if let Err(error) = noted {
                tracing::debug!("a success could not be noted with the refused passwords: {error}");
                if let Some(mut ledger) = this.ledgers.get_mut(&person) {
                    ledger.make_familiar(source, now.after(NOTE_AGAIN));
                }
            }
        });
    }

    /// Asks the store for what this process does not know. A source may be familiar, and guesses
    /// may count no longer because they were lifted or a login succeeded elsewhere. Returns true
    /// when something is new.
    async fn recall(&self, attempt: &Attempt, now: Moment) -> bool {
        let Some(recalled) = self.attempts.recall(attempt.user, attempt.source).await else { return false };
        let Some(mut ledger) = self.ledgers.get_mut(&attempt.user) else { return false };
        let is_news = recalled.familiar && !ledger.knows(attempt.source);
        if is_news {
            // Its next success is noted if the note in the store is old.
            ledger.make_familiar(attempt.source, now);
        }
        let before = ledger.refused.len();
        if let Some(guesses) = recalled.guesses {
            ledger.refused.retain(|refused| refused.entry.is_none_or(|entry| guesses.contains(&entry)));
        }
        is_news || ledger.refused.len() < before
    }

    /// Whether a refused password may be tried again although it is remembered: it comes from a
    /// familiar source, and with the repetitions there were fewer refusals of the account than an
    /// unfamiliar source may cause.
    pub(super) fn tries_again(&self, attempt: &Attempt, now: Moment) -> bool {
        let user = self.attempts.known_person(attempt.user);
        let Some(mut ledger) = self.ledgers.get_mut(&user) else { return false };
        ledger.forget_old(now);
        let most = usize::try_from(self.budget(attempt).unfamiliar).unwrap_or(usize::MAX);
        ledger.knows(attempt.source) && ledger.refused.len() + ledger.repeated.len() < most
    }

    /// Restores the budget of a user, also in the store, and forgets that Entra called it locked.
    /// Returns how many refused passwords no longer count.
    pub(super) async fn lift(&self, name: User) -> Result<usize, StoreError> {
        let users = HashSet::from([name, self.attempts.person(name).await]);
        let here = users.iter().filter_map(|user| Some(self.ledgers.get_mut(user)?.clear())).sum();
        self.attempts.lift(name).await.map(|stored| stored.max(here))
    }

    /// Returns how many refused passwords of a user count now, as far as this process has seen
    /// them.
    pub(super) fn counted(&self, name: User, now: Moment) -> usize {
        let counts = |user| {
            let ledger = self.ledgers.get(&user)?;
            Some(ledger.refused.iter().filter(|refused| now.since(refused.at) < WINDOW).count())
        };
        HashSet::from([name, self.attempts.known_person(name)]).into_iter().filter_map(counts).sum()
    }

    /// Removes guesses that Entra never judged from the count, if no attempt has reused their entry
    /// for `unused`.
    pub(super) async fn release(&self, unused: Duration) {
        self.attempts.release(unused).await;
    }

    /// Forgets users about whom nothing needs to be known.
    pub(super) fn sweep(&self, now: Moment) {
        self.ledgers.retain(|_, ledger| {
            ledger.forget_old(now);
            let locked = ledger.locked_until.is_some_and(|until| now < until.after(LONGEST_LOCK));
            ledger.out > 0 || locked || !ledger.refused.is_empty() || !ledger.familiar.is_empty()
        });
        if self.ledgers.len() >= USERS {
            // The store still knows the sources of a user who only succeeded.
            self.ledgers
                .retain(|_, ledger| ledger.out > 0 || !ledger.refused.is_empty() || ledger.locked_until.is_some());
        }
    }

    /// Returns the budget of an account, or this replica's share if the replicas do not count
    /// together. If a share would be less than one password, the account's own replica has the
    /// whole budget.
    fn budget(&self, attempt: &Attempt) -> PasswordBudget {
        let limits = self.limits.get();
        let PasswordBudget { total, unfamiliar } = limits.password_budget(attempt.cloud);
        let Limits { replicas, replica_index, .. } = *limits;
        if replicas <= 1 || self.attempts.is_shared() {
            return PasswordBudget { total, unfamiliar };
        }
        let share = |whole: u32| match whole / replicas {
            0 if attempt.user.belongs_to(replica_index, replicas) => whole,
            share => share,
        };
        PasswordBudget { total: share(total), unfamiliar: share(unfamiliar) }
    }

    /// Returns the state of a budget that the store says is spent.
    fn spent(&self, attempt: &Attempt, familiar: bool, wait: Duration) -> Spent {
        let PasswordBudget { total, unfamiliar } = self.budget(attempt);
        let from = self.ledgers.get(&attempt.user).and_then(|ledger| ledger.last_from());
        Spent { wait, most: if familiar { total } else { unfamiliar }, total, from }
    }

    /// The time of day.
    pub(super) fn time(&self) -> UnixTime {
        self.attempts.time()
    }

    /// Counts a password among those under way, if its source may send it.
    fn go_out(self: &Arc<Self>, familiar: bool, now: Moment) -> Result<Out, HeldBack> {
        let mut egress = self.egress.lock();
        let last_hour = egress.refused.count(Duration::from_secs(3600), now);
        let last_minute = egress.refused.count_latest(Duration::from_secs(60), now);
        let limits = self.limits.get();
        let left_of_hour = share(limits.refused_passwords_per_hour, &limits).saturating_sub(last_hour);
        let left = share(limits.refused_passwords_per_minute, &limits).saturating_sub(last_minute).min(left_of_hour);
        let spent = left == 0;
        if spent && !egress.warned {
            tracing::warn!(
                last_minute,
                last_hour,
                "many passwords were refused, so passwords from unfamiliar sources are not forwarded to Entra until \
                 this ends"
            );
        }
        egress.warned = spent;
        if !familiar && egress.out >= left {
            return Err(if spent { HeldBack::GlobalBudget } else { HeldBack::Turn });
        }
        egress.out += 1;
        Ok(Out(Arc::clone(self)))
    }

    fn count_refusal(&self, now: Moment) {
        let mut egress = self.egress.lock();
        egress.refused.note(now);
        let limits = self.limits.get();
        egress.refused.keep_latest(share(limits.refused_passwords_per_hour, &limits).max(1));
    }
}

/// Returns this replica's share of a budget over all accounts.
fn share(whole: u32, limits: &Limits) -> usize {
    usize::try_from(whole / limits.replicas.max(1)).unwrap_or(usize::MAX)
}

impl AccountBudget {
    fn knows(&self, source: Source) -> bool {
        self.familiar.iter().any(|(known, _)| *known == source)
    }

    /// True while the store need not be told of a further success.
    fn is_noted(&self, source: Source, now: Moment) -> bool {
        self.familiar.iter().any(|(known, note_at)| *known == source && now < *note_at)
    }

    fn make_familiar(&mut self, source: Source, note_at: Moment) {
        self.familiar.retain(|(known, _)| *known != source);
        if self.familiar.len() >= SOURCES {
            self.familiar.pop_front();
        }
        self.familiar.push_back((source, note_at));
    }

    /// Returns where the last refused password came from that counts.
    fn last_from(&self) -> Option<Source> {
        self.refused.last().map(|refused| refused.source)
    }

    /// Forgets the refusals that no longer count.
    fn forget_old(&mut self, now: Moment) {
        self.refused.retain(|refused| now.since(refused.at) < WINDOW);
        self.repeated.retain(|at| now.since(*at) < WINDOW);
    }

    /// Restores the whole budget. Returns how many refused passwords counted against it.
    fn clear(&mut self) -> usize {
        self.locked_until = None;
        self.lock = Duration::ZERO;
        self.repeated.clear();
        std::mem::take(&mut self.refused).len()
    }

    fn out_of(&mut self, familiar: bool) -> &mut u32 {
        if familiar { &mut self.out_familiar } else { &mut self.out_unfamiliar }
    }

    /// Returns what counts against the budget: whether its source is familiar, and for how long it
    /// still counts.
    fn held(&self, now: Moment) -> impl Iterator<Item = (bool, Duration)> + Clone {
        let refused = self.refused.iter();
        let refused = refused.map(move |refused| (refused.familiar, WINDOW.saturating_sub(now.since(refused.at))));
        let out = |familiar, count| (0..count).map(move |_| (familiar, Duration::ZERO));
        refused.chain(out(true, self.out_familiar)).chain(out(false, self.out_unfamiliar))
    }
}

/// An attempt that awaits its verdict. Dropping it without a verdict, for example after a time-out,
/// removes it from the count.
#[derive(Debug)]
pub(super) struct Forward {
    lockout: Arc<LockoutGuard>,
    /// The user as it was typed; `attempt` has the person behind it.
    name: User,
    attempt: Attempt,
    familiar: bool,
    guess: bool,
    counted: Option<Counted>,
    asked_at: UnixTime,
    /// Present unless the password is already verified.
    _out: Option<Out>,
}

/// A password among those under way over all accounts.
#[derive(Debug)]
struct Out(Arc<LockoutGuard>);

impl Drop for Out {
    fn drop(&mut self) {
        let mut egress = self.0.egress.lock();
        egress.out = egress.out.saturating_sub(1);
        drop(egress);
        self.0.verdicts.notify_waiters();
    }
}

impl Forward {
    /// Notes that the guess is in the store, which may have known the source.
    fn counted(&mut self, counted: Counted, now: Moment) {
        if counted.is_familiar()
            && !self.familiar
            && let Some(mut ledger) = self.lockout.ledgers.get_mut(&self.attempt.user)
        {
            self.familiar = true;
            ledger.make_familiar(self.attempt.source, now);
            ledger.out_unfamiliar = ledger.out_unfamiliar.saturating_sub(1);
            ledger.out_familiar += 1;
        }
        self.counted = Some(counted);
    }

    /// Notes that Entra accepted the password: the account's budget is restored, as is Entra's own
    /// count. `person` is the user's person, if Entra names one. From then on all names of one
    /// person share one budget.
    pub(super) fn accepted(mut self, person: Option<User>, now: Moment) {
        self.judged();
        let Attempt { user, source, .. } = self.attempt;
        let person = person.unwrap_or(user);
        let LockoutGuard { ledgers, attempts, .. } = &*self.lockout;
        attempts.learn(self.name, person);
        for user in [self.name, user] {
            ledgers.alter(&user, |_, mut ledger| {
                ledger.clear();
                ledger
            });
        }
        let mut ledger = ledgers.entry(person).or_default();
        ledger.clear();
        ledger.make_familiar(source, now.after(NOTED_AGAIN));
        drop(ledger);
        self.lockout.note([self.name, user, person], source, now, Some(self.asked_at));
    }

    /// Notes that Entra refused the password. Returns true when this was the last that the budget
    /// allowed.
    pub(super) fn refused(mut self, now: Moment) -> bool {
        let entry = self.judged();
        self.lockout.count_refusal(now);
        let Some(mut ledger) = self.lockout.ledgers.get_mut(&self.attempt.user) else { return false };
        if ledger.refused.iter().any(|refused| refused.proof == self.attempt.proof) {
            ledger.repeated.push(now);
            return false;
        }
        let Attempt { proof, source, .. } = self.attempt;
        ledger.refused.push(Refused { at: now, proof, source, familiar: self.familiar, entry });
        ledger.refused.len() as u64 == u64::from(self.lockout.budget(&self.attempt).total)
    }

    fn judged(&mut self) -> Option<u64> {
        self.counted.take().map(Counted::judged)
    }

    /// Notes that Entra said that the account is locked. Nothing is forwarded for a while, at least
    /// for `at_least`.
    pub(super) fn locked(self, now: Moment, at_least: Duration) {
        if let Some(mut ledger) = self.lockout.ledgers.get_mut(&self.attempt.user) {
            ledger.lock = if ledger.lock.is_zero() { FIRST_LOCK } else { (ledger.lock * 2).min(LONGEST_LOCK) };
            ledger.locked_until = Some(now.after(ledger.lock.max(at_least)));
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Some(mut ledger) = self.lockout.ledgers.get_mut(&self.attempt.user) {
            ledger.out = ledger.out.saturating_sub(1);
            if self.guess {
                let out = ledger.out_of(self.familiar);
                *out = out.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
