//! The words that all of Gatepost shares: who logs in ([`account`]), what must not be printed ([`secret`]), what time it is
//! ([`clock`]), what went wrong, why and who acts ([`failure`], [`cause`]). It knows no protocol, no file and no socket.
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

pub mod account;
pub mod bounded_map;
pub mod cause;
pub mod clock;
pub mod escape;
pub mod failure;
pub mod jitter;
pub mod protocol;
pub mod rate_limit;
pub mod reloadable;
pub mod secret;
pub mod source;
pub mod tuple_key;
