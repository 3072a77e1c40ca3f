//! The users of this machine, for messages: their names, and how to act as one of them.

use std::fs;

/// The users of this machine (passwd(5)).
const USERS: &str = "/etc/passwd";

/// The user that packages and the unit file run the service as.
pub const OF_SERVICE: &str = "gatepost";

/// Returns the name of the user with this id, or `#` and the number where the machine knows no name.
/// Both are words that `chown` and `sudo -u` take.
pub fn name(id: u32) -> String {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    // Users of directory services are not in the file.
    name_in(&users, id).map_or_else(|| format!("#{id}"), str::to_owned)
}

/// Returns the id of a user in `/etc/passwd`.
pub fn id_of(name: &str) -> Option<u32> {
    id_in(&fs::read_to_string(USERS).ok()?, name)
}

/// Returns how a command is run as the user with this id, such as `sudo -u gatepost`.
pub fn as_user(id: u32) -> String {
    as_named(&name(id))
}

pub(super) fn as_named(name: &str) -> String {
    if name.starts_with('#') { format!("sudo -u '{name}'") } else { format!("sudo -u {name}") }
}

/// Returns the command that gives `path` to a user, such as `chown -R gatepost: /var/lib/gatepost`.
/// If this process is not root's, it begins with `sudo`.
pub fn give_to(id: u32, path: &std::path::Path) -> String {
    let sudo = if own() == 0 { "" } else { "sudo " };
    let recursively = if path.is_dir() && !is_shared(path) { "-R " } else { "" };
    let (owner, path) = (owner(&name(id)), path.display().to_string());
    format!("{sudo}chown {recursively}{owner} {}", crate::suggestion::quoted(&path))
}

/// Whether a directory is one that other programs use too, or one user's home. Nobody should be told
/// to give all of it to another user.
pub(super) fn is_shared(directory: &std::path::Path) -> bool {
    const OF_ALL: [&str; 7] = ["/", "/etc", "/home", "/run", "/usr", "/var", "/usr/local"];
    let is_named = directory.file_name().is_some_and(|name| name.to_string_lossy().contains("gatepost"));
    let parent = directory.parent().map(|parent| parent.to_string_lossy().into_owned());
    directory.is_absolute() && !is_named && parent.is_none_or(|parent| OF_ALL.contains(&parent.as_str()))
}

/// Returns a user's name as `chown` takes it: with a colon, for the user's group. A number has none.
pub(super) fn owner(name: &str) -> String {
    name.strip_prefix('#').map_or_else(|| format!("{name}:"), str::to_owned)
}

/// Returns the id of the user that runs this process.
#[cfg(unix)]
pub fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns the id of the user that runs this process, which this system does not have.
#[cfg(not(unix))]
pub fn own() -> u32 {
    0
}

/// The name of a user, if it is one that a shell takes as it is.
fn name_in(users: &str, id: u32) -> Option<&str> {
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

fn id_in(users: &str, name: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        fields.next().filter(|found| *found == name)?;
        fields.nth(1)?.parse().ok()
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
            assert_eq!(name_in(users, id), expected, "{id}");
        }
        assert_eq!(name_in("", 0), None);
        for (name, expected) in [("gatepost", Some(997)), ("root", Some(0)), ("broken", None), ("", None)] {
            assert_eq!(id_in(users, name), expected, "{name}");
        }
    }

    #[test]
    fn nobody_is_told_to_give_away_what_others_use() {
        for shared in ["/", "/srv", "/var/lib"] {
            assert!(is_shared(shared.as_ref()), "{shared}");
        }
        for own in ["/gatepost", "/var/gatepost", "/var/lib/gatepost", "/srv/mail/state", "state"] {
            assert!(!is_shared(own.as_ref()), "{own}");
        }
    }

    #[test]
    fn a_user_without_a_name_is_told_by_number() {
        assert_eq!(as_user(3_999_999_999), "sudo -u '#3999999999'");
        assert!(give_to(3_999_999_999, "/nonexistent/a b".as_ref()).ends_with("chown 3999999999 '/nonexistent/a b'"));
    }
}
