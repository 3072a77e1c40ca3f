//! Periodic work of the login service, independent of logins.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::login::authenticator::Authenticator;
use crate::login::device::DevicePasswords;
use gatepost_oauth::tokens;

/// How often the memories are swept.
const SWEEP_TICK: Duration = Duration::from_secs(60);
/// How long the entry of an unjudged guess is kept for the next attempt.
const UNJUDGED: Duration = Duration::from_secs(10 * 60);
/// How often the store is checked for device passwords that another process created or revoked.
const LOOK_TICK: Duration = Duration::from_secs(2);

impl Authenticator {
    /// Starts the task that renews tokens in use, maintains sign-ins, forgets what is out of date,
    /// and checks for created or revoked device passwords. It ends with the authenticator, or when
    /// aborted.
    pub fn spawn_upkeep(self: &Arc<Self>) -> JoinHandle<()> {
        let (authenticator, devices) = (Arc::downgrade(self), Arc::downgrade(&self.devices));
        let tokens = Arc::downgrade(&self.tokens);
        tokio::spawn(async {
            tokio::join!(tokens::upkeep(tokens), upkeep(authenticator), keep_looking(devices));
        })
    }

    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        self.refused_tokens.sweep(now);
        self.lockout.sweep(now);
        self.local.sweep(now);
    }
}

async fn upkeep(authenticator: Weak<Authenticator>) {
    let mut ticks = interval(SWEEP_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(authenticator) = authenticator.upgrade() else { return };
        authenticator.sweep();
        authenticator.lockout.release(UNJUDGED).await;
    }
}

/// Keeps the device passwords in step with the store. Logs one line when the store becomes
/// unavailable and one when it is available again.
async fn keep_looking(devices: Weak<DevicePasswords>) {
    let mut ticks = interval(LOOK_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        ticks.tick().await;
        let Some(devices) = devices.upgrade() else { return };
        match devices.look().await {
            Ok(_) if std::mem::take(&mut away) => tracing::info!("device passwords can be looked up again"),
            Err(error) if !std::mem::replace(&mut away, true) => {
                tracing::warn!("device passwords cannot be looked up, those known so far keep working: {error}");
            }
            _ => {}
        }
    }
}
