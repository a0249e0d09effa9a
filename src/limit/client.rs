//! The client of a request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The client of a request, for limits and policies.
///
/// ```
/// use signup::limit::ClientIp;
///
/// let mapped = ClientIp::from("::ffff:192.0.2.1".parse::<std::net::IpAddr>().unwrap());
/// assert_eq!(mapped, ClientIp::from("192.0.2.1".parse::<std::net::IpAddr>().unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClientIp(Option<IpAddr>);

impl ClientIp {
    /// A client without an address. All of them share one bucket.
    pub const UNKNOWN: Self = Self(None);

    /// Returns its address; an IPv4-mapped one as IPv4.
    pub fn address(&self) -> Option<IpAddr> {
        self.0
    }

    /// Returns the network that shares one bucket: an IPv4 address, embedded in IPv6 or
    /// not, or an IPv6 /64, the usual customer allocation.
    pub(crate) fn network(self) -> [u8; 16] {
        match self.0 {
            // Not a network of any address.
            None => [0xff; 16],
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(address)) => network_of_ipv6(address).octets(),
        }
    }
}

fn network_of_ipv6(address: Ipv6Addr) -> Ipv6Addr {
    if let Some(address) = embedded_ipv4(address) {
        return address.to_ipv6_mapped();
    }
    match address.segments() {
        // A local translator embeds an IPv4 address at a position that must not be assumed
        // (RFC 8215, section 5).
        [0x64, 0xff9b, 1, ..] => address,
        [one, two, three, four, ..] => Ipv6Addr::new(one, two, three, four, 0, 0, 0, 0),
    }
}

/// Returns the IPv4 address that a transition mechanism has embedded in an IPv6 address. By
/// /64, all of IPv4 behind a translator would be one client, and the owner of one IPv4
/// address would be 65,536 clients behind 6to4.
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let ipv4 = |high, low| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    let (high, low): (u16, u16) = match address.segments() {
        // IPv4-mapped (RFC 4291, section 2.5.5.2); NAT64 and SIIT by the well-known
        // prefix (RFC 6052, section 2.1); 6to4 (RFC 3056, section 2).
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        // Teredo (RFC 4380, section 4): the client's address behind its NAT, inverted.
        [0x2001, 0, _, _, _, _, high, low] => (!high, !low),
        _ => return None,
    };
    Some(ipv4(high, low))
}

impl From<IpAddr> for ClientIp {
    fn from(address: IpAddr) -> Self {
        Self(Some(address.to_canonical()))
    }
}

impl From<Option<IpAddr>> for ClientIp {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::UNKNOWN, Self::from)
    }
}
