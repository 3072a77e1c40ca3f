//! The listeners of this machine: whether each is open, and whether clients will accept its
//! certificate.

use std::net::{IpAddr, SocketAddr};

use tokio::task::JoinError;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::entra::day;
use super::facts::Facts;
use super::step::{Section, Step};
use crate::daemon::certificates;
use gatepost_config::{Bind, Holder, Listener, has_address, holder, may_bind, server_identity, user};
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::{Actor, Failure};

const HERE: Section = Section::Clients;
/// A certificate that expires within so many days is told.
const DAYS_BEFORE_EXPIRY: i64 = 30;
const DAY: i64 = 24 * 3_600;

/// What the certificate of a listener says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Presented {
    expires: UnixTime,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    is_ecdsa: bool,
}

pub(super) fn steps(facts: &Facts, now: UnixTime) -> Vec<Step> {
    let mut steps: Vec<Step> = facts.config.listeners.iter().map(|listener| open(facts, listener)).collect();
    for service in &facts.services {
        let listener = &service.listener;
        let Some(identity) = certificates::identity(&listener.tls) else { continue };
        match server_identity::load(identity) {
            Ok(certified) => {
                let presented = certified.cert.first().and_then(|der| read(der));
                steps.extend(presented.into_iter().flat_map(|presented| certificate(listener, &presented, now)));
            }
            Err(error) => {
                let remedy = (Actor::GatepostAdmin, error.remedy().to_owned());
                let text = format!("certificate cannot be used: {error}");
                steps.push(Step::problem(HERE, subject(listener), text, remedy));
            }
        }
    }
    steps
}

/// Returns what the task found, or the step that it broke off.
pub(super) fn found(joined: Result<Vec<Step>, JoinError>) -> Vec<Step> {
    joined.unwrap_or_else(|_| {
        let text = "looking at the listeners broke off because of an error inside Gatepost";
        vec![Step::failed(HERE, "listeners", &Failure::new(Cause::InternalError, text))]
    })
}

fn subject(listener: &Listener) -> String {
    format!("listener {}", listener.name)
}

/// Whether a listener is open.
fn open(facts: &Facts, listener: &Listener) -> Step {
    let subject = subject(listener);
    if let Some(listening) = &facts.listening {
        let at: Vec<String> =
            listening.iter().filter(|(name, _)| *name == listener.name).map(|(_, at)| at.to_string()).collect();
        return match at.is_empty() {
            false => Step::ok(HERE, subject, format!("open at {}", at.join(" and "))),
            true => {
                let remedy = (Actor::GatepostAdmin, "run `gatepost reload`, then look at the log".to_owned());
                Step::problem(HERE, subject, "not open", remedy)
            }
        };
    }
    let of_listener = || listener.bind.iter().flat_map(|bind| bind.addresses());
    // Port 0 is any port that is free.
    let mut found = of_listener().filter(|address| address.port() != 0).map(|address| {
        let holder = holder(address, &facts.service_sockets);
        held(&subject, address, holder, facts.is_running())
    });
    found.find_map(|step| step).unwrap_or_else(|| {
        let text = match facts.is_running() {
            None => "not open, as far as is known here",
            Some(_) => "not open, because no service is running",
        };
        Step::skipped(HERE, subject, text)
    })
}

/// What stands in the way of a service that starts and wants to listen at an address, or has it
/// already. `None`: nothing. `is_running`: whether a service answers at a socket.
fn held(subject: &str, address: SocketAddr, holder: Option<Holder>, is_running: Option<bool>) -> Option<Step> {
    let open = |by: &str| Some(Step::ok(HERE, subject, format!("open at {address}, {by}")));
    let perhaps = |by: &str| {
        let text = format!("{address} is in use by {by}, perhaps the service of this configuration");
        Some(Step::skipped(HERE, subject, text))
    };
    let by = match holder {
        Some(Holder::Service(Some(id))) => return open(&format!("by the running service (process {id})")),
        Some(Holder::Service(None)) => return open("by the running service"),
        Some(Holder::SocketUnit) => return open("by a socket unit of systemd, which hands it over to the service"),
        // Without a socket the service cannot be told from another one.
        Some(Holder::Process { id, name }) if is_running.is_none() && name == env!("CARGO_PKG_NAME") => {
            return perhaps(&format!("`{name}` (process {id})"));
        }
        Some(Holder::Process { id, name }) => format!("`{name}` (process {id})"),
        Some(Holder::OfUser(user)) if is_running.is_none() => return perhaps(&format!("a process of user {user}")),
        Some(Holder::OfUser(user)) if user == "root" => {
            let remedy = "unless it is a socket unit of systemd, stop that program, or set another port in `bind`";
            let text = format!("{address} is in use by a process of user root");
            return Some(Step::warning(HERE, subject, text, (Actor::GatepostAdmin, remedy.to_owned())));
        }
        Some(Holder::OfUser(user)) => format!("a process of user {user}"),
        None => return lacks(subject, address),
    };
    let remedy = "stop that program, or set another port in `bind`".to_owned();
    Some(Step::problem(HERE, subject, format!("{address} is in use by {by}"), (Actor::GatepostAdmin, remedy)))
}

