//! Connections to Exchange Online that are kept for the next message, one for each [`Origin`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::session::submission::conversation::Spare;
use gatepost_store::queue::NewMessage;

/// What messages have in common that may share a connection: where it leads, and whose token opens
/// which mailbox on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    listener: String,
    login: String,
    mailbox: String,
}

impl Origin {
    /// Returns that of a message.
    pub(super) fn of(message: &NewMessage) -> Self {
        let NewMessage { listener, login, mailbox, .. } = message;
        Self { listener: listener.clone(), login: login.clone(), mailbox: mailbox.clone() }
    }
}

/// The connections. A clone shares them.
#[derive(Clone, Default)]
pub(super) struct Spares(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    spares: HashMap<Origin, (u64, Spare)>,
    number: u64,
}

impl Spares {
    /// Takes the connection for a message of this origin.
    pub(super) fn take(&self, origin: &Origin) -> Option<Spare> {
        self.0.lock().spares.remove(origin).map(|(_, spare)| spare)
    }

    /// Keeps a connection until it is needed elsewhere or has been idle for too long.
    pub(super) fn keep(&self, origin: Origin, spare: Spare) {
        let needless = spare.needless();
        let (number, former) = {
            let mut kept = self.0.lock();
            kept.number += 1;
            let number = kept.number;
            (number, kept.spares.insert(origin.clone(), (number, spare)))
        };
        let spares = self.clone();
        tokio::spawn(async move {
            if let Some((_, former)) = former {
                former.exchange.quit().await;
            }
            needless.await;
            let spare = {
                let mut kept = spares.0.lock();
                let is_same = kept.spares.get(&origin).is_some_and(|(kept, _)| *kept == number);
                is_same.then(|| kept.spares.remove(&origin)).flatten()
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
