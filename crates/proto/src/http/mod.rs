//! What a client of the EWS and Graph listeners sends, judged and rewritten: pure, without sockets, clock or runtime.
//!
//! [`head`] lets only requests of one meaning through to the HTTP library; [`target`] says where a request may go;
//! [`fields`] which header fields pass; [`basic`] takes the credentials; [`soap`] names the mailbox in an EWS request;
//! [`links`] leads the links in an answer back to the listener; [`fault`] puts a refusal into the words of the protocol.

pub mod basic;
pub mod fault;
pub mod fields;
pub mod head;
pub mod host;
pub mod links;
pub mod rules;
pub mod soap;
pub mod target;
