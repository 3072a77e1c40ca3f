//! Data that outlives the process: sign-ins with their refresh tokens, device passwords, and how
//! often passwords were guessed.
//!
//! [`Store`] is the interface for the rest of the program, and [`open()`] creates one. Values are
//! sealed wherever they are written; they are plain only in memory. Every call ends within a
//! deadline of its own implementation.
//!
//! `sealed` combines `records`, the interface of a database (`sqlite`, `redis`), and `seal`, which
//! encrypts and decrypts a record. `register` makes sure that what was revoked stays revoked, and
//! `sealed_store` makes a [`Store`] of all. `key` reads the state key, and `files` checks file
//! permissions. Around them `retrying` keeps in memory what a database did not take.
// Input from outside must not cause a panic or a silently truncated number. (Overflow is checked in
// every build.) Tests may panic.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure real time"))]

mod database;
pub mod device_password;
mod devices;
mod error;
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "only tests call it")]
pub mod faulty;
mod file_lock;
mod files;
mod guesses;
mod interface;
mod key;
mod memory;
mod open;
mod outcome;
mod plain;
pub mod queue;
mod records;
mod redis;
mod register;
mod replicas;
mod retrying;
mod rotate;
#[cfg(test)]
mod sample;
mod seal;
mod sealed;
mod sealed_file;
mod sealed_store;
mod shared_tokens;
mod sign_in;
mod sqlite;

pub use database::SqliteProblem;
pub use device_password::{DevicePassword, DevicePasswordId, LastUse, Verifier};
pub use devices::{DEVICE_BUCKETS, Device, DeviceFailure, SENDERS, STRANGERS, device_bucket};
pub use error::OpenError;
pub use file_lock::FileLock;
pub use files::FileProblem;
pub use guesses::{BUCKETS, Counts, Familiar, Guess, Person};
pub use interface::Store;
pub use key::KeyProblem;
pub use memory::MemoryStore;
pub use open::{exists, open};
pub use outcome::{Lease, StoreError, Stored, Version};
pub use replicas::{SharedKey, SharedToken, SharedTokens};
pub use retrying::RetryingStore;
pub use rotate::{RotateError, Rotation, rotate_key};
pub use sealed_file::{SEGMENT, SealedFile, SealedWriter};
pub use sign_in::{SignIn, SignInKey, SignInRefused};
