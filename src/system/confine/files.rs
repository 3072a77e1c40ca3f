//! Confines files and servers (Linux, "Landlock: unprivileged access control").

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::needs::Needs;

/// The newest kernel interface that this code supports.
const KNOWN: ABI = ABI::V6;

/// What the program needs on any system: trusted certificates, name resolution and what the C
/// library loads for it, time zones, Kerberos, and what the system reports about itself.
const SYSTEM: [&str; 15] = [
    "/dev/null",
    "/dev/urandom",
    "/lib",
    "/lib64",
    "/proc",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share",
    "/var/opt/azcmagent/tokens",
];

const ETC: &str = "/etc";

/// The needed part of `/etc`. Nothing below these paths is secret. A keytab is named by the
/// configuration or a variable.
const PUBLIC_ETC: [&str; 25] = [
    "/etc/ca-certificates",
    "/etc/certs",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/gss",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/krb5",
    "/etc/krb5.conf",
    "/etc/krb5.conf.d",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/openssl/certs",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/timezone",
];

/// Returns what is to be readable in `/etc`. For an ordinary user, who cannot read its secrets
/// anyway, it is all of `/etc`. Files directly in it (`resolv.conf`, `hosts`) are replaced when
/// they change, and access to the old file does not extend to the new one. For root it is only what
/// is needed, unless `resolv.conf` is replaced there when the network changes.
fn etc(is_root: bool, names_are_replaced: bool) -> &'static [&'static str] {
    if is_root && !names_are_replaced { &PUBLIC_ETC } else { &[ETC] }
}

/// Whether `resolv.conf` is a file in `/etc` itself. It is not when it is a link to elsewhere, or
/// mounted, as in a container.
fn names_are_replaced() -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| std::os::unix::fs::MetadataExt::dev(&found)).ok();
    let file = Path::new(ETC).join("resolv.conf");
    match file.canonicalize() {
        Ok(real) => real.starts_with(ETC) && device(&real) == device(Path::new(ETC)),
        // It may still be created.
        Err(_) => true,
    }
}

/// The variables by which an operator names other certificates, or other files for Kerberos.
const VARIABLES: [&str; 4] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "KRB5_CONFIG", "KRB5_CLIENT_KTNAME"];

/// What the kernel enforces.
pub(super) struct Restricted {
    /// One sentence without full stop.
    pub(super) report: String,
    /// Whether it is everything that this code asks for.
    pub(super) is_complete: bool,
}

/// Restricts this thread, and those it starts, to what `needs` contains and what every system
/// needs.
///
/// # Errors
/// A sentence that says why nothing is restricted.
pub(super) fn restrict(needs: &Needs) -> Result<Restricted, String> {
    let is_root = rustix::process::geteuid().is_root();
    let etc = etc(is_root, names_are_replaced());
    let secrets = match is_root && etc == [ETC] {
        true => " (with all of /etc, because `/etc/resolv.conf` is replaced there. As root that is every secret in it)",
        false => "",
    };
    let status = apply(needs, etc).map_err(|error| format!("files and servers are open: {error}"))?;
    let servers = match &needs.connect {
        None => ", any server (a proxy script or Kerberos names them)".to_owned(),
        Some(ports) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!(", connections only to the ports {}", ports.join(", "))
        }
    };
    let (read, write) = (named(&needs.read), named(&needs.write));
    let all = format!(
        "reads only below the system's own directories{secrets} and {read}, writes only below {write}{servers} (Landlock)"
    );
    match status {
        RulesetStatus::FullyEnforced => Ok(Restricted { report: all, is_complete: true }),
        RulesetStatus::PartiallyEnforced => {
            Ok(Restricted { report: format!("only in part, because that needs Linux 6.12: {all}"), is_complete: false })
        }
        RulesetStatus::NotEnforced => Err("files and servers are open: the kernel has no Landlock".to_owned()),
    }
}

/// Names the first few paths.
fn named(paths: &BTreeSet<PathBuf>) -> String {
    const SHOWN: usize = 5;
    let mut words: Vec<String> = paths.iter().take(SHOWN).map(|path| format!("`{}`", path.display())).collect();
    match paths.len().checked_sub(SHOWN) {
        _ if words.is_empty() => words.push("none".to_owned()),
        Some(more) if more > 0 => words.push(format!("{more} more")),
        _ => {}
    }
    words.join(", ")
}

fn apply(needs: &Needs, etc: &[&str]) -> Result<RulesetStatus, RulesetError> {
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(KNOWN))?;
    if needs.connect.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    ruleset = ruleset.scope(Scope::Signal)?;
    // The service manager may listen on an abstract address.
    if !std::env::var("NOTIFY_SOCKET").is_ok_and(|address| address.starts_with('@')) {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    let mut ruleset = ruleset.create()?;
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let named = VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    for path in SYSTEM.iter().chain(etc).map(PathBuf::from).chain(named).chain(needs.read.iter().cloned()) {
        ruleset = allow(ruleset, &path, read)?;
    }
    ruleset = allow(ruleset, Path::new("/dev/null"), make_bitflags!(AccessFs::{ReadFile | WriteFile}))?;
    // In none of them may a program be started, or a device be created or controlled.
    let write = make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile | MakeSock
    });
    for path in &needs.write {
        ruleset = allow(ruleset, path, write)?;
    }
    for port in needs.connect.iter().flatten() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// Allows access to a path. A path that does not exist is skipped.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    ruleset.add_rule(PathBeneath::new(opened, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_reads_of_etc_what_is_public_unless_names_would_no_longer_be_resolved() {
        assert_eq!(etc(false, false), [ETC]);
        assert_eq!(etc(false, true), [ETC]);
        assert_eq!(etc(true, true), [ETC]);
        for secret in ["/etc/shadow", "/etc/gshadow", "/etc/ssl/private/key.pem", "/etc/pki/tls/private/key.pem"] {
            assert!(!etc(true, false).iter().any(|path| Path::new(secret).starts_with(path)), "{secret}");
        }
    }
}
