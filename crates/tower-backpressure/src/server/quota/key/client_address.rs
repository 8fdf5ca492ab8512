//! The address of a client, as trusted proxies tell it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use super::{ExtractKey, QuotaKey};

/// The address of the client of a request: that of the peer, or the one that a known number of proxies tells.
///
/// Each proxy appends the address that it was called from to a header. So the last entries are those of your own
/// proxies, and everything before them may be invented. With two proxies in a row the client is the second entry
/// from the end:
///
/// ```text
/// X-Forwarded-For: <what the client claims>, <the client>, <the first proxy>
/// ```
///
/// A header that a client invents therefore changes nothing, however long it is. A request with fewer entries than
/// there are proxies did not come through them: it counts by the address of its peer, if that is known.
///
/// ```
/// use axum::extract::ConnectInfo;
/// use std::net::SocketAddr;
/// use tower_backpressure::server::{ClientAddress, QuotaLayer};
/// use tower_backpressure::Quota;
///
/// let address = ClientAddress::x_forwarded_for(1).peer(|head| {
///     head.extensions.get().map(|&ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip())
/// });
/// let layer = QuotaLayer::per("address", address, Quota::per_second(20));
/// # let _ = layer;
/// ```
///
/// All addresses of one IPv6 network of 64 bits count as one client, since a client gets at least such a network;
/// [`ipv6_prefix`](Self::ipv6_prefix) chooses another length.
#[derive(Clone)]
pub struct ClientAddress {
    source: Source,
    /// Proxies in a row.
    proxies: usize,
    peer: Option<Arc<Peer>>,
    ipv6_prefix: u32,
}

#[derive(Clone, Debug)]
enum Source {
    Peer,
    XForwardedFor(HeaderName),
    Forwarded,
}

type Peer = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// What a provider gives to one customer at least (RFC 6177).
const IPV6_PREFIX: u32 = 64;

impl ClientAddress {
    /// The address of the peer, and no header.
    #[must_use]
    pub fn of_peer(peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Self::new(Source::Peer, 0).peer(peer)
    }

    /// `X-Forwarded-For`, behind this many proxies in a row. Use it only if each of them writes this header.
    ///
    /// # Panics
    /// When `proxies` is 0.
    #[must_use]
    pub fn x_forwarded_for(proxies: usize) -> Self {
        Self::header(HeaderName::from_static("x-forwarded-for"), proxies)
    }

    /// A header of the same form as `X-Forwarded-For`, such as `X-Real-IP`.
    ///
    /// # Panics
    /// When `proxies` is 0.
    #[must_use]
    pub fn header(name: HeaderName, proxies: usize) -> Self {
        Self::new(Source::XForwardedFor(name), proxies).behind_some()
    }

    /// `Forwarded` (RFC 7239), behind this many proxies in a row.
    ///
    /// # Panics
    /// When `proxies` is 0.
    #[must_use]
    pub fn forwarded(proxies: usize) -> Self {
        Self::new(Source::Forwarded, proxies).behind_some()
    }

    /// How the address of the peer is found, for requests that did not come through the proxies. Without it,
    /// their client is unknown.
    #[must_use]
    pub fn peer(mut self, peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.peer = Some(Arc::new(peer));
        self
    }

    /// How many bits of an IPv6 address tell clients apart; 64 by default.
    ///
    /// # Panics
    /// When `bits` is not in 1..=128.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u32) -> Self {
        assert!((1..=128).contains(&bits), "ipv6_prefix must be in 1..=128");
        self.ipv6_prefix = bits;
        self
    }

    /// The address of the client, before IPv6 addresses are cut to their network.
    #[must_use]
    pub fn of(&self, head: &Parts) -> Option<IpAddr> {
        let entry = match &self.source {
            Source::Peer => None,
            Source::XForwardedFor(name) => from_end(&head.headers, name, self.proxies),
            Source::Forwarded => from_end(&head.headers, &header::FORWARDED, self.proxies),
        };
        let Some(entry) = entry else { return self.peer.as_ref().and_then(|peer| peer(head)) };
        match self.source {
            Source::Forwarded => address(forwarded_for(entry)?),
            _ => address(entry),
        }
    }

    const fn new(source: Source, proxies: usize) -> Self {
        Self { source, proxies, peer: None, ipv6_prefix: IPV6_PREFIX }
    }

    fn behind_some(self) -> Self {
        assert!(self.proxies > 0, "proxies must be at least 1");
        self
    }

    fn network(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => match ipv4_within(address) {
                Some(address) => IpAddr::V4(address),
                None => {
                    let mask = u128::MAX << (128 - self.ipv6_prefix);
                    IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
                }
            },
        }
    }
}

impl ExtractKey for ClientAddress {
    fn extract(&self, head: &Parts) -> Option<QuotaKey> {
        self.of(head).map(|address| QuotaKey::from(self.network(address)))
    }
}

