//! TLS: the one place that names rustls builders.

pub mod identity;
