//! One client connection from accept to end: where protocol machines, tokens and sockets meet.
//!
//! [`enter`] is where each begins, and `balancer` finds out whose it is; `login` drives it until its login is decided, and
//! each `attempt` is judged and paid for as over HTTP; [`mail`] then relays, [`submission`] takes messages itself, and
//! [`maildrop`] serves POP3 out of Graph; [`http`] serves EWS and Graph.
//!
//! [`upstream`] opens and signs in to the other side, and `fresh_token` tries once more where that does not take the token;
//! `own_token` has clients' own tokens judged, in turns ([`trial`]); [`places`] bounds the sessions of a mailbox; [`announce`]
//! learns what the upstreams can do; [`farewell`] spreads the goodbyes of a service that stops; [`journal`] is told what
//! happens, and [`live`] knows who is there. Every line about one connection carries its session id.

pub mod accept;
mod attempt;
mod backend;
mod balancer;
pub mod capabilities;
mod connection_info;
mod context;
pub mod drain;
mod explain;
mod fresh_token;
pub mod http;
pub mod journal;
mod listener_state;
mod login;
pub mod mail;
pub mod mailbox_slots;
pub mod maildrop;
mod own_token;
pub mod registry;
pub mod submission;
pub mod trial;
pub mod upstream;

pub use backend::Backend;
pub use context::SessionContext;
pub use listener_state::ListenerState;
