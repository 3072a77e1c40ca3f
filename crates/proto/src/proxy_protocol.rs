//! Parses the header in which a load balancer announces a connection: the PROXY protocol, versions
//! 1 and 2 (HAProxy, "The PROXY protocol", 2020/03/05).
//!
//! The header is read to its last octet and not one further, because what follows is for another
//! reader, such as TLS. [`HeaderReader::wants`] never asks for an octet that may not belong to the
//! header.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Longest header of version 1, with its end.
const V1_OCTETS: usize = 107;
/// Longest header of version 2. The two addresses and a few extensions need far less.
const V2_OCTETS: usize = 4_096;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// The extension with a checksum (PP2_TYPE_CRC32C).
const CHECKSUM: u8 = 0x03;

/// The client that a load balancer announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conveyed {
    /// A client at this address.
    Client(SocketAddr),
    /// The load balancer itself: a health check (LOCAL).
    Itself,
    /// A client whose address the balancer does not know or cannot express (UNKNOWN, AF_UNSPEC,
    /// AF_UNIX).
    Unknown,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The octets do not begin like a header.
    #[error("what came is no PROXY header")]
    Missing,
    /// The header is longer than allowed.
    #[error("the PROXY header is longer than it may be")]
    TooLong,
    /// The octets begin like a header, but are not a valid one.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// The checksum is wrong.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
    /// The header has an address that no remote client can have, such as loopback.
    #[error("the PROXY header names {0}, from where no client can come to a load balancer")]
    Impossible(IpAddr),
}

/// Reads a header piece by piece.
#[derive(Debug, Default)]
pub struct HeaderReader(Vec<u8>);

impl HeaderReader {
    /// The most octets to read next, all of which belong to the header. Never zero.
    pub fn wants(&self) -> usize {
        let held = self.0.len();
        // The shortest header, `PROXY UNKNOWN` with its end, is longer than the signature.
        let least = if held < V2_SIGNATURE.len() {
            V2_SIGNATURE.len()
        } else if self.0.starts_with(V2_SIGNATURE) {
            self.announced().unwrap_or(V2_FIXED)
        } else {
            // The CRLF is missing, or only its LF.
            (held + if self.0.ends_with(b"\r") { 1 } else { 2 }).min(V1_OCTETS)
        };
        least.saturating_sub(held).max(1)
    }

    /// True if no octet has arrived yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes octets. Returns the client once the header is complete; the reader is then empty
    /// again.
    ///
    /// # Errors
    /// See [`HeaderError`]. The connection cannot be used then.
    pub fn take(&mut self, octets: &[u8]) -> Result<Option<Conveyed>, HeaderError> {
        self.0.extend_from_slice(octets);
        let begins_as = |prefix: &[u8]| {
            let length = self.0.len().min(prefix.len());
            self.0.get(..length) == prefix.get(..length)
        };
        if begins_as(V2_SIGNATURE) {
            match self.announced() {
                Some(length) if length > V2_OCTETS => Err(HeaderError::TooLong),
                Some(length) if self.0.len() >= length => version_2(&mem::take(&mut self.0)).map(Some),
                _ => Ok(None),
            }
        } else if begins_as(b"PROXY ") {
            if self.0.ends_with(b"\r\n") {
                version_1(&mem::take(&mut self.0)).map(Some)
            } else if self.0.contains(&b'\n') {
                Err(HeaderError::Malformed)
            } else if self.0.len() >= V1_OCTETS {
                Err(HeaderError::TooLong)
            } else {
                Ok(None)
            }
        } else {
            Err(HeaderError::Missing)
        }
    }

    /// The length of a header of version 2, once it is known.
    fn announced(&self) -> Option<usize> {
        match self.0.get(14..V2_FIXED)? {
            [high, low] => Some(V2_FIXED + usize::from(u16::from_be_bytes([*high, *low]))),
            _ => None,
        }
    }
}

