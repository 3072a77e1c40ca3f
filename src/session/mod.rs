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

pub mod announce;
mod attempt;
mod balancer;
pub mod enter;
mod explain;
pub mod farewell;
mod fresh_token;
pub mod http;
pub mod journal;
pub mod live;
mod login;
pub mod mail;
pub mod maildrop;
mod own_token;
pub mod places;
mod service;
mod serving;
mod shared;
mod subject;
pub mod submission;
pub mod trial;
pub mod upstream;

pub use service::Service;
pub use serving::Serving;
pub use shared::Shared;
