//! The users that files belong to, for advice.

use std::fs;

/// The users of this machine (passwd(5)).
const USERS: &str = "/etc/passwd";

/// Returns how a command is run as the user with this id, such as `sudo -u gatepost`.
pub fn as_user(id: u32) -> String {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    match name(&users, id) {
        Some(name) => format!("sudo -u {name}"),
        // Users of directory services are not in the file.
        None => format!("sudo -u '#{id}'"),
    }
}

/// The name of a user, if it is one that a shell takes as it is.
fn name(users: &str, id: u32) -> Option<&str> {
    let is_plain = |name: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain)
    };
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| is_plain(name))?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_where_the_machine_knows_a_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\n\nbroken\n; rm:x:5:5::/:/bin/sh\n\
                     gatepost:x:997:996:Gatepost:/:/usr/sbin/nologin\n+::::::\n";
        for (id, expected) in [(0, Some("root")), (997, Some("gatepost")), (996, None), (5, None)] {
            assert_eq!(name(users, id), expected, "{id}");
        }
        assert_eq!(name("", 0), None);
    }

    #[test]
    fn a_user_without_a_name_is_told_by_number() {
        assert_eq!(as_user(3_999_999_999), "sudo -u '#3999999999'");
    }
}
