//! What the operating system offers a service: confinement, limits of the process, a word from systemd, Unix sockets, and
//! the notice that the machine was suspended.

pub mod confine;
#[cfg(unix)]
pub(crate) mod local_socket;
pub mod process;
pub mod suspend;
#[cfg(unix)]
pub(crate) mod systemd;
