//! The page and endpoints for the administrator, separate from the listeners. `/livez`, `/readyz`
//! and `/metrics` are for programs. On the status page, accounts are signed in and device passwords
//! are created. A Unix socket serves `gatepost status`, commands to the service, and the process
//! that takes over from it.
//!
//! `guard` checks every request, `sessions` decides who may see more than the endpoints, and
//! `routes` puts them together. `places` keeps the connections of different clients apart. `status`
//! collects what is shown (`view`), `attention` what needs an administrator of it; `page` and `text`
//! show it.

mod answer;
mod attention;
mod bound;
mod causes;
#[cfg(unix)]
mod commands;
mod doctor;
#[allow(unreachable_pub, reason = "the attribute of a filter makes a public type of it")]
mod filters;
mod form;
mod guard;
mod new_password;
mod page;
mod pending;
mod places;
mod plot;
mod queue_routes;
pub(crate) mod queued;
mod routes;
mod server;
mod sessions;
mod sign_in;
mod sign_in_routes;
mod state;
mod status;
mod text;
mod units;
mod view;

pub use bound::{AdminError, Bound, Serving};
#[cfg(unix)]
pub(crate) use commands::TAKE_OVER;
