//! EWS and Graph over HTTP Basic: what reaches Microsoft, and what the client hears.

mod autodiscover;
pub(crate) mod client;
mod endings;
mod faults;
mod frames;
pub(crate) mod guessing;
mod hygiene;
mod origin;
mod refusals;
mod requests;
mod streams;
