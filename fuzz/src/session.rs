//! A relayed SMTP session, of which only what is open is known.

use gatepost_proto::mail::smtp::{RefusedCommand, TransactionTracker};

use super::recipe::{Chunks, Recipe};

/// `0xFF` divides the turns, of which the client has the first.
pub fn check(data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        assert_eq!(follow(&recipe, false), follow(&recipe, true));
    }
}

/// What is known after each turn: whether the session rests, whether a message was sent, and what
/// was refused.
fn follow(recipe: &Recipe<'_>, split: bool) -> Vec<(bool, bool, Vec<RefusedCommand>)> {
    let mut tracker = TransactionTracker::default();
    let mut chunks = recipe.chunks(split);
    let turns = recipe.flights().enumerate().map(|(number, mut rest)| {
        while !rest.is_empty() {
            let (chunk, behind) = Chunks::cut(&mut chunks, rest);
            if number % 2 == 0 {
                tracker.client_said(chunk)
            } else {
                tracker.server_said(chunk)
            }
            rest = behind;
        }
        let refused = std::iter::from_fn(|| tracker.take_refused()).collect();
        (tracker.is_at_rest(), tracker.has_sent(), refused)
    });
    turns.collect()
}
