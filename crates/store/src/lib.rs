//! What outlives the process: sign-ins with their refresh tokens, device passwords, and how often passwords were guessed.
//!
//! [`Store`] is what the rest of the program sees, and [`open`](open()) makes one. Values are sealed by the implementation that
//! writes them somewhere; they are plain only in memory. Every call ends within a deadline of the implementation's own.
//!
//! `sealed` puts two things together: `records`, what a database does (`sqlite`, `redis`), and `seal`, how a record is
//! closed and opened; `register` sees to it that what was revoked stays so, and `sealed_store` makes a [`Store`] of all. `key`
//! and `files` see to the state key and to who may read what. Around it `durable` keeps in memory what a database did not
//! take.
// What a stranger sends must not end in a panic, nor in a number that was quietly cut short. (Overflow is checked in every
// build.) Tests may panic.
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

pub mod device_password;
mod error;
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "only tests call it")]
pub mod faulty;
mod files;
mod guesses;
mod interface;
mod key;
mod memory;
mod open;
mod outcome;
mod plain;
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
mod sealed_store;
mod shared_tokens;
mod sign_in;
mod sqlite;

pub use device_password::{DevicePassword, DevicePasswordId, LastUse, Verifier};
pub use error::OpenError;
pub use files::FileProblem;
pub use guesses::{BUCKETS, Counts, Familiar, Guess, Person};
pub use interface::Store;
pub use key::KeyProblem;
pub use memory::MemoryStore;
pub use open::open;
pub use outcome::{Lease, StoreError, Stored, Version};
pub use replicas::{SharedKey, SharedToken, SharedTokens};
pub use retrying::RetryingStore;
pub use rotate::{RotateError, Rotation, rotate_key};
pub use sign_in::{SignIn, SignInKey, SignInRefused};
pub use sqlite::SqliteProblem;
