//! The unit by which clients are counted: by where they connect from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a client connects from: an IPv4 address, or the /64 of an IPv6 address (the size given to
/// one household or host).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The IPv4 address.
    Ipv4(u32),
    /// The first 64 bits of the IPv6 address.
    Ipv6(u64),
}

impl Source {
    /// The source of an address. An IPv4-mapped address counts as the IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Ipv4(address.to_bits()),
            IpAddr::V6(address) => {
                let [first, second, third, fourth, ..] = address.segments();
                let joined = |high: u16, low: u16| u64::from(high) << 16 | u64::from(low);
                Self::Ipv6(joined(first, second) << 32 | joined(third, fourth))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ipv4(bits) => Ipv4Addr::from_bits(bits).fmt(f),
            Self::Ipv6(bits) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(bits) << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_subnet() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("2001:db8:a:1::1"), Source::Ipv6(0x2001_0db8_000a_0001));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(source("2001:db8:a:1::1").to_string(), "2001:db8:a:1::/64");
        assert_ne!(source("192.0.2.1"), source("0:0:c000:201::"), "no address of the one family is one of the other");
    }
}
