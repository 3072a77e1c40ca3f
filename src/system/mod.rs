//! What the operating system offers a service: confinement, limits of the process, threads of lower
//! priority, messages from and to systemd, Unix sockets, and the detection of a suspend.

pub mod confine;
#[cfg(unix)]
pub(crate) mod local_socket;
pub(crate) mod low_priority;
pub mod process;
pub mod suspend;
#[cfg(unix)]
pub(crate) mod systemd;
