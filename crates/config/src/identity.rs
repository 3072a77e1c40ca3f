//! Reads the keys `certificate` and `private_key` of a section that serves TLS.

use super::model::listener::Identity;
use super::purpose::{Purpose, Secret};
use super::reader::Node;
use super::{secrets, server_identity};
use gatepost_core::clock::Clock;

/// Reads both files, and checks that they belong together.
pub(super) fn read_identity(certificate: &Node<'_>, private_key: &Node<'_>) -> Option<Identity> {
    let context = certificate.context();
    let read = |node: &Node<'_>| {
        let path = secrets::path(node)?;
        let hint = "name a PEM file that the user who runs Gatepost can read; `gatepost cert` makes one for tests";
        let content = node.content(&path, Purpose::Check, hint)?;
        Some((path, content))
    };
    let (certificate_file, key_file) = (read(certificate), read(private_key));
    let ((certificate_path, chain), (key_path, key)) = (certificate_file?, key_file?);
    let identity = Identity { certificate: certificate_path, private_key: key_path.clone() };
    let (Secret::Read(chain), Secret::Read(key)) = (chain, key) else { return Some(identity) };
    if context.outside.world_readable(&key_path) {
        let shown = key_path.display();
        context.note(format!(
            "everybody on this machine can read the private key `{shown}`; take that right away with `chmod o-r {shown}`"
        ));
    }
    if let Err(error) = server_identity::from_pem(&chain, &key) {
        let node = if error.is_about_certificate() { certificate } else { private_key };
        node.problem(error.to_string(), error.remedy());
        return None;
    }
    let now = Clock::system().unix_time();
    if let Some(expires) = server_identity::expiry(&chain).filter(|expires| *expires <= now) {
        let shown = identity.certificate.display();
        context.note(format!(
            "the certificate in `{shown}` expired on {expires}: clients that check it refuse to connect. Replace the file; that \
             needs no restart"
        ));
    }
    Some(identity)
}
