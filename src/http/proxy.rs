//! Who asks, and by which address this server is seen from outside, where reverse proxies stand in between.
//!
//! In: the peer's address and a request's headers. Out: [`ClientIp`] and [`Outside`]. `X-Forwarded-…` and `Forwarded` (RFC 7239) are
//! believed only where the peer is one of `http.trusted_proxies`: anybody can write them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::header::{FORWARDED, HOST, USER_AGENT, VIA};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most addresses of a chain that are looked at, from the nearest on: no real one is longer.
const MAX_HOPS: usize = 32;
/// Longest prefix of paths, in bytes.
const MAX_PREFIX: usize = 256;
/// Longest host with port (RFC 1035: 253 characters of a name).
const MAX_AUTHORITY: usize = 260;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// An address or a range of them (CIDR): `10.0.0.0/8`, `127.0.0.1`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// What is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address such as 192.0.2.1 nor a range such as 10.0.0.0/8")]
pub struct BadNetwork(String);

impl Network {
    /// The addresses that begin with the first `bits` of `address`.
    pub(super) const fn new(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    /// Whether the address lies in it; an IPv4 address in its IPv6 form is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u32::from(own) ^ u32::from(other)).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (u128::from(own) ^ u128::from(other)).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let given: IpAddr = address.trim().parse().map_err(|_| bad())?;
        let address = given.to_canonical();
        let most = if given.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.trim().parse::<u8>().ok().filter(|bits| *bits <= most).ok_or_else(bad)?,
        };
        // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
        let bits = if given.is_ipv6() && address.is_ipv4() { bits.checked_sub(96).ok_or_else(bad)? } else { bits };
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The client's address, if known: an IPv4 client on an IPv6 socket is shown as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientIp(pub Option<IpAddr>);

impl ClientIp {
    /// Tells clients apart as far as HTTP does: by address and `User-Agent`.
    pub(super) fn with_agent(self, headers: &HeaderMap) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, headers.get(USER_AGENT).map(HeaderValue::as_bytes)).hash(&mut hasher);
        hasher.finish()
    }
}

impl<S: Sync> FromRequestParts<S> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(Self(None)))
    }
}

/// Who asks, as far as it can be believed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caller {
    /// As [`ClientIp`] has it.
    pub(super) ip: Option<IpAddr>,
    /// A proxy that isn't trusted says that it asks for somebody else: then `ip` is the proxy's.
    pub(super) for_another: bool,
}

impl Caller {
    /// The address, if it is the caller's own.
    pub(super) fn known(self) -> Option<IpAddr> {
        self.ip.filter(|_| !self.for_another)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}

/// How this server is seen from outside: take it as an argument in a handler that writes URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    /// `https://live.example.net`, if known.
    origin: Option<String>,
    /// What stands before every path: empty, or such as `/media`.
    prefix: String,
    /// How many folders the request's path is below the root, as the client wrote it.
    pub(super) depth: usize,
}

impl Outside {
    /// Nothing known but the path of the request.
    pub(super) fn at(path: &str) -> Self {
        Self { depth: path.matches('/').count().saturating_sub(1), ..Self::default() }
    }

    /// A path of ours (`/vod/x.mp4`) from the root of the outside host.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// A path of ours as an absolute URL where the outside host is known: for what doesn't resolve relative ones.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin.as_deref().unwrap_or_default(), self.prefix)
    }

    /// Our root, relative to the request's URL: right behind any proxy, whatever it says.
    pub(crate) fn root(&self) -> String {
        if self.depth == 0 { "./".to_owned() } else { "../".repeat(self.depth) }
    }

    /// A path of ours (`/live/cam1/`) relative to the request's URL.
    pub(crate) fn relative(&self, path: &str) -> String {
        format!("{}{}", "../".repeat(self.depth), path.trim_start_matches('/'))
    }
}

impl<S: Sync> FromRequestParts<S> for Outside {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Whose words are taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    trusted: Vec<Network>,
    base_path: String,
}

impl Proxies {
    pub(super) fn new(trusted: &[Network], base_path: &str) -> Self {
        Self { trusted: trusted.to_vec(), base_path: base_path.trim_end_matches('/').to_owned() }
    }

    pub(super) fn base_path(&self) -> &str {
        &self.base_path
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The nearest address of the chain that is not a trusted proxy's.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientIp {
        let mut client = peer.to_canonical();
        if self.trusts(client) {
            let chain = match joined(headers, &X_FORWARDED_FOR) {
                Some(list) => list.split(',').map(|hop| hop.trim().to_owned()).collect(),
                None => forwarded(headers).into_iter().map(|element| element.client).collect::<Vec<_>>(),
            };
            for hop in chain.iter().rev().take(MAX_HOPS) {
                // "unknown" and names for hidden addresses (RFC 7239 section 6) end what is known.
                let Some(address) = address_of(hop) else { break };
                client = address;
                if !self.trusts(client) {
                    break;
                }
            }
        }
        ClientIp(Some(client))
    }

