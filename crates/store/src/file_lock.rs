//! The lock on a file.

use std::fs::{File, TryLockError};
use std::io;

/// A file that this process alone has locked, until this is dropped or the process ends.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Locks a file. `None`: another open file has the lock, in this process or in another one.
    ///
    /// # Errors
    /// Those of the system, such as a file system without locks.
    pub fn take(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for FileLock {
    /// Unlocks, because closing is not enough: a child process has a copy of each open file until
    /// its program begins, and the lock lasts as long as any copy (flock(2)).
    fn drop(&mut self) {
        let _closing_is_what_is_left = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_although_a_child_still_has_a_copy_of_the_file() {
        let directory = crate::sample::directory();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        let copy_of_a_child = file.try_clone().unwrap();
        let lock = FileLock::take(file).unwrap().unwrap();
        assert!(FileLock::take(File::open(&path).unwrap()).unwrap().is_none());
        drop(lock);
        assert!(FileLock::take(File::open(&path).unwrap()).unwrap().is_some());
        drop(copy_of_a_child);
    }
}
