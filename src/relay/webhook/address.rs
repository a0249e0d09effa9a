//! The addresses that a webhook may connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use ipnet::{Ipv4Net, Ipv6Net};
use tower_service::Service;

use crate::issue::BoxError;

/// The IPv4 networks that are not globally reachable: IANA's special-purpose registry
/// (RFC 6890), with multicast and what is reserved.
const PRIVATE_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 52, 193, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 3),
];

/// The IPv6 networks within global unicast that are not globally reachable. The networks of 6to4
/// and Teredo carry an IPv4 address, and no receiver is there.
const PRIVATE_V6: [Ipv6Net; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];
/// Global unicast (RFC 4291, section 2.4, as IANA assigns it).
const UNICAST_V6: Ipv6Net = v6(0x2000, 0, 3);
/// IPv4 addresses behind NAT64 (RFC 6052, section 2.1).
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 96);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// Returns the network of the address that begins with these two groups.
const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// Returns whether an address is on the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !PRIVATE_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            let inner = address.to_ipv4_mapped().or_else(|| {
                let [.., a, b, c, d] = address.octets();
                NAT64.contains(&address).then(|| Ipv4Addr::new(a, b, c, d))
            });
            match inner {
                Some(inner) => is_public(inner.into()),
                None => {
                    UNICAST_V6.contains(&address)
                        && !PRIVATE_V6.iter().any(|network| network.contains(&address))
                }
            }
        }
    }
}

/// A resolver of names that yields the addresses which may be connected to. The client
/// connects to those and asks no second time, so that a name can't change in between.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    system: GaiResolver,
    is_any: bool,
}

impl Resolver {
    pub(super) fn public() -> Self {
        Self { system: GaiResolver::new(), is_any: false }
    }

    pub(super) fn is_any(&self) -> bool {
        self.is_any
    }

    pub(super) fn any() -> Self {
        Self { system: GaiResolver::new(), is_any: true }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.system.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, is_any) = (self.system.call(name), self.is_any);
        Box::pin(async move {
            let is_allowed = |address: &SocketAddr| is_any || is_public(address.ip());
            let allowed: Vec<_> = found.await?.filter(is_allowed).collect();
            if allowed.is_empty() {
                return Err("the name has no public address".into());
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_told_from_others() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.0",
            "100.63.255.255",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "100::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }
}