    /// Who asks: `client` is what [`Proxies::client`] found.
    pub(super) fn caller(&self, peer: IpAddr, client: ClientIp, headers: &HeaderMap) -> Caller {
        Caller { ip: client.0, for_another: !self.trusts(peer.to_canonical()) && says_to_be_a_proxy(headers) }
    }

    /// How the client sees this server. `depth` is that of its path.
    pub(super) fn outside(&self, peer: IpAddr, headers: &HeaderMap, uri: &Uri, depth: usize) -> Outside {
        let own_host = uri.authority().map(|authority| authority.as_str()).or_else(|| headers.get(HOST)?.to_str().ok());
        let origin = |scheme: &str, host: Option<&str>| host.filter(|host| is_authority(host)).map(|host| format!("{scheme}://{host}"));
        if !self.trusts(peer.to_canonical()) {
            // A proxy that is not trusted has likely put an inner name into Host: then only the path is sure.
            let own_host = own_host.filter(|_| !says_to_be_a_proxy(headers));
            return Outside { origin: origin("http", own_host), prefix: self.base_path.clone(), depth };
        }
        let first = |name: &HeaderName| joined(headers, name).and_then(|list| list.split(',').next().map(|value| value.trim().to_owned()));
        let element = forwarded(headers).into_iter().next().unwrap_or_default();
        let scheme = first(&X_FORWARDED_PROTO).unwrap_or(element.scheme);
        let scheme = if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") { "https" } else { "http" };
        // What is no host is as good as none.
        let told = [first(&X_FORWARDED_HOST), Some(element.host)].into_iter().flatten().find(|host| is_authority(host));
        let host = told.or_else(|| own_host.map(str::to_owned));
        let port = first(&X_FORWARDED_PORT).and_then(|port| port.parse::<u16>().ok());
        let host = host.map(|host| match port {
            Some(port) if !has_port(&host) && port != if scheme == "https" { 443 } else { 80 } => format!("{host}:{port}"),
            _ => host,
        });
        let prefix = first(&X_FORWARDED_PREFIX).map(|prefix| prefix.trim_end_matches('/').to_owned());
        let prefix = prefix.filter(|prefix| is_prefix(prefix)).unwrap_or_else(|| self.base_path.clone());
        Outside { origin: origin(scheme, host.as_deref()), prefix, depth }
    }
}

/// Whether the peer says that somebody else asks through it.
fn says_to_be_a_proxy(headers: &HeaderMap) -> bool {
    [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REAL_IP, FORWARDED, VIA].iter().any(|name| headers.contains_key(name))
}

/// Whether a text can stand before paths: empty, or `/` and segments of harmless characters.
pub(super) fn is_prefix(text: &str) -> bool {
    let good = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%@+".contains(&byte))
    };
    text.len() <= MAX_PREFIX && (text.is_empty() || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(good)))
}

/// A host with or without a port, and nothing else: it is written into answers.
fn is_authority(text: &str) -> bool {
    (1..=MAX_AUTHORITY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
        && !host.ends_with(']')
}

/// All lines of a header as one list (RFC 9110 section 5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// An address as proxies write it: with or without a port, IPv6 in brackets or bare.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text,
    };
    let parsed = bare.parse::<IpAddr>().ok().or_else(|| bare.rsplit_once(':')?.0.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4));
    parsed.map(|address| address.to_canonical())
}

/// One proxy's words in `Forwarded`.
#[derive(Debug, Default)]
struct Element {
    client: String,
    scheme: String,
    host: String,
}

fn forwarded(headers: &HeaderMap) -> Vec<Element> {
    let Some(text) = joined(headers, &FORWARDED) else { return Vec::new() };
    let mut elements = Vec::new();
    for element in split_unquoted(&text, ',') {
        let mut read = Element::default();
        for pair in split_unquoted(element, ';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"').replace('\\', "");
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => read.client = value,
                "proto" => read.scheme = value,
                "host" => read.host = value,
                _ => {}
            }
        }
        elements.push(read);
    }
    elements
}

