//! One client connection from accept to end: connects protocol machines, tokens and sockets.
//!
//! [`accept`] begins each connection, and `balancer` finds the client behind a load balancer.
//! `login` drives the connection until its login is decided. Each `attempt` to log in is judged and
//! charged in the same way for mail and HTTP. `handshake` says why TLS with a client failed. After the login, [`mail`] relays, [`submission`]
//! takes messages itself, [`maildrop`] serves POP3 from Graph, and [`http`] serves EWS and Graph.
//!
//! [`upstream`] connects to the upstream and signs in there, and `sign_in` has [`mailbox_memory`]
//! remember what it says about a mailbox. If the upstream refuses the token,
//! `fresh_token` tries once more with another, and `refused_login` explains
//! with the `token_holder` what is missing. `own_token` has clients' own tokens judged, and
//! [`trial`] limits how many at once. [`mailbox_slots`] limits the sessions of a mailbox.
//! [`capabilities`] learns what the upstreams can do. [`drain`] spreads the end of sessions over
//! the time of a shutdown. [`journal`] is told what happens (`incident`), at the level that
//! `severity` gives it and without `repeats`, and [`registry`] knows the live sessions. `mail_refusal`
//! explains why Exchange Online refuses a message. `devices` notes which clients connect. Every log line about one connection carries its session id.

pub mod accept;
mod attempt;
mod backend;
mod balancer;
pub mod capabilities;
mod connection_info;
mod context;
pub(crate) mod devices;
pub mod drain;
mod explain;
mod fresh_token;
mod handshake;
pub mod http;
mod incident;
pub mod journal;
mod listener_state;
mod login;
pub mod mail;
mod mail_refusal;
pub mod mailbox_memory;
pub mod mailbox_slots;
pub mod maildrop;
mod own_token;
pub(crate) mod probe;
mod refused_login;
pub mod registry;
mod repeats;
pub(crate) mod severity;
mod sign_in;
pub mod submission;
mod token_holder;
pub mod trial;
mod turned_away;
pub mod upstream;

pub use backend::Backend;
pub use context::SessionContext;
pub use listener_state::ListenerState;
