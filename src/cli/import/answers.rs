//! What the command line says where the file of the other proxy says nothing, and what every reader
//! does alike: addresses, certificates, accounts.

use std::net::IpAddr;
use std::path::{Path, PathBuf, absolute};

use gatepost_config::Grant;

use super::endpoint::TenantName;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Label, Plan, Tls};
use crate::cli::options::ImportOptions;

/// The addresses of this machine alone.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

/// How a listener of the other proxy is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// From this machine.
    Loopback(String),
    /// At one address of this machine.
    Address(IpAddr),
    /// At every address, or the file does not say.
    Everywhere,
}

impl Reach {
    /// What the address of a file means.
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim().trim_start_matches('[').trim_end_matches(']');
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => Self::Loopback(bracketed(address)),
            Ok(address) if address.is_unspecified() => Self::Everywhere,
            Ok(address) => Self::Address(address),
            Err(_) if text.eq_ignore_ascii_case("localhost") => Self::Loopback("localhost".to_owned()),
            Err(_) => Self::Everywhere,
        }
    }
}

fn bracketed(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// Where a listener listens, and for whom.
pub(super) struct Binding {
    pub(super) bind: Found<Vec<String>>,
    pub(super) allow_from: Option<Found<Vec<String>>>,
}

/// The command line, and what belongs to it.
pub(super) struct Answers<'a> {
    pub(super) options: &'a ImportOptions,
    /// The directory of the other proxy's file.
    base: PathBuf,
}

impl<'a> Answers<'a> {
    pub(super) fn new(options: &'a ImportOptions) -> Self {
        let base = options.file.parent().unwrap_or(Path::new(""));
        let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
        Self { options, base: absolute(base).unwrap_or_else(|_| base.to_path_buf()) }
    }

    /// The option `-c` of the commands that use the result, as a shell takes it.
    pub(super) fn config(&self) -> String {
        let path = self.options.output.as_deref().unwrap_or(Path::new("proxy.yaml"));
        format!("-c {}", shell(&path.to_string_lossy()))
    }

    /// A path of the other proxy's file, absolute.
    pub(super) fn path(&self, text: &str) -> String {
        self.base.join(text.trim()).to_string_lossy().into_owned()
    }

    /// The certificate of the command line, as every listener with TLS gets it.
    pub(super) fn certificate(&self) -> Option<(Found<String>, Found<String>)> {
        let shown = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned();
        let (certificate, key) = self.options.certificate.as_deref().zip(self.options.private_key.as_deref())?;
        Some((
            Found::new(shown(certificate), &Origin::flag("--certificate")),
            Found::new(shown(key), &Origin::flag("--private-key")),
        ))
    }

    /// The tenant that takes personal accounts, by the file. With `--tenant` only one is meant.
    pub(super) fn tenant_of_person(&self, named: &TenantName, from: &Origin) -> Option<Found<String>> {
        match named {
            TenantName::Consumers => Some(Found::new("consumers".to_owned(), from)),
            TenantName::Common if self.options.tenant.is_none() => Some(Found::new("common".to_owned(), from)),
            _ => None,
        }
    }

    /// The tenant, by the file or else by the command line. If neither names one, it is missing.
    pub(super) fn tenant(
        &self,
        plan: &mut Plan,
        named: &TenantName,
        from: &Origin,
        login: &str,
    ) -> Option<Found<String>> {
        match named {
            TenantName::Named(tenant) => return Some(Found::new(tenant.clone(), from)),
            TenantName::Organizations if self.options.tenant.is_none() => {
                return Some(Found::new("organizations".to_owned(), from));
            }
            _ => {}
        }
        if let Some(tenant) = &self.options.tenant {
            return Some(Found::new(tenant.clone(), &Origin::flag("--tenant")));
        }
        let domain = login.rsplit_once('@').map_or("contoso.com", |(_, domain)| domain);
        plan.miss(
            Some(from.clone()),
            format!("it names no tenant. Run the command again with `--tenant {domain}`, or with the directory ID"),
        );
        None
    }

    /// The application, by the file or else by the command line. If neither names one, it is
    /// missing.
    pub(super) fn client_id(
        &self,
        plan: &mut Plan,
        named: Option<Found<String>>,
        from: &Origin,
    ) -> Option<Found<String>> {
        let flag = || Some(Found::new(self.options.client_id.clone()?, &Origin::flag("--client-id")));
        let found = named.or_else(flag);
        if found.is_none() {
            plan.miss(
                Some(from.clone()),
                "no application of your own is named. Register one in Entra, and run the command again with `--client-id ID`",
            );
        }
        found
    }

    /// Where a listener listens. Other machines may connect only from the networks of
    /// `--allow-from`. Without it a listener that they could reach before is for this machine alone.
    pub(super) fn binding(&self, plan: &mut Plan, reach: &Reach, port: u16, from: &Origin) -> Binding {
        let bind = |binds: Vec<String>, from: &Origin| Found::new(binds, from);
        let local = |host: &str| vec![format!("{host}:{port}")];
        let networks = &self.options.allow_from;
        if let Reach::Loopback(host) = reach {
            return Binding { bind: bind(local(host), from), allow_from: None };
        }
        if networks.is_empty() {
            plan.remark(
                Label::Note,
                Some(from.clone()),
                "only this machine can connect. If others have to, run the command again with their network, such as \
                 `--allow-from 192.168.7.0/24`",
            );
            return Binding { bind: bind(local("localhost"), from), allow_from: None };
        }
        let binds = match reach {
            Reach::Address(address) => local(&bracketed(*address)),
            _ => vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")],
        };
        let allowed = LOOPBACK.map(str::to_owned).into_iter().chain(networks.iter().map(ToString::to_string));
        let allowed = Found::new(allowed.collect(), &Origin::flag("--allow-from"));
        Binding { bind: bind(binds, from), allow_from: Some(allowed) }
    }

    /// The networks from which a login without TLS is accepted, if the default does not fit.
    pub(super) fn plaintext(
        &self,
        plan: &mut Plan,
        binding: &Binding,
        tls: Option<&Tls>,
    ) -> Option<Found<Vec<String>>> {
        let allowed = binding.allow_from.as_ref().filter(|_| tls.is_none())?;
        plan.remark(
            Label::Note,
            Some(binding.bind.from.clone()),
            "passwords cross the network in the clear, as they did before. Let `gatepost cert` make a certificate, and set \
             `tls: starttls` or `tls: implicit`",
        );
        Some(allowed.clone())
    }

    /// Says what an account needs before a client can log in.
    pub(super) fn first_use(&self, plan: &mut Plan, login: &Found<String>, grant: Grant) {
        let config = self.config();
        let user = match login.value.strip_prefix('*') {
            Some("") => "USER@DOMAIN".to_owned(),
            Some(domain) => format!("USER{domain}"),
            None => login.value.clone(),
        };
        let user = shell(&user);
        let (label, text) = match grant {
            Grant::Password => return,
            Grant::AuthorizationCode | Grant::DeviceCode => (
                Label::SignIn,
                format!("`gatepost login {user} {config}`. It prints the first device password for the client"),
            ),
            Grant::ClientCredentials => (
                Label::Password,
                format!(
                    "`gatepost password add {user} --name mail-client {config}`. Type its password into the client"
                ),
            ),
        };
        plan.remark(label, Some(login.from.clone()), text);
    }
}

/// A word as a POSIX shell takes it.
pub(super) fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '@' | ':' | '-' | '+' | '=');
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
