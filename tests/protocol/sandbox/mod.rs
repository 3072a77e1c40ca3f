//! The embedded Microsoft 365 over real sockets: what clients say to it, and what it answers.

mod applications;
mod deliveries;
mod ews;
mod exchange;
mod graph;
mod graph_uploads;
mod mail;
