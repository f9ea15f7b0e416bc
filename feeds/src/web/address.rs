//! Which addresses a feed may fetch from. Pure.
//!
//! The address of a feed is a user's word, and the hub asks from inside its operator's network: without a check every user
//! could read what only machines in there may read. So only addresses of the public internet are asked, and those that the
//! operator allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The addresses beside the public ones that feeds may fetch from.
#[derive(Clone, Debug, Default)]
pub struct PrivateAllowed(Vec<IpNet>);

impl PrivateAllowed {
    /// Reads networks (`10.1.0.0/16`, `fd00::/8`) and single addresses.
    ///
    /// # Errors
    /// A text that is neither, with that text.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, String> {
        let read = |text: &S| {
            let text = text.as_ref().trim();
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                format!("`{text}` is no address or network; expected something like 10.1.0.0/16")
            })
        };
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether feeds may fetch from `address`.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.iter().any(|net| net.contains(&address))
    }
}

/// Whether an address is one of the public internet's (IANA's registries of special-purpose addresses say which are not).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        // "This network", and what is multicast or reserved.
        || a == 0
        || a >= 224
        // Shared by carriers (RFC 6598), protocol assignments, relays of 6to4, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b) {
        // NAT64 leads to the IPv4 address within, 6to4 to its relay.
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && embedded(g, h),
        (0x2002, _) => embedded(b, c),
        // Protocol assignments (Teredo is among them), documentation.
        (0x2001, 0..=0x01ff) | (0x2001, 0x0db8) => false,
        (0x3fff, 0..=0x0fff) => false,
        // Only 2000::/3 is given out.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_permitted_unless_allowed() {
        let none = PrivateAllowed::default();
        let permits = |allowed: &PrivateAllowed, text: &str| allowed.permits(text.parse().unwrap());
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"] {
            assert!(permits(&none, public), "{public}");
        }
        let private = "127.0.0.1 127.8.9.10 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 \
                       100.64.0.1 192.0.0.8 192.0.2.1 198.18.0.1 203.0.113.5 224.0.0.1 240.0.0.1 255.255.255.255 ::1 :: \
                       fe80::1 fc00::1 fd12::1 ff02::1 2001:db8::1 2001::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::7f00:1 \
                       64:ff9b::7f00:1 64:ff9b:1::a00:1 2002:7f00:1::1 2002:c0a8:101::1";
        for private in private.split_whitespace() {
            assert!(!permits(&none, private), "{private}");
        }
        let some = PrivateAllowed::parse(&["127.0.0.0/8", "10.1.2.3", "fd00::/8"]).unwrap();
        for allowed in ["127.0.0.1", "127.9.9.9", "10.1.2.3", "fd12::1", "::ffff:127.0.0.1"] {
            assert!(permits(&some, allowed), "{allowed}");
        }
        for private in ["10.1.2.4", "192.168.1.1", "::1", "fc00::1"] {
            assert!(!permits(&some, private), "{private}");
        }
        let wrong = PrivateAllowed::parse(&["localhost"]).unwrap_err();
        assert_eq!(wrong, "`localhost` is no address or network; expected something like 10.1.0.0/16");
    }
}
