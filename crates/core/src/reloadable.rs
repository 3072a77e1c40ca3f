//! A value that a reload replaces while others read it.

use std::sync::Arc;

use tokio::sync::watch;

/// The present value. Whoever has got it keeps it as it was.
#[derive(Debug, Default)]
pub struct Reloadable<T>(watch::Sender<Arc<T>>);

impl<T> Reloadable<T> {
    /// Begins with `value`.
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Self(watch::Sender::new(value.into()))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// Tells of every other value from now on.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    /// From now on another one; the former is the result.
    pub fn set(&self, value: impl Into<Arc<T>>) -> Arc<T> {
        self.0.send_replace(value.into())
    }
}