/// Splits at a character outside quotes.
fn split_unquoted(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |c: char| {
        let skip = escaped;
        escaped = quoted && c == '\\' && !skip;
        if c == '"' && !skip {
            quoted = !quoted;
        }
        c == at && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn proxies() -> Proxies {
        Proxies::new(&["127.0.0.1", "10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()), "")
    }

    #[test]
    fn networks() {
        for (network, address, inside) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.7/24", "192.0.2.200", true),
        ] {
            assert_eq!(network.parse::<Network>().unwrap().contains(address.parse().unwrap()), inside, "{network} {address}");
        }
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/", "*", "::ffff:10.0.0.0/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn clients_behind_proxies() {
        for (peer, lines, wanted) in [
            ("203.0.113.9", vec![], "203.0.113.9"),
            ("203.0.113.9", vec![("x-forwarded-for", "1.2.3.4")], "203.0.113.9"),
            ("::ffff:127.0.0.1", vec![("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            ("127.0.0.1", vec![], "127.0.0.1"),
            ("127.0.0.1", vec![("x-forwarded-for", "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
            ("127.0.0.1", vec![("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4, 10.0.0.7")], "1.2.3.4"),
            ("127.0.0.1", vec![("x-forwarded-for", "10.1.1.1, 10.0.0.7")], "10.1.1.1"),
            ("127.0.0.1", vec![("x-forwarded-for", "1.2.3.4:5678")], "1.2.3.4"),
            ("127.0.0.1", vec![("x-forwarded-for", "[2001:db8::1]:5678")], "2001:db8::1"),
            ("127.0.0.1", vec![("x-forwarded-for", "2001:db8::1")], "2001:db8::1"),
            ("127.0.0.1", vec![("x-forwarded-for", "1.2.3.4, unknown, 10.0.0.7")], "10.0.0.7"),
            ("127.0.0.1", vec![("x-forwarded-for", "")], "127.0.0.1"),
            ("127.0.0.1", vec![("forwarded", "for=1.2.3.4;proto=https, for=10.0.0.7")], "1.2.3.4"),
            ("127.0.0.1", vec![("forwarded", "For=\"[2001:db8::1]:80\"")], "2001:db8::1"),
            ("127.0.0.1", vec![("forwarded", "for=\"_hidden,;x\";host=a, for=1.2.3.4")], "1.2.3.4"),
            ("127.0.0.1", vec![("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            ("fd00::5", vec![("forwarded", "for=_gazonk")], "fd00::5"),
        ] {
            let client = proxies().client(peer.parse().unwrap(), &headers(&lines));
            assert_eq!(client, ClientIp(Some(wanted.parse().unwrap())), "{peer} {lines:?}");
        }
    }

    #[test]
    fn urls_behind_proxies() {
        let host = ("host", "in.example:8080");
        for (peer, lines, url) in [
            ("203.0.113.9", vec![host], "http://in.example:8080/x"),
            ("203.0.113.9", vec![], "/x"),
            ("203.0.113.9", vec![("host", "a\"b")], "/x"),
            ("203.0.113.9", vec![host, ("x-forwarded-host", "evil"), ("x-forwarded-prefix", "/evil")], "/x"),
            ("127.0.0.1", vec![host], "http://in.example:8080/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-proto", "https")], "https://in.example:8080/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example")], "https://a.example/x"),
            (
                "127.0.0.1",
                vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example"), ("x-forwarded-port", "8443")],
                "https://a.example:8443/x",
            ),
            (
                "127.0.0.1",
                vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example"), ("x-forwarded-port", "443")],
                "https://a.example/x",
            ),
            ("127.0.0.1", vec![("x-forwarded-host", "a.example:81"), ("x-forwarded-port", "82")], "http://a.example:81/x"),
            ("127.0.0.1", vec![("x-forwarded-host", "[2001:db8::1]"), ("x-forwarded-port", "82")], "http://[2001:db8::1]:82/x"),
            ("127.0.0.1", vec![("x-forwarded-host", "a.example, b.example"), ("x-forwarded-proto", "https, http")], "https://a.example/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-prefix", "/media/")], "http://in.example:8080/media/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-prefix", "/a/b")], "http://in.example:8080/a/b/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-prefix", "//evil.example")], "http://in.example:8080/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-prefix", "/a\"b")], "http://in.example:8080/x"),
            ("127.0.0.1", vec![host, ("forwarded", "for=1.2.3.4;host=\"a.example:444\";proto=https")], "https://a.example:444/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-proto", "javascript")], "http://in.example:8080/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-host", "\"><x")], "http://in.example:8080/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-host", "")], "http://in.example:8080/x"),
            ("127.0.0.1", vec![host, ("x-forwarded-host", "a.example/x"), ("forwarded", "host=b.example")], "http://b.example/x"),
            ("127.0.0.1", vec![host, ("forwarded", "for=1.2.3.4;host=\"a b\"")], "http://in.example:8080/x"),
        ] {
            let outside = proxies().outside(peer.parse().unwrap(), &headers(&lines), &Uri::from_static("/x"), 0);
            assert_eq!(outside.url("/x"), url, "{peer} {lines:?}");
        }
        let below = Proxies::new(&[], "/media/").outside("203.0.113.9".parse().unwrap(), &headers(&[host]), &Uri::from_static("/x"), 2);
        assert_eq!((below.url("/x"), below.path("/x")), ("http://in.example:8080/media/x".into(), "/media/x".into()));
        assert_eq!(
            (below.root(), below.relative("/live/a/"), Outside::default().root()),
            ("../../".into(), "../../live/a/".into(), "./".into())
        );
    }

    proptest! {
        #[test]
        fn no_header_is_too_much(value in "[ -~]{0,60}", name in 0usize..6) {
            let name = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "forwarded"][name];
            let headers = headers(&[(name, &value), ("host", "h")]);
            let peer = "127.0.0.1".parse().unwrap();
            let _ = proxies().client(peer, &headers);
            let outside = proxies().outside(peer, &headers, &Uri::from_static("/x"), 1);
            prop_assert!(outside.url("/x").bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%@+:/[]".contains(&byte)));
        }
    }
}
