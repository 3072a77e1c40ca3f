//! What the operating system offers a service: confinement, limits of the process, messages from
//! and to systemd, Unix sockets, and the detection of a suspend.

pub mod confine;
#[cfg(unix)]
pub(crate) mod local_socket;
pub mod process;
pub mod suspend;
#[cfg(unix)]
pub(crate) mod systemd;
