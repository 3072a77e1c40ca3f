//! Compares a configuration with the machine, for `gatepost check`: the addresses to listen on, and
//! the state directory. Makes and changes nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use super::directory::DirectoryState;
use super::finding::Severity;
use super::model::admin::Admin;
use super::model::state::State;
use super::reader::{Node, Section};
use super::sockets::Holder;
use super::suggestion::quoted;
use super::user::{as_named, is_shared, owner};
use super::value;

/// Reports what the machine does not have or does not allow. Only a check does so, because the
/// service finds out by itself.
pub(super) fn check(root: &Section<'_>, state: &State, admin: &Admin) {
    if !root.context().is_check() {
        return;
    }
    let mut services = BTreeSet::new();
    for (_, node) in root.section("listeners").entries() {
        if let Some(bind) = node.section().get("bind") {
            check_binds(&bind, admin, &mut services);
        }
    }
    if let Some(bind) = root.section("admin").get("bind") {
        check_binds(&bind, admin, &mut services);
    }
    for process in services {
        let process = process.map_or_else(String::new, |id| format!(" (process {id})"));
        root.context().note(format!("the service of this configuration is running{process}, and has these addresses"));
    }
    if let State::Sqlite { directory, .. } = state {
        check_directory(&root.section("state"), directory);
    }
}

fn check_binds(node: &Node<'_>, admin: &Admin, services: &mut BTreeSet<Option<u32>>) {
    for item in node.items() {
        let Some(Ok(bind)) = item.as_text().map(value::bind) else { continue };
        for address in bind.addresses().filter(|address| address.port() != 0) {
            check_bind(&item, address, admin, services);
        }
    }
}

fn check_bind(node: &Node<'_>, address: SocketAddr, admin: &Admin, services: &mut BTreeSet<Option<u32>>) {
    let context = node.context();
    let is_local = address.ip().is_loopback() || address.ip().is_unspecified();
    if !is_local && !context.outside.has_address(address.ip()) {
        node.find(
            Severity::Warning,
            format!("this machine does not have the address `{}`", address.ip()),
            "correct it, unless the address comes later",
        );
        return;
    }
    let holder = context.outside.holder(address, &admin.service_sockets);
    let by = match &holder {
        // The right is of no matter for a socket that is open already.
        Some(Holder::Service(process)) => {
            services.insert(*process);
            return;
        }
        Some(Holder::SocketUnit) => {
            context.note(format!("a socket unit of systemd has `{address}`, and hands it over to the service"));
            return;
        }
        Some(Holder::Process { id, name }) => Some(format!("`{name}` (process {id})")),
        Some(Holder::OfUser(user)) if user == "root" => {
            node.find(
                Severity::Warning,
                format!("`{address}` is in use by a process of user root"),
                "unless it is a socket unit of systemd, stop that program, or write another port",
            );
            return;
        }
        Some(Holder::OfUser(user)) => Some(format!("a process of user {user}")),
        None => None,
    };
    if let Some(by) = by {
        let reason = format!("`{address}` is in use by {by}");
        node.find(Severity::Problem, reason, "stop that program, or write another port");
    } else if !context.outside.may_bind(address.port()) {
        node.find(
            Severity::Warning,
            format!(
                "port {} needs the right CAP_NET_BIND_SERVICE, which user {} does not have here",
                address.port(),
                context.outside.user(context.outside.own_user())
            ),
            "if the service has it or gets the socket from systemd, ignore this, or write a port from 1024 on",
        );
    }
}

fn check_directory(section: &Section<'_>, directory: &Path) {
    let outside = section.context().outside;
    let find = |severity, reason: String, hint: String| match section.get("directory") {
        Some(node) => node.find(severity, reason, hint),
        None => section.find(severity, reason, hint),
    };
    let (own, shown) = (outside.own_user(), directory.display());
    let sudo = if own == 0 { "" } else { "sudo " };
    let quoted = quoted(&shown.to_string());
    let chown = |user: u32| match is_shared(directory) {
        true => "name a directory that only Gatepost uses, such as `/var/lib/gatepost`".to_owned(),
        false => format!("run `{sudo}chown -R {} {quoted}`", owner(&outside.user(user))),
    };
    let of_service = outside.user_of_service().filter(|_| section.context().is_of_unit());
    let Some(found) = outside.directory(directory) else {
        // systemd creates that of the unit.
        if of_service.is_none() && !outside.is_directory(directory) && !outside.may_create(directory) {
            find(
                Severity::Problem,
                format!("`{shown}` does not exist, and user {} cannot create it", outside.user(own)),
                format!("run `sudo install -d -m 700 -o {} {quoted}`", outside.user(own)),
            );
        }
        return;
    };
    let DirectoryState { owner: of, is_writable, stranger } = found;
    match (of_service, stranger) {
        (Some(service), _) if of != service => find(
            Severity::Problem,
            format!(
                "`{shown}` belongs to user {}, and the service runs as {}",
                outside.user(of),
                outside.user(service)
            ),
            chown(service),
        ),
        (_, Some((file, other))) => find(
            Severity::Problem,
            format!(
                "`{}` belongs to user {}, and its directory to {}",
                file.display(),
                outside.user(other),
                outside.user(of)
            ),
            chown(of),
        ),
        _ if of == own && !is_writable => find(
            Severity::Problem,
            format!("user {} cannot write into `{shown}`", outside.user(own)),
            "make its file system and its mode allow that".to_owned(),
        ),
        _ if of == 0 && own != 0 => find(
            Severity::Problem,
            format!("`{shown}` belongs to user root, and this is user {}", outside.user(own)),
            format!("if the service runs as {0}, {1}", outside.user(own), chown(own)),
        ),
        _ if of != own && own != 0 => find(
            Severity::Warning,
            format!("`{shown}` belongs to user {}, and this is user {}", outside.user(of), outside.user(own)),
            format!("run this command as that user: `{} gatepost …`", as_named(&outside.user(of))),
        ),
        // Root may look at the store of any user, and the store refuses to be used by root.
        _ => {}
    }
}
