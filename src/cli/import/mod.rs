//! `gatepost import`: turns the configuration of another proxy into one of Gatepost.
//!
//! A reader per format makes a plan: listeners and accounts, each value with the place that it
//! came from. `draft` writes and checks it, and `report` says where the secrets have to be. A secret
//! only leaves the file for a file that `--write-secrets` names.

mod answers;
mod command;
mod davmail;
mod elsewhere;
mod email_oauth2_proxy;
mod emailproxy_config;
mod endpoint;
mod env_file;
mod genesys;
mod ini;
mod mistake;
mod properties;
mod report;
mod smtp_oauth_relay;
mod source;

#[cfg(test)]
mod tests;

pub use command::import;
