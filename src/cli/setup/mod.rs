//! `gatepost setup`: from a tenant's name to a working configuration with least privilege.
//!
//! `answers` says what has to work, from flags, a file, and `dialogue`, and
//! `contradictions` what does not fit in them. `recommendation` chooses the
//! grant, and `tenant` the rights that it needs in Entra and Exchange Online. `configuration` makes
//! the files of this machine, with the application's certificate of `identity`. `powershell` and
//! `azure` make the scripts for the tenant. With a token, `online` and `graph` do Entra's part from
//! here. `files` writes, and replaces nothing without being told.

mod answers;
mod azure;
mod command;
mod configuration;
mod contradictions;
mod dialogue;
mod files;
mod graph;
mod identity;
mod online;
mod powershell;
mod recommendation;
mod tenant;

pub use command::setup;
