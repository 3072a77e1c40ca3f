//! No secret is ever written: the program itself is run, as talkative as it gets, through
//! everything that can go right or wrong, and all that it writes is searched for each secret in
//! every form: both streams, what clients hear, and every file in its directories.

mod canaries;
mod commands;
mod mail;
mod memory;
mod program;
mod scanner;
mod service;
mod types;
