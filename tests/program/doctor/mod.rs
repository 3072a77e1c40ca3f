//! `gatepost doctor`: what it says of a healthy Gatepost, and of each fault before a client meets
//! it.

mod entra;
mod healthy;
mod imported;
mod listeners;
mod mailboxes;
mod network;
mod ntlm_proxy;
mod page;
#[cfg(unix)]
mod service;
mod service_accounts;
mod support;
