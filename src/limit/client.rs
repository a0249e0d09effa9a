//! Who sends a request.

use std::net::{IpAddr, Ipv6Addr};

/// Who sends a request, as far as limits and policies are concerned.
///
/// ```
/// use signup::limit::Client;
///
/// let mapped = Client::from("::ffff:192.0.2.1".parse::<std::net::IpAddr>().unwrap());
/// assert_eq!(mapped, Client::from("192.0.2.1".parse::<std::net::IpAddr>().unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Client(Option<IpAddr>);

impl Client {
    /// A client without an address. All of these are one.
    pub const UNKNOWN: Self = Self(None);

    /// Its address; an IPv4 address that is mapped into IPv6 as itself.
    pub fn address(&self) -> Option<IpAddr> {
        self.0
    }

    /// What it shares its buckets by: an IPv6 address has 2⁶⁴ neighbours that are
    /// one customer's.
    pub(super) fn network(self) -> [u8; 16] {
        match self.0 {
            // No network looks so.
            None => [0xff; 16],
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(address)) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).octets()
            }
        }
    }
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(Some(address.to_canonical()))
    }
}

impl From<Option<IpAddr>> for Client {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::UNKNOWN, Self::from)
    }
}
