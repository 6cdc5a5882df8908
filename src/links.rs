//! The links to watch on: one for each address at which the page can be reached, each with a one-time secret of its
//! own, and a QR code for a phone. Pure but for asking the system for its addresses. Not here: the secrets (`inviter`).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::config::Listen;

/// A place where the page is reached, as the first part of a link, or the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `http://192.168.1.20:8480/`; of a whole link with `#` and what follows, which is secret.
    pub url: String,
    pub reach: Reach,
}

/// From where a place is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// This machine.
    Local,
    /// The local network.
    Lan,
    /// Wherever the configured `web.page_url` is.
    Elsewhere,
    /// The page of another agent, whose broker serves this device.
    Hub,
}

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub address: IpAddr,
}

/// This machine's addresses. An unreadable list counts as empty: links for localhost remain.
pub fn interfaces() -> Vec<Interface> {
    if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| Interface { address: interface.ip(), name: interface.name })
        .collect()
}

/// Where the page is reached, the likeliest first. `bound` is the address the listener got, `name` the host name that the
/// local network knows: not every device can use it, but it stays when addresses change.
pub fn places(
    listen: Listen,
    bound: SocketAddr,
    interfaces: &[Interface],
    name: Option<&str>,
    page_url: Option<&str>,
) -> Vec<Place> {
    let port = bound.port();
    let mut places = Vec::new();
    let at =
        |address: IpAddr, reach| Place { url: format!("http://{}/", SocketAddr::new(address, port)), reach };
    match listen {
        Listen::At(address) if !address.ip().is_unspecified() => {
            let reach = if address.ip().is_loopback() { Reach::Local } else { Reach::Lan };
            places.push(at(address.ip(), reach));
        }
        Listen::At(_) | Listen::Everywhere(_) => {
            places.push(Place { url: format!("http://localhost:{port}/"), reach: Reach::Local });
            let v4_only = bound.is_ipv4();
            places.extend(
                interfaces
                    .iter()
                    .filter(|interface| is_lan(interface) && !(v4_only && interface.address.is_ipv6()))
                    .take(MOST_LAN_LINKS)
                    .map(|interface| at(interface.address, Reach::Lan)),
            );
        }
    }
    places.extend(name.map(|name| Place { url: format!("http://{name}:{port}/"), reach: Reach::Lan }));
    if let Some(url) = page_url {
        places.push(Place { url: url.to_owned(), reach: Reach::Elsewhere });
    }
    places
}

/// Each link takes one of the few one-time secrets that may be open at once.
const MOST_LAN_LINKS: usize = 8;

/// Leaves out what no viewer on the network can open: loopback, link-local, and bridges of container engines.
pub(crate) fn is_lan(interface: &Interface) -> bool {
    let virtual_bridge =
        ["docker", "veth", "virbr", "br-", "podman"].iter().any(|prefix| interface.name.starts_with(prefix));
    let usable = match interface.address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && v4 != Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    };
    usable && !virtual_bridge
}

/// An address that only the same network has (RFC 1918, RFC 3927, RFC 4193, RFC 4291).
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether a person sees the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Terminal,
    /// A file or another program: the links alone.
    Plain,
}

/// The links as they are printed; on a terminal with a QR code of the first that a phone can open, and `note`.
pub fn text(links: &[Place], output: Output, note: &str) -> String {
    let mut text: String = links.iter().map(|link| format!("Watch: {}\n", link.url)).collect();
    if output == Output::Terminal {
        let for_a_phone = links.iter().find(|link| link.reach != Reach::Local);
        if let Some(code) = for_a_phone.and_then(|link| QrCode::new(&link.url)) {
            text.push_str(&format!("\n{code}"));
        }
        text.push_str(&format!("{note}\n"));
    }
    text
}

/// A QR code of `text` for a terminal: two modules a character, dark on light, with a quiet zone of two.
pub struct QrCode {
    modules: Vec<bool>,
    width: usize,
}

impl QrCode {
    /// `None` when the text is too long for a code.
    pub fn new(text: &str) -> Option<Self> {
        let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L).ok()?;
        let width = code.width();
        let modules = code.into_colors().into_iter().map(|color| color == qrcode::Color::Dark).collect();
        Some(Self { modules, width })
    }

    fn dark(&self, x: isize, y: isize) -> bool {
        let inside = |v: isize| usize::try_from(v).ok().filter(|v| *v < self.width);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.modules[y * self.width + x],
            _ => false,
        }
    }
}

