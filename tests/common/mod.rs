//! What tests of every kind need: directories, ports, patience, commands that a person sits in front
//! of, and this test program once more.
//! Each binary of `tests/` includes it and uses a part of it.

pub(crate) mod again;
pub(crate) mod directory;
pub(crate) mod outside;
pub(crate) mod port;
pub(crate) mod running;
pub(crate) mod wait;
