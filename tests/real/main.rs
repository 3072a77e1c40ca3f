//! Real mail programs against a real mail server, with Gatepost in between: curl, mbsync,
//! fetchmail, msmtp, swaks, Postfix, Python's libraries and JavaMail log in with a plain password
//! to a Dovecot that takes nothing but XOAUTH2, straight through Squid, and from a network that
//! only a proxy leads out of; a provider made of Authlib and Dovecot; sign-ins in Chromium; and the
//! programs that will read what `deploy/` brings. `tests/run` installs what is needed and runs them.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests measure real time, and end at a panic")]

mod accounts;
mod authlib;
mod authority;
#[cfg(feature = "sandbox")]
mod browser;
#[cfg(feature = "sandbox")]
mod browser_sign_ins;
#[cfg(feature = "sandbox")]
mod certificates;
#[cfg(feature = "sandbox")]
mod chromium;
mod closed;
#[cfg(feature = "sandbox")]
mod cloud;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each binary uses a part of it")]
mod common;
mod control;
mod corpus;
mod curl;
mod deploy;
mod dovecot;
mod entra;
#[cfg(feature = "sandbox")]
mod ews_clients;
mod fetchmail;
mod free_provider;
mod gatepost;
#[cfg(feature = "sandbox")]
mod graph_clients;
#[cfg(feature = "sandbox")]
mod http_clients;
mod island;
mod javamail;
mod kerberos;
#[cfg(feature = "sandbox")]
mod maildrop;
mod mbsync;
mod message;
#[cfg(feature = "sandbox")]
mod microsoft;
mod msmtp;
#[cfg(feature = "negotiate")]
mod negotiate;
#[cfg(feature = "sandbox")]
mod nginx_judge;
#[cfg(feature = "sandbox")]
mod nodemailer;
mod old_client;
mod process;
mod prometheus;
mod proxied;
mod proxies;
mod python;
#[cfg(feature = "sandbox")]
mod replicas_haproxy;
#[cfg(feature = "sandbox")]
mod sendmail;
mod sink;
mod squid;
mod submission;
mod swaks;
mod world;
