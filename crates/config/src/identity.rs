//! Reads the keys `certificate` and `private_key` of a section that serves TLS.

use std::time::Duration;

use super::finding::Severity;
use super::model::listener::Identity;
use super::purpose::{Purpose, Secret};
use super::reader::Node;
use super::{secrets, server_identity};
use gatepost_core::clock::Clock;

/// A certificate that expires within this time is reported, so that there is time to replace it.
const SOON: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Reads both files, and checks that they belong together.
pub(super) fn read_identity(certificate: &Node<'_>, private_key: &Node<'_>) -> Option<Identity> {
    let context = certificate.context();
    let read = |node: &Node<'_>| {
        let path = secrets::path(node)?;
        let hint = "name a PEM file that the user who runs Gatepost can read. `gatepost cert` makes one for tests";
        let content = node.content(&path, Purpose::Check, hint)?;
        Some((path, content))
    };
    let (certificate_file, key_file) = (read(certificate), read(private_key));
    let ((certificate_path, chain), (key_path, key)) = (certificate_file?, key_file?);
    let identity = Identity { certificate: certificate_path, private_key: key_path.clone() };
    let (Secret::Read(chain), Secret::Read(key)) = (chain, key) else { return Some(identity) };
    if context.outside.world_readable(&key_path) {
        let shown = key_path.display();
        context.note(format!("every user of this machine can read the private key `{shown}`. Run `chmod o-r {shown}`"));
    }
    if let Err(error) = server_identity::from_pem(&chain, &key) {
        let node = if error.is_about_certificate() { certificate } else { private_key };
        node.problem(error.to_string(), error.remedy());
        return None;
    }
    note_expiry(certificate, &identity, &chain);
    Some(identity)
}

/// Reports a certificate that has expired. A check also reports one that expires soon, of which the
/// running service reminds by itself.
fn note_expiry(node: &Node<'_>, identity: &Identity, chain: &[u8]) {
    let (now, shown) = (Clock::system().unix_time(), identity.certificate.display());
    let Some(expires) = server_identity::expiry(chain) else { return };
    let hint = "replace the file, which needs no restart";
    if expires <= now {
        let reason = format!("the certificate in `{shown}` expired on {expires}, so clients refuse to connect");
        node.find(Severity::Problem, reason, hint);
    } else if node.context().is_check() && expires <= now.after(SOON) {
        node.find(Severity::Warning, format!("the certificate in `{shown}` expires on {expires}"), hint);
    }
}