/// What this machine or user lacks to listen at a free address.
fn lacks(subject: &str, address: SocketAddr) -> Option<Step> {
    let (ip, port) = (address.ip(), address.port());
    // A machine without IPv6 has no ::1.
    if !ip.is_loopback() && !ip.is_unspecified() && !has_address(ip) {
        let remedy = (Actor::GatepostAdmin, "correct `bind`".to_owned());
        return Some(Step::problem(HERE, subject, format!("this machine has no address {ip}"), remedy));
    }
    if !may_bind(port) {
        let text = format!(
            "port {port} needs the right CAP_NET_BIND_SERVICE, which user {} does not have here",
            user::name(user::own())
        );
        let remedy = "if the service has it or gets the socket from systemd, ignore this, or set a port from 1024 on \
                      in `bind`";
        return Some(Step::warning(HERE, subject, text, (Actor::GatepostAdmin, remedy.to_owned())));
    }
    None
}

/// Reads a certificate.
fn read(der: &[u8]) -> Option<Presented> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let expires = UnixTime(u64::try_from(certificate.validity().not_after.timestamp()).ok()?);
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => {
                    let four = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
                    addresses.extend(four.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)));
                }
                _ => {}
            }
        }
    }
    // RFC 5480 §2.1.1: id-ecPublicKey.
    let is_ecdsa = certificate.public_key().algorithm.algorithm.to_id_string() == "1.2.840.10045.2.1";
    Some(Presented { expires, names, addresses, is_ecdsa })
}

/// What clients will say to the certificate of a listener.
fn certificate(listener: &Listener, presented: &Presented, now: UnixTime) -> Vec<Step> {
    let subject = subject(listener);
    let signed = |time: UnixTime| i64::try_from(time.0).unwrap_or(i64::MAX);
    let days = signed(presented.expires).saturating_sub(signed(now)).div_euclid(DAY);
    let for_whom = presented.names.first().cloned().or_else(|| presented.addresses.first().map(ToString::to_string));
    let for_whom = for_whom.unwrap_or_else(|| "no name".to_owned());
    let on = day(presented.expires);
    let replace = (Actor::GatepostAdmin, "replace the certificate's file, which needs no restart".to_owned());
    let mut steps = vec![match days {
        ..0 => Step::problem(HERE, &*subject, format!("certificate for {for_whom} expired on {on}"), replace),
        0..=DAYS_BEFORE_EXPIRY => {
            let text = format!("certificate for {for_whom} expires in {days} days, on {on}");
            Step::warning(HERE, &*subject, text, replace)
        }
        _ => Step::ok(HERE, &*subject, format!("certificate for {for_whom}, {days} days left")),
    }];
    let uncovered: Vec<String> = listener.bind.iter().filter_map(|bind| uncovered(*bind, presented)).collect();
    if !uncovered.is_empty() {
        let text =
            format!("certificate is not for {}, which device passwords tell clients to use", uncovered.join(" or "));
        let hosts: Vec<String> = uncovered.iter().map(|name| format!("--host {name}")).collect();
        let remedy = format!("create one for these names: `gatepost cert --force {}`", hosts.join(" "));
        steps.push(Step::warning(HERE, &*subject, text, (Actor::GatepostAdmin, remedy)));
    }
    if listener.legacy && presented.is_ecdsa {
        let remedy = "use an RSA key: `gatepost cert --force --key rsa`".to_owned();
        let text = "old devices may not know the kind of key (ECDSA) of the certificate";
        steps.push(Step::warning(HERE, subject, text, (Actor::GatepostAdmin, remedy)));
    }
    steps
}