/// The IPv4 address that an IPv6 address stands for: as a socket for both says it, or a translator (RFC 6052, section 2.1).
/// All of them are in one network of 64 bits, and would be one client.
fn ipv4_within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    const TRANSLATED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let is_translated = address.segments()[..6] == TRANSLATED;
    let low_bits = || Ipv4Addr::from_bits(u128::from(address) as u32);
    address.to_ipv4_mapped().or_else(|| is_translated.then(low_bits))
}

/// The entry at this position from the end, over all lines of the header. RFC 9110, section 5.6.1.2: empty entries do
/// not count.
fn from_end<'a>(headers: &'a HeaderMap, name: &HeaderName, position: usize) -> Option<&'a [u8]> {
    let lines = headers.get_all(name).iter();
    let entries = lines.rev().flat_map(|line| FromEnd::new(line.as_bytes(), b','));
    entries.filter(|entry| !entry.is_empty()).nth(position - 1)
}

/// The parts of a text between separators outside of quoted strings, from its end. The end is what trusted proxies
/// wrote; what a client wrote before it, such as a quotation mark that it never closes, cannot change where their
/// entries begin.
struct FromEnd<'a> {
    left: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> FromEnd<'a> {
    const fn new(text: &'a [u8], separator: u8) -> Self {
        Self { left: Some(text), separator }
    }
}

impl<'a> Iterator for FromEnd<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let left = self.left?;
        let mut is_quoted = false;
        for (at, &byte) in left.iter().enumerate().rev() {
            if byte == b'"' && !is_escaped(&left[..at]) {
                is_quoted = !is_quoted;
            } else if byte == self.separator && !is_quoted {
                self.left = Some(&left[..at]);
                return Some(left[at + 1..].trim_ascii());
            }
        }
        self.left = None;
        Some(left.trim_ascii())
    }
}

fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// RFC 7239, section 4: the value of `for` in an element of `Forwarded`. No parameter may occur twice: of two values
/// one may come from a client, by a host that its proxy copies.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut values = FromEnd::new(element, b';').filter_map(|pair| {
        let (name, value) = pair.split_at_checked(pair.iter().position(|&byte| byte == b'=')?)?;
        let value = value[1..].trim_ascii();
        let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        name.trim_ascii().eq_ignore_ascii_case(b"for").then_some(inner.unwrap_or(value))
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// An address with or without a port, IPv6 with or without brackets. `None`: a name, `unknown`, or anything else.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        // More than one colon without brackets is an IPv6 address without a port.
        None => match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => (text, ""),
            Some((host, _)) => (host, &text[host.len()..]),
            None => (text, ""),
        },
    };
    // RFC 4007: the zone of a link-local address is of no meaning elsewhere.
    let host = host.split_once('%').map_or(host, |(address, _zone)| address);
    is_port(port).then(|| host.parse().ok()).flatten()
}

