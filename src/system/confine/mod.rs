//! Limits what an attacker gains from a bug in Gatepost. Once the configuration is read, the
//! process gives up files and servers that it does not need (Landlock), system calls that no mail
//! proxy makes (seccomp), and capabilities. All of this works on Linux, without root and without
//! systemd. Other systems have none of it, which the report says.
//!
//! It must be done before any thread starts, because the kernel confines threads one by one, with
//! their children.

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
