//! A Kerberos realm of the tests' own: MIT's KDC on a free port, with the keys in files. What
//! Gatepost does in it is tested where it is built with Kerberos, as `tests/run` does.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Directory, Finished, Server, free_port, run};

/// The realm.
pub(crate) const REALM: &str = "CORP.TEST";
/// The account that Gatepost uses.
pub(crate) const USER: &str = "svc-mail";
/// What Squid is to the KDC, as whoever reaches it by the name `localhost` expects.
pub(crate) const SERVICE: &str = "HTTP/localhost";
/// Another name of the same service.
pub(crate) const OTHER_SERVICE: &str = "HTTP/proxy.corp.test";

/// Variables for a program.
pub(crate) type Environment = Vec<(&'static str, String)>;

/// The KDC; ends when it is dropped.
pub(crate) struct Kdc {
    _server: Server,
    directory: Directory,
}

impl Kdc {
    /// On an address of this machine.
    pub(crate) fn start(address: Ipv4Addr) -> Self {
        let directory = Directory::new();
        let path = directory.path().display().to_string();
        let port = free_port();
        std::fs::write(
            directory.path().join("krb5.conf"),
            format!(
                "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
                 dns_canonicalize_hostname = false\n rdns = false\n clockskew = 1\n\
                 [realms]\n {REALM} = {{\n  kdc = {address}:{port}\n }}\n\
                 [domain_realm]\n localhost = {REALM}\n\
                 [logging]\n kdc = FILE:{path}/kdc.log\n"
            ),
        )
        .unwrap();
        directory.write(
            "kdc.conf",
            format!(
                "[kdcdefaults]\n kdc_listen = {address}:{port}\n kdc_tcp_listen = {address}:{port}\n\
                 [realms]\n {REALM} = {{\n  database_name = {path}/principal\n  key_stash_file = {path}/stash\n  \
                 acl_file = {path}/acl\n }}\n"
            ),
        );
        tool(&directory, "kdb5_util", &["create", "-r", REALM, "-s", "-P", "master"]).expect_success("kdb5_util");
        let mut command = prepared(&directory, "krb5kdc");
        let mut server = Server::start("krb5kdc", command.args(["-n", "-r", REALM]), directory.path().join("kdc.out"));
        server.wait_for_address((address, port).into());
        let kdc = Self { _server: server, directory };
        for principal in [USER, SERVICE, OTHER_SERVICE] {
            kdc.administer(&format!("addprinc -randkey {principal}"));
        }
        let shared = kdc.path("proxy.keytab");
        kdc.administer(&format!("ktadd -k {} {SERVICE} {OTHER_SERVICE}", shared.display()));
        kdc
    }

    /// Tells programs of this realm, and keeps them from the caches of whoever runs the tests.
    pub(crate) fn environment(&self) -> Environment {
        let at = |name: &str| self.path(name).display().to_string();
        vec![("KRB5_CONFIG", at("krb5.conf")), ("KRB5CCNAME", format!("FILE:{}", at("cache")))]
    }

    /// The keys of Squid's services.
    pub(crate) fn service_keytab(&self) -> PathBuf {
        self.path("proxy.keytab")
    }

    /// A new key of the account, in a file; what earlier files hold is void.
    pub(crate) fn user_keytab(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.administer(&format!("ktadd -k {} {USER}", path.display()));
        path
    }

    /// Fills the credential cache of [`Kdc::environment`] with a ticket that lives so long.
    pub(crate) fn sign_in(&self, keytab: &Path, lifetime: &str) {
        let mut command = Command::new("kinit");
        command.envs(self.environment()).args(["-l", lifetime, "-k", "-t"]).arg(keytab).arg(USER);
        run(&mut command).expect_success("kinit");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn administer(&self, query: &str) {
        tool(&self.directory, "kadmin.local", &["-r", REALM, "-q", query]).expect_success(query);
    }
}

fn prepared(directory: &Directory, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("KRB5_CONFIG", directory.path().join("krb5.conf"));
    command.env("KRB5_KDC_PROFILE", directory.path().join("kdc.conf"));
    command
}

fn tool(directory: &Directory, program: &str, arguments: &[&str]) -> Finished {
    run(prepared(directory, program).args(arguments))
}