impl fmt::Display for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const QUIET: isize = 2;
        let end = self.width as isize + QUIET;
        for y in (-QUIET..end).step_by(2) {
            // Black on white whatever the terminal's colours are: scanners want dark on light.
            f.write_str("\x1b[30;107m")?;
            for x in -QUIET..end {
                f.write_str(match (self.dark(x, y), self.dark(x, y + 1)) {
                    (true, true) => "█",
                    (true, false) => "▀",
                    (false, true) => "▄",
                    (false, false) => " ",
                })?;
            }
            f.write_str("\x1b[0m\n")?;
        }
        Ok(())
    }
}

impl fmt::Debug for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QrCode({0}x{0})", self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str) -> Interface {
        Interface { name: name.to_owned(), address: address.parse().expect("an address") }
    }

    fn urls(places: &[Place]) -> Vec<&str> {
        places.iter().map(|place| place.url.as_str()).collect()
    }

    #[test]
    fn listening_everywhere_gives_localhost_each_lan_address_and_the_name() {
        let interfaces = [
            interface("lo", "127.0.0.1"),
            interface("eth0", "192.168.1.20"),
            interface("eth0", "fe80::1"),
            interface("eth0", "fd00::20"),
            interface("docker0", "172.17.0.1"),
        ];
        let bound = "[::]:8480".parse().expect("an address");
        let places = places(
            Listen::Everywhere(8480),
            bound,
            &interfaces,
            Some("pinhole-door.local"),
            Some("https://example.org/cam"),
        );
        assert_eq!(
            urls(&places),
            [
                "http://localhost:8480/",
                "http://192.168.1.20:8480/",
                "http://[fd00::20]:8480/",
                "http://pinhole-door.local:8480/",
                "https://example.org/cam"
            ]
        );
    }

    #[test]
    fn listening_at_one_address_gives_that_one_with_the_port_that_was_bound() {
        let listen = Listen::At("127.0.0.1:0".parse().expect("an address"));
        let places = places(
            listen,
            "127.0.0.1:40123".parse().expect("an address"),
            &[interface("eth0", "192.168.1.20")],
            None,
            None,
        );
        assert_eq!(urls(&places), ["http://127.0.0.1:40123/"]);
        assert_eq!(places[0].reach, Reach::Local);
    }

    #[test]
    fn no_ipv6_links_where_only_ipv4_was_bound() {
        let bound = "0.0.0.0:8480".parse().expect("an address");
        let interfaces = [interface("eth0", "fd00::20"), interface("eth0", "10.0.0.2")];
        let places = places(Listen::Everywhere(8480), bound, &interfaces, None, None);
        assert_eq!(urls(&places), ["http://localhost:8480/", "http://10.0.0.2:8480/"]);
    }

    #[test]
    fn a_program_gets_links_alone_and_a_person_a_code_for_a_phone() {
        let link = |url: &str, reach| Place { url: url.to_owned(), reach };
        let local = [link("http://localhost:1/#a", Reach::Local)];
        let both = [local[0].clone(), link("http://10.0.0.2:1/#b", Reach::Lan)];
        let lines = "Watch: http://localhost:1/#a\nWatch: http://10.0.0.2:1/#b\n";
        assert_eq!(text(&both, Output::Plain, "note"), lines);
        let shown = text(&both, Output::Terminal, "note");
        assert!(shown.starts_with(lines) && shown.contains('▀') && shown.ends_with("note\n"), "{shown}");
        assert!(!text(&local, Output::Terminal, "note").contains('▀'), "a phone cannot open it");
    }

    #[test]
    fn a_link_fits_a_qr_code_with_equal_rows() {
        let code = QrCode::new(&format!("http://192.168.1.20:8480/#{}", "A".repeat(160))).expect("it fits");
        let text = code.to_string();
        let rows: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(rows.len() > 10);
        assert!(rows.iter().all(|row| *row == rows[0]));
        assert!(text.contains('▀'));
    }
}
