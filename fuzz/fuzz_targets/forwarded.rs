//! Headers of proxies: what a client writes into them decides nothing.
#![no_main]

use std::net::IpAddr;

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use signup::http::{Head, TrustedProxies};

fuzz_target!(|forged: &[u8]| {
    let peer: Option<IpAddr> = "10.0.0.1".parse().ok();
    let client = "192.0.2.77".parse().ok();
    let networks = || [IpNet::new("10.0.0.0".parse().unwrap(), 8).unwrap()];
    for (name, written) in [("x-forwarded-for", "192.0.2.77"), ("forwarded", "for=192.0.2.77")] {
        let is_forwarded = name == "forwarded";
        let of = |proxies: TrustedProxies| if is_forwarded { proxies.forwarded() } else { proxies };
        let (hops, networks) =
            (of(TrustedProxies::hops(1)), of(TrustedProxies::networks(networks())));

        // Alone, a header says an address that stands in it, or nothing.
        let head = Head::new("POST", [(name, forged)]).peer(peer);
        for proxies in [&hops, &networks] {
            if let Some(said) = proxies.client(&head).address().filter(|said| Some(*said) != peer) {
                let text = String::from_utf8_lossy(forged);
                let stands = |part: &str| {
                    part.parse::<IpAddr>().is_ok_and(|it| it.to_canonical() == said.to_canonical())
                };
                let parts =
                    text.split(|sign: char| !(sign.is_ascii_hexdigit() || ".:".contains(sign)));
                let without_port =
                    |part: &str| part.rsplit_once(':').map(|(host, _)| host.to_owned());
                let mut parts =
                    parts.flat_map(|part| [Some(part.to_owned()), without_port(part)]).flatten();
                assert!(parts.any(|part| stands(&part)), "{said} of {text:?}");
            }
        }

        // With what the proxy adds, to the line or as a line of its own, it is the client.
        let joined = [forged, b", ", written.as_bytes()].concat();
        let one = Head::new("POST", [(name, &*joined)]).peer(peer);
        let two = Head::new("POST", [(name, forged), (name, written.as_bytes())]).peer(peer);
        for head in [one, two] {
            assert_eq!(hops.client(&head).address(), client);
            assert_eq!(networks.client(&head).address(), client);
        }
        // Whoever is no proxy is the client, whatever it sends.
        let stranger: Option<IpAddr> = "198.51.100.9".parse().ok();
        let head = Head::new("POST", [(name, forged)]).peer(stranger);
        assert_eq!(networks.client(&head).address(), stranger);
    }
});
