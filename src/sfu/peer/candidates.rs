//! Host candidates (RFC 8445 section 5.1, RFC 6544 section 4) for the addresses the workers' sockets can be reached at.
//!
//! In: socket addresses, announced addresses. Out: [`IceCandidate`]s, best first.

use std::net::{IpAddr, SocketAddr};

use crate::sfu::ortc::IceCandidate;

/// RFC 8445 section 5.1.2.2: recommended for host candidates.
const HOST_TYPE_PREFERENCE: u32 = 126;
/// RFC 6544 section 4.2: direction preference of passive candidates, top three bits of the local preference.
const TCP_PASSIVE_DIRECTION: u32 = 2;
/// RTP and RTCP share one component.
const COMPONENT: u32 = 1;
/// Most candidates of one transport: every address costs the browser checks, and real hosts have a handful.
const MAX_CANDIDATES: usize = 32;

/// The candidates for UDP and TCP addresses that sockets listen on (already expanded: no wildcards). With `announced`
/// (public addresses or host names of a NAT or a Docker host), those stand in for the listening addresses, with the
/// same ports, each for the family it is of; host names stand for both.
pub(crate) fn host_candidates(udp: &[SocketAddr], tcp: &[SocketAddr], announced: &[String], prefer_tcp: bool) -> Vec<IceCandidate> {
    let mut candidates: Vec<IceCandidate> = Vec::new();
    for (protocol, addresses) in [("udp", udp), ("tcp", tcp)] {
        let preferred = prefer_tcp == (protocol == "tcp");
        for (address, port, is_v6) in reachable(addresses, announced) {
            // Earlier addresses of a protocol come first; IPv6 before IPv4 of the same rank (RFC 8421 section 4).
            let rank = candidates.iter().filter(|c| c.protocol == protocol).count() as u32;
            let order = 0xFFF_u32.saturating_sub(rank * 2 + u32::from(!is_v6));
            // Local preference: 3 bits direction (TCP; all ones for UDP), 1 bit protocol preference, 12 bits order.
            let direction = if protocol == "tcp" && !prefer_tcp { TCP_PASSIVE_DIRECTION } else { 6 };
            let local_preference = direction << 13 | u32::from(preferred) << 12 | order;
            let priority = HOST_TYPE_PREFERENCE << 24 | local_preference << 8 | (256 - COMPONENT);
            let same = |c: &IceCandidate| c.protocol == protocol && c.address == address && c.port == port;
            if candidates.len() < MAX_CANDIDATES && !candidates.iter().any(same) {
                let foundation = foundation(protocol, &address);
                let tcp_type = (protocol == "tcp").then(|| "passive".to_owned());
                let protocol = protocol.to_owned();
                candidates.push(IceCandidate { foundation, priority, address, protocol, port, kind: "host".into(), tcp_type });
            }
        }
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
    candidates
}

fn reachable(addresses: &[SocketAddr], announced: &[String]) -> Vec<(String, u16, bool)> {
    if announced.is_empty() {
        return addresses.iter().map(|a| (a.ip().to_string(), a.port(), a.is_ipv6())).collect();
    }
    let mut found = Vec::new();
    for name in announced {
        let family = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        for address in addresses {
            match family {
                Some(ip) if ip.is_ipv6() == address.is_ipv6() => found.push((ip.to_string(), address.port(), ip.is_ipv6())),
                Some(_) => {}
                None => found.push((name.clone(), address.port(), address.is_ipv6())),
            }
        }
    }
    found
}

/// The same for candidates of the same protocol and base address, different otherwise (RFC 8445 section 5.1.1.3).
fn foundation(protocol: &str, address: &str) -> String {
    // FNV-1a: stable over restarts, and 32 ice-chars are allowed.
    let hash = protocol
        .bytes()
        .chain([0])
        .chain(address.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{}{:08x}", &protocol[..1], (hash >> 32) as u32 ^ hash as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn udp_before_tcp_unless_asked() {
        let both = addresses(&["192.0.2.1:8189", "[2001:db8::1]:8189"]);
        let list =
            |prefer| host_candidates(&both, &both, &[], prefer).iter().map(|c| format!("{} {}", c.protocol, c.address)).collect::<Vec<_>>();
        assert_eq!(list(false), ["udp 192.0.2.1", "udp 2001:db8::1", "tcp 192.0.2.1", "tcp 2001:db8::1"]);
        assert_eq!(list(true), ["tcp 192.0.2.1", "tcp 2001:db8::1", "udp 192.0.2.1", "udp 2001:db8::1"]);
        let candidates = host_candidates(&both, &both, &[], false);
        assert!(candidates.iter().all(|c| c.priority >> 24 == 126 && c.priority & 0xFF == 255 && c.kind == "host"));
        assert_eq!(candidates[3].tcp_type.as_deref(), Some("passive"));
        assert_eq!(candidates.iter().map(|c| &c.foundation).collect::<std::collections::HashSet<_>>().len(), 4);
        assert_eq!(candidates.iter().map(|c| c.priority).collect::<std::collections::HashSet<_>>().len(), 4);
    }

    #[test]
    fn announced_addresses_stand_in_for_their_family() {
        let both = addresses(&["172.17.0.2:8189", "[fd00::2]:8189"]);
        let announced = ["203.0.113.5".to_owned()];
        let list: Vec<_> = host_candidates(&both, &[], &announced, false).into_iter().map(|c| (c.address, c.port)).collect();
        assert_eq!(list, [("203.0.113.5".to_owned(), 8189)]);
        let announced = ["media.example.org".to_owned(), "[2001:db8::5]".to_owned()];
        let list: Vec<_> = host_candidates(&both, &[], &announced, false).into_iter().map(|c| c.address).collect();
        assert_eq!(list, ["media.example.org", "2001:db8::5"]);
    }

    #[test]
    fn the_list_is_bounded() {
        let many: Vec<SocketAddr> = (0..200).map(|i| SocketAddr::from(([10, 0, 0, i as u8], 1))).collect();
        assert_eq!(host_candidates(&many, &many, &[], false).len(), MAX_CANDIDATES);
    }
}
