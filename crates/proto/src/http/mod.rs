//! Checks and rewrites the requests of EWS and Graph clients, and the responses, without sockets,
//! clock or runtime.
//!
//! [`head`] forwards only requests with exactly one meaning to the HTTP library. [`target`] checks
//! the path of a request, [`fields`] selects the header fields to forward, and [`basic`] takes the
//! credentials. [`soap`] sets the mailbox in an EWS request, [`links`] rewrites links in a response
//! to the listener, and [`fault`] writes refusals in the form of the protocol. [`error_code`] finds
//! Microsoft's own code in a refusal, and [`autodiscover`] answers where EWS is.

pub mod autodiscover;
pub mod basic;
pub mod error_code;
pub mod fault;
pub mod fields;
pub mod head;
pub mod host;
pub mod links;
pub mod rules;
pub mod soap;
pub mod target;
