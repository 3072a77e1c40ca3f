//! EWS and Graph over HTTP Basic: what reaches Microsoft, and what the client hears.

mod autodiscover;
mod client;
mod endings;
mod faults;
mod frames;
mod guessing;
mod hygiene;
mod origin;
mod refusals;
mod requests;
mod streams;
