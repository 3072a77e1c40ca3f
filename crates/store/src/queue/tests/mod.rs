//! What the queue promises, and what the disk may do to it.

mod damage;
mod faults;
mod keeping;
mod keys;
mod sharing;
mod world;
