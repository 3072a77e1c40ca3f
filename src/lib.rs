//! Gatepost keeps old mail programs working with Microsoft 365. A client logs in with a user name
//! and a password over IMAP, POP3, SMTP or HTTP Basic. Gatepost gets an OAuth 2.0 access token from
//! Microsoft Entra ID, signs in to Exchange Online with SASL XOAUTH2, directly or through a
//! corporate proxy, and relays the connection.
//!
//! `ARCHITECTURE.md` has the map of crates and modules, one login as the code runs it, and where a
//! change belongs. The types say how far a login is: only a finished [`proto::UpstreamSide`] makes
//! a [`proto::Authenticated`], and nothing is relayed without one.
//!
//! # Attacks, and where each one ends
//! * Any password opens a cached token: the token stands behind a keyed hash of the password that
//!   earned it ([`login`]).
//! * A client's own token that nobody made: the mail server or Microsoft Graph judges it before the
//!   client is in, and until then it takes nothing of the mailbox ([`session`]).
//! * Guesses lock the account out at Entra: refused passwords are remembered, and forwarded within
//!   a budget, of which sources that logged in before keep a part ([`login`]). Streams and
//!   connections side by side count before their verdict ([`session::http`]).
//! * A login for one mailbox opens another one through EWS: with a user's token only that user's
//!   own is served ([`session::http`]).
//! * A mail connection makes a person sign in for a stranger: only `gatepost login` begins a
//!   sign-in, and only the account's own person finishes one (`login::person`).
//! * Commands or replies slipped in before STARTTLS: both sides demand an empty buffer at the
//!   switch ([`proto`]).
//! * A second identity in the user name (`^A`): names are checked types before anything is built
//!   from them ([`account`]).
//! * A server or proxy in between that lies: its words are parsed, never copied, before TLS is
//!   verified and XOAUTH2 has succeeded ([`proto`]).
//! * A message that two readers understand in two ways (recipients, blind copies, line ends): it is
//!   refused before Graph reads it ([`mime`]).
//! * A second message smuggled behind the first, or a sender that a device has made up: a message
//!   ends at CRLF.CRLF alone, and a client that needs no login is held to one mailbox ([`smtp`],
//!   [`session::submission`]).
//! * Records that somebody without the state key writes into the database: what was altered, moved
//!   or put back under another version does not open, and a device password that was revoked stays
//!   so (`store::register`).
//! * Memory or time taken before the login: every buffer has a bound and every wait a deadline
//!   ([`config::Limits`]). A peer that reads nothing fills no memory ([`tls::session`]), and one
//!   that sends octet by octet costs linear work ([`soap`]).
//! * Another user of the machine answers the administrator's browser, or gets its cookie: the
//!   status page has both loopback addresses, and each session a path of its own ([`admin`]).
//! * Secrets in logs: they are types that cannot be formatted ([`secret`]).
//!
//! [`account`]: gatepost_core::account
//! [`config::Limits`]: gatepost_config::Limits
//! [`mime`]: gatepost_proto::mime
//! [`proto`]: gatepost_proto
//! [`proto::Authenticated`]: gatepost_proto::mail::Authenticated
//! [`proto::UpstreamSide`]: gatepost_proto::mail::UpstreamSide
//! [`secret`]: gatepost_core::secret
//! [`smtp`]: gatepost_proto::mail::smtp
//! [`soap`]: gatepost_proto::http::soap
//! [`tls::session`]: gatepost_net::tls::session

// What a stranger sends must not end in a panic, nor in a number that was quietly cut short.
// (Overflow is checked in every build.) Tests may panic.
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
        clippy::cast_sign_loss,
        // A closed pipe must not end a command: see `cli::output`.
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

pub mod admin;
pub mod app;
pub mod cli;
mod client_settings;
pub mod daemon;
pub(crate) mod doctor;
pub mod graph;
pub mod login;
#[allow(clippy::indexing_slicing, reason = "its buffers are cut where a read ended")]
pub mod session;
pub mod system;
