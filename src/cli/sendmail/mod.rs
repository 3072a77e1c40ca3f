//! `gatepost sendmail`: takes a message from a program as sendmail does, and hands it to the running
//! service. A link named `sendmail` does the same.
//!
//! `arguments` reads the command line, `lines` the message, and `spool` keeps it until it is
//! complete. `letter` completes its header and finds its recipients. `client` hands it over.

mod arguments;
mod client;
mod command;
mod dsn;
mod letter;
mod lines;
mod outcome;

pub use command::{called, sendmail};
