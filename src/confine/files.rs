//! Files and servers (Linux, "Landlock: unprivileged access control").

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::Needs;

/// The newest kernel interface that this code knows.
const KNOWN: ABI = ABI::V6;

/// What the program needs of any system: trusted certificates, name resolution and what the C library loads for it, time
/// zones, Kerberos, and what it says of itself. The whole of `/etc`, because what stands there directly (`resolv.conf`,
/// `hosts`) is replaced, not changed, when the network is another one.
const SYSTEM: [&str; 16] = [
    "/etc",
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

/// The variables by which an operator names other certificates, and Kerberos other files.
const VARIABLES: [&str; 4] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "KRB5_CONFIG", "KRB5_CLIENT_KTNAME"];

/// Leaves this thread and those it begins with what `needs` has, and what every system needs.
///
/// # Errors
/// What is missing, as a sentence.
pub(super) fn restrict(needs: &Needs) -> Result<String, String> {
    let status = apply(needs).map_err(|error| format!("files and servers are open: {error}"))?;
    let servers = match &needs.connect {
        None => ", any server (a proxy script or Kerberos names them)".to_owned(),
        Some(ports) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!(", connections only to the ports {}", ports.join(", "))
        }
    };
    match status {
        RulesetStatus::FullyEnforced => {
            let (read, write) = (named(&needs.read), named(&needs.write));
            Ok(format!(
                "reads only below the system's own directories and {read}, writes only below {write}{servers} (Landlock)"
            ))
        }
        RulesetStatus::PartiallyEnforced => {
            Err("files and servers are confined only in part: the kernel's Landlock is older \
                                                 than what Gatepost asks for"
                .to_owned())
        }
        RulesetStatus::NotEnforced => Err("files and servers are open: the kernel has no Landlock".to_owned()),
    }
}

/// The first few paths.
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

fn apply(needs: &Needs) -> Result<RulesetStatus, RulesetError> {
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(KNOWN))?;
    if needs.connect.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    ruleset = ruleset.scope(Scope::Signal)?;
    // The service manager may listen at an abstract address.
    if !std::env::var("NOTIFY_SOCKET").is_ok_and(|address| address.starts_with('@')) {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    let mut ruleset = ruleset.create()?;
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let named = VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    for path in SYSTEM.iter().map(PathBuf::from).chain(named).chain(needs.read.iter().cloned()) {
        ruleset = allow(ruleset, &path, read)?;
    }
    ruleset = allow(ruleset, Path::new("/dev/null"), make_bitflags!(AccessFs::{ReadFile | WriteFile}))?;
    // No program may be started, and no device be made or asked, in any of them.
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

/// What is not there cannot be needed.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    ruleset.add_rule(PathBeneath::new(opened, access))
}
