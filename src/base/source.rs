//! Who is one stranger.

use std::net::{IpAddr, Ipv6Addr};

/// Where somebody comes from: an IPv4 address, or the /64 of an IPv6 one, all of which one subscriber has (RFC 6177 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => Self(Ipv6Addr::from_bits(address.to_bits() & !0 << 64).into()),
            address => Self(address),
        }
    }

    /// Whether many may come from there: a reverse proxy on the same machine.
    pub(super) fn is_local(self) -> bool {
        self.0.is_loopback()
    }
}
