//! EWS and Graph over HTTP Basic: what reaches Microsoft, and what the client hears.

mod answers;
mod autodiscover;
pub(crate) mod client;
mod connections;
mod endings;
mod faults;
mod frames;
pub(crate) mod guessing;
mod hygiene;
mod origin;
mod refusals;
mod requests;
mod streams;
