//! The life of an access token, from the request for it to the last login that uses it.

pub(crate) mod explain;
pub(crate) mod fetch;
pub(crate) mod outcome;
pub(crate) mod refresh;
pub(crate) mod rejected;
pub(crate) mod replicas;
pub(crate) mod scope;
pub(crate) mod sign_ins;
pub(crate) mod user;
