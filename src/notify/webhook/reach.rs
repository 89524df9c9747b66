//! Which addresses a webhook may be sent to.
//!
//! Tenants choose the URLs, and the server stands where they don't: without bounds a webhook would knock at whatever listens in the
//! server's own network, and its outcome would tell what does.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::domain::error::Invalid;

/// Addresses that begin with the same bits, as `10.0.0.0/8` writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Loopback, private, shared, link-local, documentation, benchmark, multicast and reserved addresses (RFC 6890 and its successors).
const NOT_PUBLIC_V4: [Network; 16] = [
    Network::v4([0, 0, 0, 0], 8),
    Network::v4([10, 0, 0, 0], 8),
    Network::v4([100, 64, 0, 0], 10),
    Network::v4([127, 0, 0, 0], 8),
    Network::v4([169, 254, 0, 0], 16),
    Network::v4([172, 16, 0, 0], 12),
    Network::v4([192, 0, 0, 0], 24),
    Network::v4([192, 0, 2, 0], 24),
    Network::v4([192, 31, 196, 0], 24),
    Network::v4([192, 88, 99, 0], 24),
    Network::v4([192, 168, 0, 0], 16),
    Network::v4([198, 18, 0, 0], 15),
    Network::v4([198, 51, 100, 0], 24),
    Network::v4([203, 0, 113, 0], 24),
    Network::v4([224, 0, 0, 0], 4),
    // With it 255.255.255.255, the broadcast address.
    Network::v4([240, 0, 0, 0], 4),
];
/// All that IPv6 gives out; the rest is local, multicast or unassigned.
const GLOBAL_V6: Network = Network::v6([0x2000, 0], 3);
/// Parts of it that aren't public: Teredo, benchmarks and other protocols' own, documentation twice.
const NOT_PUBLIC_V6: [Network; 3] =
    [Network::v6([0x2001, 0], 23), Network::v6([0x2001, 0xdb8], 32), Network::v6([0x3fff, 0], 20)];
/// 6to4: the IPv4 address of the gateway follows.
const SIX_TO_FOUR: Network = Network::v6([0x2002, 0], 16);
/// NAT64: the IPv4 address ends it.
const NAT64: Network = Network::v6([0x64, 0xff9b], 96);

impl Network {
    const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> Self {
        Self { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6([a, b]: [u16; 2], bits: u8) -> Self {
        Self { base: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), bits }
    }

    /// Reads networks with commas between them. A single address stands for itself.
    ///
    /// # Errors
    /// [`Invalid`] for `field` unless each is one, without bits beyond its length.
    pub fn parse_list(field: &str, text: &str) -> Result<Vec<Self>, Invalid> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| Self::parse(field, part)).collect()
    }

    fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let wrong =
            || Invalid::new(field, format!("{text:?} isn't a network; give one such as 10.1.0.0/16 or fd00::/8"));
        let (base, bits) = text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        let network = Self { base, bits };
        let is_sound = bits <= most && network.common(base) == value(base);
        if is_sound { Ok(network) } else { Err(wrong()) }
    }

    /// The bits of an address that this network fixes.
    fn common(self, address: IpAddr) -> u128 {
        let free = if address.is_ipv4() { 32 } else { 128 } - u32::from(self.bits);
        value(address).checked_shr(free).and_then(|fixed| fixed.checked_shl(free)).unwrap_or(0)
    }

    fn contains(self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4() && self.common(address) == value(self.base)
    }
}

fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Where webhooks may go.
#[derive(Debug, Clone)]
pub struct Reach {
    /// `None`: anywhere.
    besides_public: Option<Arc<[Network]>>,
}

impl Reach {
    /// Anywhere: for a URL that is the operator's own.
    pub fn anywhere() -> Self {
        Self { besides_public: None }
    }

    /// Public addresses, and the networks given.
    pub fn public_and(networks: &[Network]) -> Self {
        Self { besides_public: Some(networks.into()) }
    }

    pub(super) fn is_anywhere(&self) -> bool {
        self.besides_public.is_none()
    }

    /// Judges an address by what it leads to in the end.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let Some(networks) = &self.besides_public else { return true };
        // An IPv4 address written as one of IPv6 is the same place.
        let address = address.to_canonical();
        let is_given = |address: IpAddr| networks.iter().any(|network| network.contains(address));
        is_given(address) || translated(address).is_some_and(|inner| is_given(inner.into())) || is_public(address)
    }
}

/// The IPv4 address that a gateway will make of an IPv6 address.
fn translated(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let [_, a, b, _, _, _, c, d] = v6.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    if NAT64.contains(address) { Some(of(c, d)) } else { SIX_TO_FOUR.contains(address).then(|| of(a, b)) }
}

fn is_public(address: IpAddr) -> bool {
    let is_in = |network: &Network| network.contains(address);
    match (address, translated(address)) {
        (IpAddr::V4(_), _) => !NOT_PUBLIC_V4.iter().any(is_in),
        (IpAddr::V6(_), Some(inner)) => is_public(inner.into()),
        (IpAddr::V6(_), None) => is_in(&GLOBAL_V6) && !NOT_PUBLIC_V6.iter().any(is_in),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const INSIDE: &str = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254
        169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255
        198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
        :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
        64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 2002:7f00:1:: 2002:a00:1::1 2002:c0a8:101::1
        100::1 2001::1 2001:2::1 2001:db8::1 3fff::1 5f00::1 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 ffff::1";
    const OUTSIDE: &str = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1
        192.167.1.1 198.17.0.1 198.20.0.1 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1
        2606:4700:4700::1111 2a00:1450::1 2003::1";

    #[test]
    fn only_public_addresses_are_reached() {
        let reach = Reach::public_and(&[]);
        for inside in INSIDE.split_whitespace() {
            assert!(!reach.allows(address(inside)), "{inside}");
            assert!(Reach::anywhere().allows(address(inside)), "{inside}");
        }
        for outside in OUTSIDE.split_whitespace() {
            assert!(reach.allows(address(outside)), "{outside}");
        }
    }

    #[test]
    fn what_is_allowed_is_reached_however_it_is_written() {
        let networks = Network::parse_list("webhook_allow", "10.1.0.0/16, fd00:1::/32,127.0.0.1").unwrap();
        let reach = Reach::public_and(&networks);
        for inside in
            ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1", "fd00:1::9", "127.0.0.1", "8.8.8.8"]
        {
            assert!(reach.allows(address(inside)), "{inside}");
        }
        for outside in ["10.2.0.1", "127.0.0.2", "fd00:2::1", "::1"] {
            assert!(!reach.allows(address(outside)), "{outside}");
        }
        let all = Reach::public_and(&Network::parse_list("webhook_allow", "0.0.0.0/0,::/0").unwrap());
        assert!(["127.0.0.1", "::1", "fe80::1"].into_iter().all(|text| all.allows(address(text))));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        assert_eq!(Network::parse_list("webhook_allow", " , ").unwrap(), []);
        for wrong in [
            "10.0.0.0/33",
            "10.0.0.1/8",
            "fd00::/129",
            "10.0.0/8",
            "localhost",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/-1",
            "::1/0",
        ] {
            let error = Network::parse_list("webhook_allow", wrong).unwrap_err();
            assert!(error.to_string().starts_with("webhook_allow: ") && error.problem.contains(wrong), "{error}");
        }
    }
}
