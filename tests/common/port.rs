//! Ports for programs that must be told theirs before they start.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

/// Below the ports that the system gives to connections and to whoever asks for any
/// (`ip_local_port_range`), so that nothing else of this machine takes one between this call and
/// the start of the program.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that is free, and that no test of this process was given before.
pub(crate) fn free_port() -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap();
    for _ in PORTS {
        // Test programs that run at the same time begin at different places.
        let begin = PORTS.start + u16::try_from(std::process::id() * 61 % u32::from(PORTS.end - PORTS.start)).unwrap();
        let port = next.unwrap_or(begin);
        *next = Some(if port + 1 == PORTS.end { PORTS.start } else { port + 1 });
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// The same with the address.
pub(crate) fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}
