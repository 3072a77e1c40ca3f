//! Connections to Exchange Online that are kept for the next message of their mailbox, one for each.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::session::submission::conversation::Spare;
use gatepost_core::account::MailAddress;

/// The connections. A clone shares them.
#[derive(Clone, Default)]
pub(super) struct Spares(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    spares: HashMap<MailAddress, (u64, Spare)>,
    number: u64,
}

impl Spares {
    /// Takes the connection of a mailbox.
    pub(super) fn take(&self, mailbox: &MailAddress) -> Option<Spare> {
        self.0.lock().spares.remove(mailbox).map(|(_, spare)| spare)
    }

    /// Keeps a connection until it is needed elsewhere or has been idle for too long.
    pub(super) fn keep(&self, mailbox: MailAddress, spare: Spare) {
        let needless = spare.needless();
        let (number, former) = {
            let mut kept = self.0.lock();
            kept.number += 1;
            let number = kept.number;
            (number, kept.spares.insert(mailbox.clone(), (number, spare)))
        };
        let spares = self.clone();
        tokio::spawn(async move {
            if let Some((_, former)) = former {
                former.exchange.quit().await;
            }
            needless.await;
            let spare = {
                let mut kept = spares.0.lock();
                let is_same = kept.spares.get(&mailbox).is_some_and(|(kept, _)| *kept == number);
                is_same.then(|| kept.spares.remove(&mailbox)).flatten()
            };
            if let Some((_, spare)) = spare {
                spare.exchange.quit().await;
            }
        });
    }

    /// Closes all connections in order.
    pub(super) async fn close(&self) {
        let spares = std::mem::take(&mut self.0.lock().spares);
        for (_, (_, spare)) in spares {
            spare.exchange.quit().await;
        }
    }
}
