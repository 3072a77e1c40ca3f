//! Places where a test lets the disk fail or the process stop. In the product they do nothing.

use std::io;

/// A step whose failure or interruption must lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(any(test, feature = "testing")), allow(unreachable_pub, reason = "only tests of other crates see it"))]
pub enum Point {
    /// The file of a message is created.
    Create,
    /// A part of it is written.
    Write,
    /// It is synced.
    SyncFile,
    /// Its directory is synced.
    SyncDirectory,
    /// Its row is inserted.
    Insert,
    /// The row was inserted, and nobody knows yet.
    Inserted,
    /// The row of a message that is not accepted is taken back.
    Withdraw,
    /// The row is gone, and the file is removed.
    Remove,
    /// A file that is not listed is looked for.
    Find,
    /// All that is known about a message is read.
    Show,
    /// A message is marked as being handed over.
    HandOver,
    /// The outcome is kept.
    Settle,
}

/// What happens at the points.
#[cfg(any(test, feature = "testing"))]
#[derive(Default)]
pub struct Faults(parking_lot::Mutex<Option<Box<Fault>>>);

#[cfg(any(test, feature = "testing"))]
type Fault = dyn FnMut(Point) -> io::Result<()> + Send;

#[cfg(any(test, feature = "testing"))]
impl Faults {
    /// Calls this at every point from now on.
    pub fn set(&self, fault: impl FnMut(Point) -> io::Result<()> + Send + 'static) {
        *self.0.lock() = Some(Box::new(fault));
    }

    /// Lets nothing fail from now on.
    pub fn clear(&self) {
        *self.0.lock() = None;
    }

    pub(super) fn pass(&self, point: Point) -> io::Result<()> {
        self.0.lock().as_mut().map_or(Ok(()), |fault| fault(point))
    }
}

#[cfg(not(any(test, feature = "testing")))]
#[derive(Default)]
pub(super) struct Faults {}

#[cfg(not(any(test, feature = "testing")))]
impl Faults {
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the form that tests need")]
    pub(super) fn pass(&self, _point: Point) -> io::Result<()> {
        Ok(())
    }
}
