//! The page and endpoints for whoever runs Gatepost, apart from the listeners: `/livez`, `/readyz` and `/metrics` for programs,
//! a status page on which accounts are signed in and device passwords are made, and a Unix socket for `gatepost status`, for
//! commands to the service, and for the process that takes over from it.
//!
//! `guard` holds for every request, `sessions` says who may see more than the endpoints, `routes` puts them together.
//! `places` keeps everybody's connections apart.
//! `status` is what there is to show; `page` and `text` show it.

mod answer;
mod bound;
#[cfg(unix)]
mod commands;
mod form;
mod guard;
mod page;
mod pending;
mod places;
mod plot;
mod routes;
mod server;
mod sessions;
mod sign_in;
mod sign_in_routes;
mod state;
mod status;
mod text;

pub use bound::{AdminError, Bound, Serving};
#[cfg(unix)]
pub(crate) use commands::TAKE_OVER;
