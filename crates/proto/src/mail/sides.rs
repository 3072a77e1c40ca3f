//! The machines of each protocol.

use super::{Capabilities, ClientSettings, ClientSide, UpstreamSettings, UpstreamSide, imap, pop3, smtp};
use gatepost_core::protocol::MailProtocol;

/// What Exchange Online is known to announce, until an upstream's own capabilities have been
/// learned.
pub fn exchange_online(protocol: MailProtocol) -> Capabilities {
    match protocol {
        MailProtocol::Imap => imap::capabilities::exchange_online(),
        MailProtocol::Pop3 => pop3::capabilities::exchange_online(),
        MailProtocol::Smtp => smtp::capabilities::exchange_online(),
    }
}

/// The machine that acts as the server towards a mail client.
pub fn client_side(protocol: MailProtocol, settings: ClientSettings) -> Box<dyn ClientSide> {
    match protocol {
        MailProtocol::Imap => Box::new(imap::client_side::Imap::new(settings)),
        MailProtocol::Pop3 => Box::new(pop3::client_side::Pop3::new(settings)),
        MailProtocol::Smtp => Box::new(smtp::client_side::Smtp::new(settings)),
    }
}

/// The machine that acts as the client towards an upstream.
pub fn upstream_side(protocol: MailProtocol, settings: UpstreamSettings) -> Box<dyn UpstreamSide> {
    match protocol {
        MailProtocol::Imap => Box::new(imap::upstream_side::Imap::new(settings)),
        MailProtocol::Pop3 => Box::new(pop3::upstream_side::Pop3::new(settings)),
        MailProtocol::Smtp => Box::new(smtp::upstream_side::Smtp::new(settings)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_own_list_of_exchange_online() {
        for (protocol, entry) in
            [(MailProtocol::Imap, "UIDPLUS"), (MailProtocol::Pop3, "UIDL"), (MailProtocol::Smtp, "CHUNKING")]
        {
            assert!(exchange_online(protocol).0.iter().any(|announced| announced == entry), "{entry}");
        }
    }
}
