//! What the queue promises, and what the disk may do to it.

mod keeping;
mod world;
