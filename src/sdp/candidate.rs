//! `a=candidate` lines (RFC 8839 section 5.1), read and written.

use std::fmt::Write;

use crate::sfu::ortc::IceCandidate;

/// Longest address text: a DNS name (RFC 1035), as mDNS candidates have.
const MAX_ADDRESS_LEN: usize = 255;
/// Longest foundation (RFC 8839 section 5.1).
const MAX_FOUNDATION_LEN: usize = 32;

/// Reads what stands behind `candidate:`. `None` for what is not a candidate for RTP (component 1) over UDP or TCP:
/// a client may offer candidates of kinds we have never heard of, which RFC 8839 says to ignore.
pub(super) fn parse(value: &str) -> Option<IceCandidate> {
    let mut words = value.split_ascii_whitespace();
    let foundation = words.next().filter(|f| f.len() <= MAX_FOUNDATION_LEN)?;
    if words.next()? != "1" {
        return None;
    }
    let protocol = words.next()?.to_ascii_lowercase();
    if protocol != "udp" && protocol != "tcp" {
        return None;
    }
    let priority = words.next()?.parse().ok()?;
    let address = words.next().filter(|a| a.len() <= MAX_ADDRESS_LEN)?;
    let port = words.next()?.parse().ok()?;
    if words.next()? != "typ" {
        return None;
    }
    let kind = words.next().filter(|k| matches!(*k, "host" | "srflx" | "prflx" | "relay"))?;
    let mut tcp_type = None;
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == "tcptype" && matches!(value, "active" | "passive" | "so") {
            tcp_type = Some(value.to_owned());
        }
    }
    Some(IceCandidate {
        foundation: foundation.to_owned(),
        priority,
        address: address.to_owned(),
        protocol,
        port,
        kind: kind.to_owned(),
        tcp_type,
    })
}

/// Writes `a=candidate:…` with its line end.
pub(super) fn write(out: &mut String, candidate: &IceCandidate) {
    let IceCandidate { foundation, priority, address, protocol, port, kind, tcp_type } = candidate;
    let _ = write!(out, "a=candidate:{foundation} 1 {protocol} {priority} {address} {port} typ {kind}");
    if let Some(tcp_type) = tcp_type {
        let _ = write!(out, " tcptype {tcp_type}");
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for text in [
            "1423404307 1 udp 2113937151 2981cda3-568d-49b3-a295-e3818e631f35.local 37488 typ host",
            "1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            "a 1 udp 1 2001:db8::1 1234 typ srflx",
        ] {
            let candidate = parse(text).unwrap();
            let mut out = String::new();
            write(&mut out, &candidate);
            assert_eq!(out, format!("a=candidate:{text}\r\n"));
        }
        let rich = parse("1 1 UDP 5 192.0.2.1 7 typ relay raddr 0.0.0.0 rport 0 generation 0").unwrap();
        assert_eq!((rich.protocol.as_str(), rich.kind.as_str(), rich.port), ("udp", "relay", 7));
    }

    #[test]
    fn ignores_what_is_not_one() {
        for text in [
            "",
            "1",
            "1 2 udp 1 192.0.2.1 7 typ host",
            "1 1 sctp 1 192.0.2.1 7 typ host",
            "1 1 udp x 192.0.2.1 7 typ host",
            "1 1 udp 1 a 70000 typ host",
            "1 1 udp 1 a 7 typ alien",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