/// RFC 7239, section 6: nothing, or a colon and a port, which may be obfuscated.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(is_token),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddress")
            .field("source", &self.source)
            .field("proxies", &self.proxies)
            .field("has_peer", &self.peer.is_some())
            .field("ipv6_prefix", &self.ipv6_prefix)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn client(by: &ClientAddress, name: &str, lines: &[&str]) -> Option<String> {
        let mut request = Request::builder();
        for line in lines {
            request = request.header(name, *line);
        }
        let head = request.body(()).expect("a request").into_parts().0;
        by.of(&head).map(|address| address.to_string())
    }

    #[test]
    fn what_a_client_claims_before_the_entries_of_the_proxies_changes_nothing() {
        let claims = [
            "",
            "1.1.1.1, ",
            "garbage, \", ",
            "for=\"x, ",
            "1.1.1.1, 2.2.2.2, 3.3.3.3, ",
            ",,,,",
            "\\\", ",
        ];
        for claim in claims {
            let one = ClientAddress::x_forwarded_for(1);
            let said = format!("{claim}9.9.9.9");
            assert_eq!(
                client(&one, "x-forwarded-for", &[&said]).as_deref(),
                Some("9.9.9.9"),
                "{claim}"
            );
            let two = ClientAddress::x_forwarded_for(2);
            let said = format!("{claim}9.9.9.9, 10.0.0.1");
            assert_eq!(
                client(&two, "x-forwarded-for", &[&said]).as_deref(),
                Some("9.9.9.9"),
                "{claim}"
            );
            let said = [claim, "9.9.9.9", "10.0.0.1"];
            assert_eq!(
                client(&two, "x-forwarded-for", &said).as_deref(),
                Some("9.9.9.9"),
                "{claim}"
            );
            let forwarded = ClientAddress::forwarded(2);
            let said =
                format!("{claim}for=9.9.9.9;proto=https, for=\"[2001:db8::1]:4711\";by=\"a,b\"");
            assert_eq!(
                client(&forwarded, "forwarded", &[&said]).as_deref(),
                Some("9.9.9.9"),
                "{claim}"
            );
        }
    }

    #[test]
    fn addresses_of_all_forms_are_understood_and_names_are_unknown() {
        let by = ClientAddress::x_forwarded_for(1);
        let cases = [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("[fe80::1%25eth0]:4711", Some("fe80::1")),
            ("192.0.2.1:_front-end.1", Some("192.0.2.1")),
            ("[2001:db8::1]:_hidden", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("::ffff:192.0.2.1")),
            ("192.0.2.1,", Some("192.0.2.1")),
            ("192.0.2.1:", None),
            ("192.0.2.1:_", None),
            ("192.0.2.1:80 80", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]x", None),
            ("[", None),
            (":", None),
            ("%", None),
            ("", None),
            ("unknown", None),
            ("_hidden", None),
            ("300.1.1.1", None),
        ];
        for (said, expected) in cases {
            assert_eq!(client(&by, "x-forwarded-for", &[said]).as_deref(), expected, "{said}");
        }
        let by = ClientAddress::forwarded(1);
        for said in [
            "For=\"[2001:db8::1]:4711\"",
            "proto=http;for=\"[2001:db8::1]\"",
            "for = [2001:db8::1]",
        ] {
            assert_eq!(client(&by, "forwarded", &[said]).as_deref(), Some("2001:db8::1"), "{said}");
        }
        assert_eq!(client(&by, "forwarded", &["proto=http"]), None);
    }

    #[test]
    fn a_host_that_a_proxy_copies_into_a_quoted_string_names_no_client() {
        let by = ClientAddress::forwarded(1);
        for said in [
            r#"host="x;for=6.6.6.6;y";for=9.9.9.9"#,
            r#"for=9.9.9.9;host="x;for=6.6.6.6""#,
            r#"host="x\";for=6.6.6.6;\"";for=9.9.9.9"#,
            r#"host="a,for=6.6.6.6";for="9.9.9.9:_port""#,
            "for=9.9.9.9;;",
            ";for=9.9.9.9 ; proto=https",
        ] {
            assert_eq!(client(&by, "forwarded", &[said]).as_deref(), Some("9.9.9.9"), "{said}");
        }
        // The proxy did not escape the quotation mark.
        for said in [r#"host="x";for=6.6.6.6;y="";for=9.9.9.9"#, "for=6.6.6.6;for=9.9.9.9"] {
            assert_eq!(client(&by, "forwarded", &[said]), None, "{said}");
        }
    }

    #[test]
    fn empty_entries_do_not_count() {
        let by = ClientAddress::x_forwarded_for(2);
        for lines in [
            &["9.9.9.9,,10.0.0.1"][..],
            &["1.1.1.1, ,9.9.9.9,", "", ", 10.0.0.1 ,"],
            &["9.9.9.9", "", "10.0.0.1"],
        ] {
            assert_eq!(client(&by, "x-forwarded-for", lines).as_deref(), Some("9.9.9.9"));
        }
    }

    #[test]
    fn a_request_that_did_not_come_through_the_proxies_counts_by_its_peer() {
        let by = ClientAddress::x_forwarded_for(2);
        assert_eq!(client(&by, "x-forwarded-for", &["9.9.9.9"]), None);
        let by = by.peer(|_| Some(IpAddr::from([7, 7, 7, 7])));
        assert_eq!(client(&by, "x-forwarded-for", &["9.9.9.9"]).as_deref(), Some("7.7.7.7"));
        let by = ClientAddress::of_peer(|_| Some(IpAddr::from([7, 7, 7, 7])));
        assert_eq!(client(&by, "x-forwarded-for", &["9.9.9.9"]).as_deref(), Some("7.7.7.7"));
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let key = |by: &ClientAddress, address: &str| {
            QuotaKey::from(by.network(address.parse().expect("an address")))
        };
        let by = ClientAddress::x_forwarded_for(1);
        assert_eq!(key(&by, "2001:db8::1"), key(&by, "2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(key(&by, "2001:db8::1"), key(&by, "2001:db8:0:1::1"));
        assert_eq!(key(&by, "::ffff:192.0.2.1"), key(&by, "192.0.2.1"));
        let by = by.ipv6_prefix(128);
        assert_ne!(key(&by, "2001:db8::1"), key(&by, "2001:db8::2"));
    }

    #[test]
    fn an_ipv4_address_behind_a_translator_is_one_client() {
        let key = |address: &str| {
            let by = ClientAddress::x_forwarded_for(1).ipv6_prefix(56);
            QuotaKey::from(by.network(address.parse().expect("an address")))
        };
        for form in
            ["::ffff:192.0.2.1", "::ffff:c000:201", "64:ff9b::192.0.2.1", "64:ff9b::c000:201"]
        {
            assert_eq!(key(form), key("192.0.2.1"), "{form}");
            assert_ne!(key(form), key("192.0.2.2"), "{form}");
        }
        // Networks of other lengths may be of one customer (RFC 8215).
        assert_eq!(key("64:ff9b:1::192.0.2.1"), key("64:ff9b:1::192.0.2.2"));
    }
}
