//! One HTTP service of Microsoft behind a listener, and the connections to it. Accounts never share
//! connections, so what one account's answer leaves on a connection reaches no other account.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::OnceCell;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::body::Upload;
use gatepost_config::{Http, Listener, ListenerTls, server_identity as identity};
use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_net::dial::Dialer;
use gatepost_net::http::{self, Client, Connector, ConnectorError};
use gatepost_net::tls::TrustError;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_proto::http::host::Hosts;

/// Most accounts whose connections are kept. The one idle for longest is evicted.
const ACCOUNTS: usize = 1_024;

/// The owner of a connection: the login, and the mailbox that it opens.
pub(super) type AccountKey = (MailAddress, MailAddress);

/// A service of Microsoft, ready for use.
pub struct Gateway {
    /// Its configuration.
    pub config: Http,
    /// Host names of requests for it.
    pub(super) hosts: Hosts,
    dialer: Arc<Dialer>,
    trust: Arc<UpstreamTrust>,
    connect: Duration,
    verifying: OnceCell<Arc<ClientConfig>>,
    accounts: Mutex<BoundedMap<AccountKey, Client<Upload>>>,
}

/// Why the origin did not answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::session) enum OriginError {
    /// The trusted roots cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no connection, or it broke. [`ConnectorError`] is among the sources of the former.
    #[error("ask the origin")]
    Exchange(#[source] hyper_util::client::legacy::Error),
    /// The request's body stalled.
    #[error("send the body of the request")]
    Stalled,
    /// Nothing arrived for this long.
    #[error("wait for the origin's answer")]
    Timeout(Duration),
}

impl OriginError {
    /// Returns why there is no connection, if that is the error.
    pub(in crate::session) fn connector(&self) -> Option<&ConnectorError> {
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            if let Some(refused) = error.downcast_ref::<ConnectorError>() {
                return Some(refused);
            }
            cause = error.source();
        }
        None
    }

    /// Whether the body of the request broke off, which the client caused.
    pub(super) fn is_of_client(&self) -> bool {
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

impl Gateway {
    /// Connects `listener` to the service of `config`. A connection must be established within
    /// `connect`. Nothing is opened yet.
    pub fn new(
        config: Http,
        listener: &Listener,
        dialer: Arc<Dialer>,
        trust: Arc<UpstreamTrust>,
        connect: Duration,
    ) -> Self {
        let mut hosts = match &listener.tls {
            // Errors in it are reported where TLS is set up.
            ListenerTls::Implicit(identity) => identity::load(identity).map(|key| names(&key.cert)).unwrap_or_default(),
            ListenerTls::None | ListenerTls::StartTls(_) => Hosts::default(),
        };
        hosts
            .addresses
            .extend(listener.bind.iter().flat_map(|bind| bind.addresses()).map(|address| address.ip().to_canonical()));
        for name in &config.hosts {
            match name.parse::<IpAddr>() {
                Ok(address) => hosts.addresses.push(address.to_canonical()),
                Err(_) => hosts.names.push(name.to_ascii_lowercase()),
            }
        }
        let accounts = Mutex::new(BoundedMap::new(ACCOUNTS));
        Self { config, hosts, dialer, trust, connect, verifying: OnceCell::new(), accounts }
    }

    /// Sends a request on one of the account's own connections, and returns the head of the answer.
    /// It follows no redirects and has no deadline of its own.
    pub(super) async fn send(
        &self,
        account: &AccountKey,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, OriginError> {
        let tls = self.verifying.get_or_try_init(|| async { self.trust.client_config().await.map(Arc::new) }).await?;
        let client = self.client(account, tls);
        client.request(request).await.map_err(OriginError::Exchange)
    }

    fn client(&self, account: &AccountKey, tls: &Arc<ClientConfig>) -> Client<Upload> {
        let mut accounts = self.accounts.lock();
        if let Some(client) = accounts.get(account) {
            return client.clone();
        }
        let connector =
            Connector::to_origin(Arc::clone(&self.dialer), Arc::clone(tls), self.connect, &self.config.origin);
        let client = http::client(connector);
        accounts.insert(account.clone(), client.clone());
        client
    }
}

/// Returns the names in the first certificate of a chain (RFC 5280 §4.2.1.6).
fn names(chain: &[CertificateDer<'_>]) -> Hosts {
    let mut hosts = Hosts::default();
    let Some(Ok((_, certificate))) = chain.first().map(|der| X509Certificate::from_der(der)) else { return hosts };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return hosts };
    for name in &names.value.general_names {
        match name {
            GeneralName::DNSName(name) => hosts.names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(octets) => {
                let four = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
                hosts.addresses.extend(four.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)));
            }
            _ => {}
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_listener_is_known_by_every_name_and_address_of_its_certificate() {
        let made = |names: Vec<SanType>| {
            let mut parameters = CertificateParams::default();
            parameters.subject_alt_names = names;
            parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let addresses: [IpAddr; 2] = [[192, 0, 2, 7].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()];
        let first = made(vec![
            SanType::DnsName("Gate.Example".try_into().unwrap()),
            SanType::IpAddress(addresses[0]),
            SanType::Rfc822Name("admin@gate.example".try_into().unwrap()),
            SanType::IpAddress(addresses[1]),
        ]);
        let authority = made(vec![SanType::DnsName("ca.example".try_into().unwrap())]);
        let hosts = names(&[first, authority]);
        assert_eq!((hosts.names, hosts.addresses), (vec!["gate.example".to_owned()], addresses.to_vec()));
        let none = names(&[made(Vec::new())]);
        assert!(none.names.is_empty() && none.addresses.is_empty());
    }
}
