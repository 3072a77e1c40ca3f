//! The store, from outside: what is kept, what is refused, and what survives.

mod keeping;
mod support;
