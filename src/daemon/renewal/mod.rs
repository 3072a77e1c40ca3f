//! Renews the certificates of applications that have `renew`: creates a new one, lets Microsoft
//! Graph add it, tries it, puts it in place of the old one, and removes that after a while.
//!
//! `gatepost_oauth::renewal` decides what comes next. `files` has the files, `steps` does one
//! step after the other for one certificate, and `schedule` does so for all of them, when it is
//! time.

mod files;
mod schedule;
mod steps;

pub use schedule::Renewals;
pub(crate) use schedule::keep_renewing;
