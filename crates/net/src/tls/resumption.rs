//! What is remembered of a server, so that the next handshake with it is short (RFC 8446 §2.2).

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Most TLS 1.3 tickets. Each is good for one handshake (RFC 8446 §C.4), so this many clients can log
/// in at once. With the certificates of Microsoft's servers a ticket takes up to 6 KiB.
const TICKETS: usize = 64;

/// Most servers. A configuration is for one, or for the few of one service.
const SERVERS: usize = 4;

/// Remembers the sessions of a few servers, the one that was met first at the front.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Vec<(ServerName<'static>, Server)>>);

#[derive(Debug, Default)]
struct Server {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Oldest first.
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Remembered {
    fn edit(&self, name: ServerName<'static>, edit: impl FnOnce(&mut Server)) {
        let mut servers = self.0.lock();
        if let Some((_, server)) = servers.iter_mut().find(|(known, _)| *known == name) {
            return edit(server);
        }
        if servers.len() >= SERVERS {
            servers.remove(0);
        }
        let mut server = Server::default();
        edit(&mut server);
        servers.push((name, server));
    }

    fn read<T>(&self, name: &ServerName<'_>, read: impl FnOnce(&mut Server) -> Option<T>) -> Option<T> {
        let mut servers = self.0.lock();
        servers.iter_mut().find(|(known, _)| known == name).and_then(|(_, server)| read(server))
    }
}

impl ClientSessionStore for Remembered {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.edit(name, |server| server.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.read(name, |server| server.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.edit(name, |server| server.tls12 = Some(session));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.read(name, |server| server.tls12.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.read(name, |server| server.tls12.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.edit(name, |server| {
            if server.tickets.len() >= TICKETS {
                server.tickets.pop_front();
            }
            server.tickets.push_back(ticket);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.read(name, |server| server.tickets.pop_back())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::HandshakeKind::{Full, Resumed};
    use rustls::client::Resumption;
    use rustls::version::{TLS12, TLS13};

    use super::*;
    use crate::tls::session::tests::{configs, handshake};

    #[test]
    fn a_server_that_is_known_is_met_with_short_handshakes() {
        for version in [&TLS12, &TLS13] {
            let (mut client, server) = configs(version);
            client.resumption = Resumption::store(Arc::new(Remembered::default()));
            let (client, server) = (Arc::new(client), Arc::new(server));
            let kinds = [(); 4].map(|()| handshake(&client, &server, true).0);
            assert_eq!(kinds, [Full, Resumed, Resumed, Resumed], "{version:?}");
        }
    }

    #[test]
    fn a_ticket_is_used_once_and_none_is_lost() {
        let (mut client, server) = configs(&TLS13);
        client.resumption = Resumption::store(Arc::new(Remembered::default()));
        let (client, mut server) = (Arc::new(client), server);
        server.send_tls13_tickets = 3;
        let server = Arc::new(server);
        let kinds = [true, false, false, false, false].map(|opened| handshake(&client, &server, opened).0);
        assert_eq!(kinds, [Full, Resumed, Resumed, Resumed, Full]);
    }

    #[test]
    fn a_few_servers_are_remembered_and_the_oldest_goes() {
        let remembered = Remembered::default();
        let name = |number: usize| ServerName::try_from(format!("server{number}.example")).unwrap();
        for number in 0..=SERVERS {
            remembered.set_kx_hint(name(number), NamedGroup::X25519);
            remembered.set_kx_hint(name(number), NamedGroup::secp256r1);
        }
        let hints: Vec<_> = (0..=SERVERS).map(|number| remembered.kx_hint(&name(number))).collect();
        assert_eq!(hints[0], None);
        assert_eq!(hints[1..], vec![Some(NamedGroup::secp256r1); SERVERS]);
    }
}
