//! The client's address, behind proxies or not.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::limit::ClientIp;

use super::Head;

/// The maximum number of header entries that are read, more than a chain of proxies adds.
const MAX_ENTRIES: usize = 64;

/// The proxies that are trusted to report the client's address. Default: none, and the
/// client is the peer.
///
/// Behind proxies, one header is read from its right, where the nearest proxy has written.
/// Anything left of the first address that is not a proxy's may be forged. All other
/// headers are ignored.
///
/// ```
/// use signup::http::{Head, TrustedProxies};
///
/// let headers = [("x-forwarded-for", b"203.0.113.9, 192.0.2.1".as_slice())];
/// let head = Head::new("POST", headers).peer("10.0.0.1".parse().ok());
/// let client = |proxies: TrustedProxies| proxies.client(&head).address().unwrap().to_string();
///
/// assert_eq!(client(TrustedProxies::none()), "10.0.0.1");
/// assert_eq!(client(TrustedProxies::hops(1)), "192.0.2.1");
/// let networks = ["10.0.0.0/8", "192.0.2.0/24"].map(|network| network.parse().unwrap());
/// assert_eq!(client(TrustedProxies::networks(networks)), "203.0.113.9");
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TrustedProxies {
    trust: Trust,
    header: Header,
}

#[derive(Debug, Clone, Default)]
enum Trust {
    #[default]
    Nobody,
    Hops(usize),
    Networks(Vec<IpNet>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Header {
    #[default]
    XForwardedFor,
    Forwarded,
}

impl TrustedProxies {
    /// Trusts no proxy: the client is the peer.
    pub fn none() -> Self {
        Self::default()
    }

    /// Trusts this number of proxies in front, each of which appends the address of its
    /// client: the client is that many entries from the right. Zero is the same as
    /// [`none`](Self::none). With fewer entries it is the peer.
    pub fn hops(hops: usize) -> Self {
        let trust = if hops == 0 { Trust::Nobody } else { Trust::Hops(hops) };
        Self { trust, ..Self::default() }
    }

    /// Trusts proxies with addresses in these networks: the client is the first address
    /// from the right that is in none of them, or the peer, if the peer is not.
    pub fn networks(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let trust = Trust::Networks(networks.into_iter().collect());
        Self { trust, ..Self::default() }
    }

    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-For`.
    pub fn forwarded(self) -> Self {
        Self { header: Header::Forwarded, ..self }
    }

    /// Returns the client of a request. An entry that can't be parsed, and everything left
    /// of it, is not trusted: then it is the peer.
    pub fn client(&self, head: &Head<'_>) -> ClientIp {
        let found = match &self.trust {
            Trust::Nobody => None,
            Trust::Hops(hops) => self.entries(head).nth(hops.saturating_sub(1)).flatten(),
            Trust::Networks(networks) => self.beyond(networks, head),
        };
        found.or(head.peer).into()
    }

    /// Returns the first address from the right that is not a proxy's, beginning with the
    /// peer.
    fn beyond(&self, networks: &[IpNet], head: &Head<'_>) -> Option<IpAddr> {
        let is_proxy = |address: &IpAddr| {
            let address = address.to_canonical();
            networks.iter().any(|network| network.contains(&address))
        };
        head.peer.filter(is_proxy)?;
        let mut furthest = None;
        for entry in self.entries(head) {
            let address = entry?;
            if !is_proxy(&address) {
                return Some(address);
            }
            furthest = Some(address);
        }
        furthest
    }

    /// Returns the entries from the right, `None` for those that can't be parsed.
    fn entries<'a>(&self, head: &'a Head<'_>) -> impl Iterator<Item = Option<IpAddr>> + 'a {
        let header = self.header;
        let name = match header {
            Header::XForwardedFor => "x-forwarded-for",
            Header::Forwarded => "forwarded",
        };
        let lines =
            head.headers.iter().rev().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        let entries = lines.flat_map(|(_, line)| FromTheRight { rest: Some(line), by: b',' });
        entries.take(MAX_ENTRIES).map(move |entry| {
            let entry = std::str::from_utf8(entry).ok()?.trim();
            match header {
                Header::XForwardedFor => address(entry),
                Header::Forwarded => address(forwarded_for(entry)?),
            }
        })
    }
}

/// The parts between separators, from the right, ignoring separators inside of a quoted
/// string (RFC 9110, section 5.6.4): proxies quote what clients have sent. A quote that a
/// client left open, on the left, captures nothing that proxies have written, on the right.
struct FromTheRight<'a> {
    rest: Option<&'a [u8]>,
    by: u8,
}

impl<'a> Iterator for FromTheRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut quoted = false;
        for (at, octet) in rest.iter().enumerate().rev() {
            let before = rest.get(..at).unwrap_or_default();
            if *octet == b'"' {
                quoted ^= !is_escaped(before);
            } else if *octet == self.by && !quoted {
                self.rest = Some(before);
                return rest.get(at + 1..);
            }
        }
        self.rest = None;
        Some(rest)
    }
}

/// Returns whether an unescaped backslash precedes. Called for quotes only, so that no
/// backslash is counted twice, however many a client sends.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|octet| **octet == b'\\').count() % 2 == 1
}

/// Returns the only `for` of an element (RFC 7239, section 4), without quotes. Obfuscated
/// identifiers and `unknown` are not addresses.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = FromTheRight { rest: Some(element.as_bytes()), by: b';' };
    let pairs = pairs.map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='));
    let pairs: Option<Vec<_>> = pairs.collect();
    let mut named = pairs?.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    let (Some((_, value)), None) = (named.next(), named.next()) else {
        return None;
    };
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Some(quoted.unwrap_or(value))
}

/// Parses an address, optionally in brackets, with a zone (RFC 6874) or with a port, which may
/// be obfuscated (RFC 7239, section 6). What has anything else beside it was not written by a
/// proxy.
fn address(text: &str) -> Option<IpAddr> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        // One colon separates a port; an IPv6 address has more.
        None if text.bytes().filter(|byte| *byte == b':').count() == 1 => {
            let (host, port) = text.split_once(':')?;
            (host, Some(port))
        }
        None => (text, None),
    };
    if !port.is_none_or(is_port) {
        return None;
    }
    match host.split_once('%') {
        Some((address, zone)) if is_name(zone) => address.parse().ok().map(IpAddr::V6),
        Some(_) => None,
        None => host.parse().ok(),
    }
}

fn is_port(text: &str) -> bool {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    is_number || text.strip_prefix('_').is_some_and(is_name)
}

fn is_name(text: &str) -> bool {
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !text.is_empty() && text.bytes().all(in_alphabet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &TrustedProxies, peer: &str, headers: &[(&str, &str)]) -> String {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        let head = Head::new("POST", headers).peer(peer.parse().ok());
        let address = proxies.client(&head).address();
        address.map_or("unknown".to_owned(), |address| address.to_string())
    }

    const XFF: &str = "X-Forwarded-For";

    #[test]
    fn q05_q08_nobody_is_trusted_unless_told() {
        let none = TrustedProxies::none();
        for name in [XFF, "Forwarded", "X-Real-IP", "CF-Connecting-IP"] {
            assert_eq!(client(&none, "10.0.0.1", &[(name, "192.0.2.1")]), "10.0.0.1");
        }
        let one = TrustedProxies::hops(1);
        for name in ["Forwarded", "X-Real-IP", "CF-Connecting-IP", "X-Forwarded"] {
            assert_eq!(client(&one, "10.0.0.1", &[(name, "for=192.0.2.1")]), "10.0.0.1");
        }
        assert_eq!(client(&TrustedProxies::hops(0), "10.0.0.1", &[(XFF, "192.0.2.1")]), "10.0.0.1");
    }

    #[test]
    fn q06_hops_are_counted_from_the_right() {
        let lines = [(XFF, "203.0.113.66, 192.0.2.1"), ("x-forwarded-for", "198.51.100.7")];
        for (hops, expected) in
            [(1, "198.51.100.7"), (2, "192.0.2.1"), (3, "203.0.113.66"), (4, "10.0.0.1")]
        {
            assert_eq!(client(&TrustedProxies::hops(hops), "10.0.0.1", &lines), expected);
        }
        assert_eq!(client(&TrustedProxies::hops(1), "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn q06_networks_are_left_at_the_first_stranger() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        let proxies = TrustedProxies::networks(networks);
        let spoofed = [(XFF, "203.0.113.66, 192.0.2.1, 2001:db8::5, 10.1.1.1")];
        assert_eq!(client(&proxies, "10.0.0.1", &spoofed), "192.0.2.1");
        assert_eq!(client(&proxies, "::ffff:10.0.0.1", &spoofed), "192.0.2.1");
        // Who does not come through a proxy can write what he likes.
        assert_eq!(client(&proxies, "192.0.2.99", &spoofed), "192.0.2.99");
        assert_eq!(client(&proxies, "10.0.0.1", &[(XFF, "10.9.9.9, 10.1.1.1")]), "10.9.9.9");
        assert_eq!(
            client(&proxies, "10.0.0.1", &[(XFF, "192.0.2.1, unknown, 10.1.1.1")]),
            "10.0.0.1"
        );
        assert_eq!(client(&proxies, "no peer", &spoofed), "unknown");
    }

    #[test]
    fn q04_q07_every_spelling_of_an_address_and_nothing_else() {
        let one = TrustedProxies::hops(1);
        for (entry, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1:8080 ", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:DB8:0::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("unknown", "10.0.0.1"),
            ("_hidden", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("192.0.2.1,", "10.0.0.1"),
            ("192.0.2.999", "10.0.0.1"),
            ("[2001:db8::1", "10.0.0.1"),
            ("0x7f.1", "10.0.0.1"),
        ] {
            assert_eq!(client(&one, "10.0.0.1", &[(XFF, entry)]), expected, "{entry}");
        }
        let many = "192.0.2.1,".repeat(10_000) + "198.51.100.7";
        assert_eq!(client(&one, "10.0.0.1", &[(XFF, &many)]), "198.51.100.7");
        assert_eq!(client(&TrustedProxies::hops(5_000), "10.0.0.1", &[(XFF, &many)]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_where_it_is_asked_for() {
        let one = TrustedProxies::hops(1).forwarded();
        for (element, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("By=10.0.0.9;For=\"192.0.2.1:80\";proto=https", "192.0.2.1"),
            ("for=203.0.113.66, for=\"[2001:db8::1]:4711\"; by=x", "2001:db8::1"),
            ("for=unknown", "10.0.0.1"),
            ("for=\"_gazonk\"", "10.0.0.1"),
            ("by=192.0.2.1", "10.0.0.1"),
            ("192.0.2.1", "10.0.0.1"),
            // What a client sent is in quotes, and is no element and no pair.
            (r#"host="a;for=203.0.113.66;b";for=192.0.2.1"#, "192.0.2.1"),
            (r#"for=192.0.2.1;host="x,for=203.0.113.66;a""#, "192.0.2.1"),
            (r#"for=192.0.2.1;host="\",for=203.0.113.66;\"""#, "192.0.2.1"),
            (r#"for="203.0.113.66, for=192.0.2.1"#, "192.0.2.1"),
            ("for=203.0.113.66;for=192.0.2.1", "10.0.0.1"),
            ("for=192.0.2.1;;", "10.0.0.1"),
        ] {
            assert_eq!(client(&one, "10.0.0.1", &[("forwarded", element)]), expected, "{element}");
        }
        assert_eq!(client(&one, "10.0.0.1", &[(XFF, "192.0.2.1")]), "10.0.0.1");
    }

    /// Each byte is read once; were it once per pair of bytes, this would not end.
    #[test]
    fn q07_a_head_of_nothing_but_backslashes_and_quotes_is_read_once() {
        let one = TrustedProxies::hops(1);
        for text in ["\\", "\"", "\\\"", "\"\\", ";", "for=\";"] {
            let long = text.repeat(1 << 20);
            for (name, proxies) in [(XFF, one.clone()), ("forwarded", one.clone().forwarded())] {
                assert_eq!(client(&proxies, "10.0.0.1", &[(name, &long)]), "10.0.0.1", "{text}");
            }
        }
    }

    #[test]
    fn an_address_has_nothing_beside_it_but_a_zone_or_a_port() {
        for (entry, expected) in [
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25]:_x-1", "fe80::1"),
            ("192.0.2.1:65535", "192.0.2.1"),
            ("192.0.2.1:_hidden", "192.0.2.1"),
        ] {
            assert_eq!(address(entry), expected.parse().ok(), "{entry}");
        }
        for entry in [
            "::ff20%01:91.0.2.1",
            "fe80::1%",
            "fe80::1%a b",
            "192.0.2.1%eth0",
            "[2001:db8::1]443",
            "[2001:db8::1] x",
            "[2001:db8::1",
            "192.0.2.1:",
            "192.0.2.1:http",
            "192.0.2.1:123456",
            "192.0.2.1:_",
            "",
        ] {
            assert_eq!(address(entry), None, "{entry}");
        }
    }
}
