//! The section `admin`.

use super::Admin;
use super::reader::Section;
use super::value::{self, wrong};

/// Reads the section; without it there is neither page nor socket.
pub(super) fn read(section: &Section<'_>) -> Option<Admin> {
    let bind = match section.get("bind") {
        Some(node) => node
            .items()
            .iter()
            .map(|item| {
                item.read(|text| {
                    let address = value::bind(text)?;
                    if address.ip().is_loopback() {
                        Ok(address)
                    } else {
                        wrong(
                            "the page would be open to other machines",
                            "bind it to loopback, such as `127.0.0.1:9180`",
                        )
                    }
                })
            })
            .collect::<Option<Vec<_>>>(),
        None => Some(Vec::new()),
    };
    let socket = section.get("socket").map(|node| node.text().map(|text| node.context().path(text)));
    section.finish();
    let socket = match socket {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Admin { bind: bind?, socket })
}
