//! The queue of the installed program: what it promises, whatever happens to it, to Microsoft, and
//! to the disk.

mod crashes;
mod devices;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod memory;
mod oracle;
mod people;
mod restart;
mod world;
