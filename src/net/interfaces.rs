//! The addresses this machine can be reached at.
//!
//! In: the system's interfaces. Out: addresses for host candidates, in a stable order.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// Addresses that others can reach: no loopback (unless there is nothing else), no link-local and no unspecified ones.
/// IPv4 first, then IPv6, each sorted.
///
/// # Errors
/// The system does not say.
pub(crate) fn local_addresses() -> io::Result<Vec<IpAddr>> {
    Ok(pick(if_addrs::get_if_addrs()?.into_iter().filter(|interface| interface.is_oper_up()).map(|interface| interface.ip()).collect()))
}

/// What a socket bound to `address` can be reached at: itself, or all local addresses of its family if it is a wildcard.
/// A loopback address is used as it is, if it was asked for explicitly.
///
/// # Errors
/// The system does not say.
pub(crate) fn expand_wildcard(address: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    if !address.ip().is_unspecified() {
        return Ok(vec![address]);
    }
    let same_family = local_addresses()?.into_iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
    Ok(same_family.map(|ip| SocketAddr::new(ip, address.port())).collect())
}

fn pick(mut all: Vec<IpAddr>) -> Vec<IpAddr> {
    all.retain(|ip| match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    });
    all.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    all.dedup();
    if all.iter().any(|ip| !ip.is_loopback()) {
        all.retain(|ip| !ip.is_loopback());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_only_when_alone_and_no_link_local() {
        let all = ips(&["2001:db8::1", "127.0.0.1", "::1", "fe80::1", "169.254.1.1", "10.0.0.9", "10.0.0.2"]);
        assert_eq!(pick(all), ips(&["10.0.0.2", "10.0.0.9", "2001:db8::1"]));
        assert_eq!(pick(ips(&["::1", "127.0.0.1", "fe80::1"])), ips(&["127.0.0.1", "::1"]));
    }

    #[test]
    fn wildcards_are_expanded_in_their_family() {
        assert_eq!(expand_wildcard("127.0.0.1:5".parse().unwrap()).unwrap(), ["127.0.0.1:5".parse::<SocketAddr>().unwrap()]);
        let all = expand_wildcard("0.0.0.0:5".parse().unwrap()).unwrap();
        assert!(!all.is_empty() && all.iter().all(|a| a.is_ipv4() && a.port() == 5 && !a.ip().is_unspecified()));
    }
}
