//! Periodic work on tokens, independent of logins.

use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::expiry::{RENEW_IN_ENTRA, Reminder};
use crate::tokens::manager::TokenManager;

/// How often tokens are looked at for renewal.
pub const RENEWAL_TICK: Duration = Duration::from_secs(15);
/// After this many ticks expired entries are removed from memory.
const SWEEP_TICKS: u32 = 4;
/// After this many ticks unused sign-ins are checked: once an hour.
const IDLE_TICKS: u32 = 240;
/// After this many ticks the expiry of certificates and secrets is checked: once an hour.
const EXPIRY_TICKS: u32 = 240;

/// Renews tokens in use, checks sign-ins, reminds of certificates and secrets that expire, and
/// removes what is out of date. It ends with the manager.
pub async fn upkeep(manager: Weak<TokenManager>) {
    let mut ticks = interval(RENEWAL_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_revision, mut told) = (None, HashSet::new());
    let mut reminder = Reminder::default();
    for tick in 0_u32.. {
        ticks.tick().await;
        let Some(manager) = manager.upgrade() else { return };
        manager.renew_applications();
        manager.renew_sign_ins();
        if tick % IDLE_TICKS == 0 {
            manager.keep_sign_ins_alive(&mut told).await;
        }
        if tick % SWEEP_TICKS == 0 {
            manager.sweep();
            manager.follow_sign_ins(&mut last_revision).await;
        }
        if tick % EXPIRY_TICKS == 0
            // A disk that does not answer must not keep tokens from being renewed.
            && let Ok(expiries) = timeout(RENEWAL_TICK, manager.expiries()).await
        {
            reminder.tell(&expiries, manager.clock.unix_time(), RENEW_IN_ENTRA);
        }
    }
}

#[cfg(test)]
mod tests;