/// Parses `PROXY TCP4 192.0.2.1 198.51.100.1 56324 993`, with its end.
fn version_1(header: &[u8]) -> Result<Conveyed, HeaderError> {
    let line = header.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or(HeaderError::Malformed)?.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Conveyed::Unknown);
    }
    let [Some(source), Some(destination), Some(port), Some(destination_port), None] =
        std::array::from_fn(|_| words.next())
    else {
        return Err(HeaderError::Malformed);
    };
    let (source, _) = match family {
        Some("TCP4") => (address::<Ipv4Addr>(source)?, address::<Ipv4Addr>(destination)?),
        Some("TCP6") => (address::<Ipv6Addr>(source)?, address::<Ipv6Addr>(destination)?),
        _ => return Err(HeaderError::Malformed),
    };
    port_number(destination_port)?;
    client(source, port_number(port)?)
}

fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, HeaderError> {
    word.parse().map(A::into).map_err(|_| HeaderError::Malformed)
}

fn port_number(word: &str) -> Result<u16, HeaderError> {
    let plain = word.bytes().all(|octet| octet.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain).ok_or(HeaderError::Malformed)
}

/// Parses the binary form.
fn version_2(header: &[u8]) -> Result<Conveyed, HeaderError> {
    let (fixed, rest) = header.split_at_checked(V2_FIXED).ok_or(HeaderError::Malformed)?;
    let &[version, family, ..] = fixed.get(12..).unwrap_or_default() else { return Err(HeaderError::Malformed) };
    match version {
        // The rest must be ignored.
        0x20 => return Ok(Conveyed::Itself),
        0x21 => {}
        _ => return Err(HeaderError::Malformed),
    }
    let (conveyed, extensions) = match family {
        0x11 => {
            let ([a, b, c, d, _, _, _, _, high, low, _, _], extensions) = block::<12>(rest)?;
            (client(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))?, extensions)
        }
        0x21 => {
            let (block, extensions) = block::<36>(rest)?;
            let (Some((source, _)), &[high, low, _, _]) =
                (block.split_first_chunk::<16>(), block.split_last_chunk::<4>().map_or(&[0; 4], |(_, ports)| ports))
            else {
                return Err(HeaderError::Malformed);
            };
            (client(Ipv6Addr::from(*source).into(), u16::from_be_bytes([high, low]))?, extensions)
        }
        0x31 => (Conveyed::Unknown, block::<216>(rest)?.1),
        // The length of the addresses, if there are any, is not known.
        0x00 => return Ok(Conveyed::Unknown),
        _ => return Err(HeaderError::Malformed),
    };
    check(header, extensions)?;
    Ok(conveyed)
}

fn block<const N: usize>(octets: &[u8]) -> Result<([u8; N], &[u8]), HeaderError> {
    octets.split_first_chunk().map(|(block, rest)| (*block, rest)).ok_or(HeaderError::Malformed)
}

/// Checks the extensions (type, length in two octets, value), and the checksum if there is one.
fn check(header: &[u8], mut extensions: &[u8]) -> Result<(), HeaderError> {
    while let [kind, high, low, rest @ ..] = extensions {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, behind) = rest.split_at_checked(length).ok_or(HeaderError::Malformed)?;
        if *kind == CHECKSUM {
            let told = value.try_into().map(u32::from_be_bytes).map_err(|_| HeaderError::Malformed)?;
            // The checksum is calculated with zeros in its own position.
            let at = header.len() - behind.len() - length;
            let octets = header.iter().enumerate().map(
                |(index, octet)| {
                    if (at..at + length).contains(&index) { 0 } else { *octet }
                },
            );
            if crc32c(octets) != told {
                return Err(HeaderError::Checksum);
            }
        }
        extensions = behind;
    }
    if extensions.is_empty() { Ok(()) } else { Err(HeaderError::Malformed) }
}

/// CRC-32C (RFC 3720 §12.1), bit by bit, because there is only one short header for each
/// connection.
fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    !octets.fold(!0, |sum, octet| {
        (0..8).fold(sum ^ u32::from(octet), |sum, _| if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 })
    })
}

/// Refuses impossible addresses. Loopback has privileges because it is this machine, and a client
/// of a load balancer is not.
fn client(address: IpAddr, port: u16) -> Result<Conveyed, HeaderError> {
    let address = address.to_canonical();
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(HeaderError::Impossible(address));
    }
    Ok(Conveyed::Client(SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests;
