//! Implements the guard that permits password attempts at Entra by the budget of wrong passwords.

use std::sync::Arc;
use std::time::Duration;

use crate::login::explain;
use crate::login::lockout_guard::{Forward, LockoutGuard};
use gatepost_core::clock::Moment;
use gatepost_oauth::tokens::{Attempt, AttemptGuard, AttemptPermit, Permitting, User};

impl AttemptGuard for LockoutGuard {
    fn permit<'a>(self: Arc<Self>, attempt: Attempt, login: &'a str, now: Moment) -> Permitting<'a> {
        Box::pin(async move {
            let forward = self.forward(attempt, now).await.map_err(|hold| explain::held(hold, login, self.time()))?;
            Ok(Box::new(forward) as Box<dyn AttemptPermit>)
        })
    }

    fn tries_again(&self, attempt: &Attempt, now: Moment) -> bool {
        LockoutGuard::tries_again(self, attempt, now)
    }
}

impl AttemptPermit for Forward {
    fn accepted(self: Box<Self>, person: Option<User>, now: Moment) {
        Forward::accepted(*self, person, now);
    }

    fn refused(self: Box<Self>, now: Moment) -> bool {
        Forward::refused(*self, now)
    }

    fn locked(self: Box<Self>, now: Moment, at_least: Duration) {
        Forward::locked(*self, now, at_least);
    }
}
