//! A value that a reload can replace while others read it.

use std::sync::Arc;

use tokio::sync::watch;

/// The present value. A reader keeps the value that it got, unchanged.
#[derive(Debug, Default)]
pub struct Reloadable<T>(watch::Sender<Arc<T>>);

impl<T> Reloadable<T> {
    /// Creates it with `value`.
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Self(watch::Sender::new(value.into()))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// A receiver for all later changes of the value.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    /// Replaces the value and returns the former one.
    pub fn set(&self, value: impl Into<Arc<T>>) -> Arc<T> {
        self.0.send_replace(value.into())
    }
}
