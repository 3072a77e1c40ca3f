//! What the process gives up once its configuration is read, so that whoever takes it over by a fault of ours gains little:
//! files it does not need (Landlock), servers it does not need (Landlock), system calls that no mail proxy makes (seccomp),
//! and capabilities. All of it on Linux, without root and without systemd; elsewhere nothing, and it says so.
//!
//! It is begun before any thread is, because the kernel confines threads one by one and their children with them.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod capabilities;
mod confinement;
#[cfg(target_os = "linux")]
mod files;
mod needs;

pub use confinement::{Confinement, NotConfined, enter};
pub use needs::Needs;
