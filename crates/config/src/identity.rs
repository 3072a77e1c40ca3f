//! Reads the keys `certificate` and `private_key` of a section that serves TLS.

use super::model::listener::Identity;
use super::reader::Node;
use super::server_identity;

/// Reads both files, and checks that they belong together.
pub(super) fn read_identity(certificate: &Node<'_>, private_key: &Node<'_>) -> Option<Identity> {
    let context = certificate.context();
    let read = |node: &Node<'_>| {
        let path = context.path(node.text()?);
        match context.outside.read(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(error) => {
                let hint =
                    "name a PEM file that the user who runs Gatepost can read; `gatepost cert` makes one for tests";
                node.unreadable(&path, &error, hint);
                None
            }
        }
    };
    let (certificate_file, key_file) = (read(certificate), read(private_key));
    let ((certificate_path, chain), (key_path, key)) = (certificate_file?, key_file?);
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
    Some(Identity { certificate: certificate_path, private_key: key_path })
}