/// The name that clients are told, if the certificate is not for it.
fn uncovered(bind: Bind, presented: &Presented) -> Option<String> {
    let has_name = |name: &str| presented.names.iter().any(|known| known == name);
    match bind {
        Bind::Localhost(_) => (!has_name("localhost")).then(|| "localhost".to_owned()),
        // Clients are told to use a name of the machine, which only the administrator knows.
        Bind::Address(address) if address.ip().is_unspecified() => None,
        Bind::Address(address) => {
            let ip = address.ip();
            let covered = presented.addresses.contains(&ip) || ip.is_loopback() && has_name("localhost");
            // A private name may lead to the address.
            let may_have_name = !ip.is_loopback() && !presented.names.is_empty();
            (!covered && !may_have_name).then(|| ip.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Outcome;
    use gatepost_config::environment::Environment;
    use std::collections::BTreeMap;
    use std::io;
    use std::path::Path;

    struct Nothing;

    impl Environment for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn world_readable(&self, _: &Path) -> bool {
            false
        }

        fn run(&self, _: &[String], _: &[String]) -> Result<Vec<u8>, String> {
            Err("nothing runs here".into())
        }
    }

    fn listener(bind: &str) -> Listener {
        let yaml = format!(
            "listeners: {{imap: {{bind: '{bind}'}}}}\n\
             microsoft: {{tenant: contoso.com, client_id: 2f5c7e10-0000-4000-8000-000000000001}}\n\
             accounts: [{{login: '*'}}]\n"
        );
        let config =
            gatepost_config::load::load_text(Some((Path::new("proxy.yaml"), &yaml)), &[], &BTreeMap::new(), &Nothing);
        config.unwrap().listeners.remove(0)
    }

    fn presented(names: &[&str]) -> Presented {
        let now = UnixTime(1_795_957_955);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Presented { expires: UnixTime(now.0 + 213 * 86_400), names, addresses: Vec::new(), is_ecdsa: true }
    }

    #[test]
    fn an_expired_certificate_is_a_problem_and_a_near_end_a_warning() {
        let now = UnixTime(1_795_957_955);
        let at = |days: i64| {
            let expires = UnixTime(now.0.saturating_add_signed(days * DAY));
            let steps =
                certificate(&listener("localhost:1143"), &Presented { expires, ..presented(&["localhost"]) }, now);
            steps.into_iter().map(|step| (step.outcome, step.text)).collect::<Vec<_>>()
        };
        assert_eq!(at(213), [(Outcome::Ok, "certificate for localhost, 213 days left".to_owned())]);
        assert_eq!(
            at(3),
            [(Outcome::Warning, "certificate for localhost expires in 3 days, on 2026-12-02".to_owned())]
        );
        assert_eq!(at(-2), [(Outcome::Failed, "certificate for localhost expired on 2026-11-27".to_owned())]);
    }

    #[test]
    fn a_certificate_without_the_name_that_clients_use_is_told() {
        let now = UnixTime(1_795_957_955);
        let steps = certificate(&listener("localhost:1143"), &presented(&["mail.contoso.com"]), now);
        let warning = steps.iter().find(|step| step.outcome == Outcome::Warning).unwrap();
        assert_eq!(warning.text, "certificate is not for localhost, which device passwords tell clients to use");
        assert!(warning.remedy.as_deref().unwrap().ends_with("`gatepost cert --force --host localhost`"));
        assert_eq!(certificate(&listener("localhost:1143"), &presented(&["localhost"]), now).len(), 1);
    }

    #[test]
    fn a_listener_of_the_service_is_not_called_that_of_another() {
        let outcome = |holder: Holder, is_running| {
            let step = held("listener imap", "127.0.0.1:1143".parse().unwrap(), Some(holder), is_running).unwrap();
            (step.outcome, step.text)
        };
        let process = |name: &str| Holder::Process { id: 812, name: name.to_owned() };
        let (found, text) = outcome(Holder::Service(Some(812)), Some(false));
        assert_eq!((found, &*text), (Outcome::Ok, "open at 127.0.0.1:1143, by the running service (process 812)"));
        assert_eq!(outcome(Holder::SocketUnit, None).0, Outcome::Ok);
        // Nobody can be asked.
        assert_eq!(outcome(process("gatepost"), None).0, Outcome::Skipped);
        assert_eq!(outcome(Holder::OfUser("gatepost".to_owned()), None).0, Outcome::Skipped);
        assert_eq!(outcome(process("nginx"), None).0, Outcome::Failed);
        // Nobody answered.
        let (found, text) = outcome(process("gatepost"), Some(false));
        assert_eq!((found, &*text), (Outcome::Failed, "127.0.0.1:1143 is in use by `gatepost` (process 812)"));
        assert_eq!(outcome(Holder::OfUser("www".to_owned()), Some(false)).0, Outcome::Failed);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_a_failed_step() {
        let steps = found(tokio::task::spawn_blocking(|| panic!("in a test")).await);
        let [step] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!((step.outcome, step.label.as_deref()), (Outcome::Failed, Some("Gatepost bug")));
        let ok = Step::ok(HERE, "", "open");
        let done = ok.clone();
        assert_eq!(found(tokio::task::spawn_blocking(move || vec![done]).await), [ok]);
    }
}
