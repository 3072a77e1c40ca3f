//! A value that a reload replaces while others read it.

use std::sync::{Arc, PoisonError, RwLock};

/// The present value. Whoever has got it keeps it as it was.
#[derive(Debug, Default)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// Begins with `value`.
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Self(RwLock::new(value.into()))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        // Values are replaced as a whole: whatever panicked, this one is.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on another one; the former is the result.
    pub fn set(&self, value: impl Into<Arc<T>>) -> Arc<T> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value.into())
    }
}
