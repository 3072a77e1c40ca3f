//! Reports what happens: the log, the audit log, metrics, and the data of the status page.
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

pub mod audit;
pub mod history;
mod journald;
pub mod log;
pub mod metrics;
mod rate;
pub mod recent;
pub mod stderr;
