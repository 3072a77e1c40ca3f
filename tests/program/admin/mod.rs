//! The page, the endpoints and the socket for whoever runs Gatepost: who may see what, and that
//! what is shown and done there is true of the service.

mod command;
mod doing;
mod doors;
mod endpoints;
mod forms;
mod http;
mod neighbours;
mod providers;
mod queue;
mod sign_in;
#[cfg(unix)]
mod socket;
mod strangers;
pub(crate) mod support;
