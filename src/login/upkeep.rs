//! What is done about logins while nobody logs in.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::login::authenticator::Authenticator;
use crate::login::device::DevicePasswords;
use gatepost_oauth::tokens;

/// How often the memories are swept.
const SWEEP_TICK: Duration = Duration::from_secs(60);
/// A guess that Entra did not judge keeps its place in the count for the next try so long.
const UNJUDGED: Duration = Duration::from_secs(10 * 60);
/// How often the store is looked at for device passwords that were made or revoked by another process.
const LOOK_TICK: Duration = Duration::from_secs(2);

impl Authenticator {
    /// Starts the task that renews tokens in use, looks after sign-ins, forgets what is out of date, and looks for device
    /// passwords that were made or revoked. It ends with the authenticator, or when aborted.
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

/// Keeps the device passwords as the store has them. That it is away is worth one line when it begins and one when it is
/// over.
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
