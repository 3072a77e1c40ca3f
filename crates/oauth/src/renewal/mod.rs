//! Renewing the certificate of an application (Microsoft, "application: addKey", "application:
//! removeKey" and "Generate proof of possession tokens for rolling keys").
//!
//! [`record`] decides what comes next, from what was done so far. [`proof`] signs what Microsoft
//! Graph wants to see, and [`graph`] has the requests and their answers. All of that is pure: the
//! service sends requests and writes the files that [`place`] names.

pub mod graph;
pub mod place;
pub mod proof;
pub mod record;
