//! How an application proves itself: the configuration's own files, the product's token source over
//! HTTPS, and the embedded Entra, which checks every signature, thumbprint, audience and time.

mod certificate;
mod federated;
mod managed_identity;
mod registration;
mod renewal;
mod rotation;
mod support;
