//! Types that all of Gatepost shares: names of accounts ([`account`]), secrets that are never
//! printed ([`secret`]), time ([`clock`]), and failures with who must act ([`failure`]). The crate
//! knows no protocol, no file and no socket.
// Input from strangers must not cause a panic or a silently truncated number. (Every build checks
// overflow.) Tests may panic.
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
mod actor;
pub mod bounded_map;
pub mod cause;
pub mod clock;
pub mod escape;
pub mod failure;
pub mod jitter;
pub mod protocol;
pub mod rate_limit;
mod refusal;
pub mod reloadable;
pub mod secret;
pub mod server_name;
pub mod source;
pub mod system_error;
pub mod tuple_key;
