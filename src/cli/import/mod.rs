//! `gatepost import`: turns the configuration of another proxy into one of Gatepost.
//!
//! A reader per format makes a `plan`: listeners and accounts, each value with the place that it
//! came from. `yaml` writes it, `verify` checks the result, and `report` says what is left for
//! the administrator to do. A secret only leaves the file for a file that `--write-secrets` names.

mod answers;
mod command;
mod davmail;
mod email_oauth2_proxy;
mod endpoint;
mod env_file;
mod genesys;
mod ini;
mod mistake;
mod origin;
mod plan;
mod properties;
mod report;
mod secrets;
mod smtp_oauth_relay;
mod source;
mod target;
mod verify;
mod yaml;

#[cfg(test)]
mod tests;

pub use command::import;
