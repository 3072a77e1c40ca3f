//! Passwords that were forwarded to Entra and not accepted, counted so that neither a restart nor another replica makes a
//! budget whole again. What they were is not kept.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::plain::{self, NotARecord};
use crate::clock::UnixTime;

/// One of them, refused or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    /// Stands for the account: a hash of its key.
    pub user: [u8; 16],
    /// Tells it from the account's other ones.
    pub id: u64,
    /// When it was forwarded.
    pub at: UnixTime,
    /// It came from a source where a login for this account had succeeded.
    pub familiar: bool,
}

/// Guesses are kept in so many records, by account: their number does not grow with the names that somebody tries.
pub const BUCKETS: u16 = 4_096;

#[derive(Serialize, Deserialize)]
struct GuessRecord {
    user: [u8; 16],
    id: u64,
    at: u64,
    familiar: bool,
}

pub(super) fn write(guesses: &[Guess]) -> Result<Zeroizing<Vec<u8>>, NotARecord> {
    let record =
        |guess: &Guess| GuessRecord { user: guess.user, id: guess.id, at: guess.at.0, familiar: guess.familiar };
    plain::write(&guesses.iter().map(record).collect::<Vec<_>>())
}

pub(super) fn read(plain: &[u8]) -> Result<Vec<Guess>, NotARecord> {
    let records: Vec<GuessRecord> = serde_json::from_slice(plain).map_err(|_| NotARecord)?;
    let guess = |record: GuessRecord| Guess {
        user: record.user,
        id: record.id,
        at: UnixTime(record.at),
        familiar: record.familiar,
    };
    Ok(records.into_iter().map(guess).collect())
}
