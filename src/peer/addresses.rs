//! Which of the machine's addresses the agent offers to viewers as ICE host candidates. Pure but for
//! [`present`], which asks the system.

use std::net::IpAddr;

/// Sockets a connection may have; machines with containers have dozens of addresses.
const MAX_ADDRESSES: usize = 8;

/// The addresses for a connection: the configured ones, or all usable ones.
pub fn present(configured: Option<&[IpAddr]>) -> Vec<IpAddr> {
    if let Some(configured) = configured {
        return configured.to_vec();
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "network interfaces cannot be listed: viewers can connect from this machine only");
        Vec::new()
    });
    usable(interfaces.into_iter().map(|interface| interface.ip()))
}

/// All that another machine can reach, IPv4 first; loopback only where there is nothing else. Link-local
/// addresses are left out: a candidate cannot carry the interface that they need.
fn usable(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = addresses.filter(|ip| !ip.is_unspecified() && !is_link_local(ip)).collect();
    all.sort_by_key(|ip| !ip.is_ipv4());
    let mut chosen: Vec<IpAddr> = Vec::new();
    for ip in all.iter().filter(|ip| !ip.is_loopback()) {
        if !chosen.contains(ip) {
            chosen.push(*ip);
        }
    }
    if chosen.is_empty() {
        chosen = all;
    }
    chosen.truncate(MAX_ADDRESSES);
    chosen
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Vec<String> {
        let parsed = texts.iter().map(|text| text.parse().unwrap());
        usable(parsed).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_others_can_reach_is_offered_ipv4_first() {
        let addresses =
            ["127.0.0.1", "::1", "fe80::1", "2001:db8::1", "192.0.2.1", "169.254.3.4", "192.0.2.1"];
        assert_eq!(of(&addresses), ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn loopback_is_offered_where_there_is_nothing_else() {
        assert_eq!(of(&["::1", "127.0.0.1", "fe80::1"]), ["127.0.0.1", "::1"]);
        assert_eq!(of(&[]), [""; 0]);
    }

    #[test]
    fn the_number_is_bounded() {
        let many: Vec<String> = (1..100).map(|i| format!("10.0.0.{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(of(&many).len(), MAX_ADDRESSES);
    }
}
