//! Makes links that pair: asks the exchange for one-time secrets and puts them behind the addresses of the page. Run by
//! whoever asks for links. Not here: where the page is reached, and how links are printed (`links`).

use std::{net::SocketAddr, time::Duration};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    config::{Embedded, Listen, PageBroker},
    links::{self, Place, Reach},
    pipeline::CameraHandle,
    signal::{
        Address,
        exchange::Command,
        link::{Link, PairingSecret},
        message::Role,
        people::ClockNotSet,
    },
};

/// What links are made of. The machine's addresses are asked for anew each time: they change.
#[derive(Debug, Clone)]
pub struct Inviter {
    pub listen: Listen,
    /// Where the page's listener is.
    pub bound: SocketAddr,
    /// The host name that is announced on the local network, while there is one.
    pub host: watch::Receiver<Option<String>>,
    pub page_url: Option<String>,
    /// The page of the agent whose broker serves this device, too.
    pub hub_page: Option<String>,
    pub address: Address,
    /// Whether the page's own host is a way to the device, too.
    pub embedded: Embedded,
    /// The brokers of the owner's by which browsers can come.
    pub brokers: Vec<PageBroker>,
    pub commands: mpsc::Sender<Command>,
}

/// Why there is no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InviteError {
    #[error(transparent)]
    ClockNotSet(#[from] ClockNotSet),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The agent is stopping, and takes no more commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("pinhole is stopping: try again when it runs")]
pub struct Stopped;

impl Inviter {
    /// The page, as others on the network reach it; `None`: it is for this machine alone.
    pub fn page(&self) -> Option<String> {
        let mut places = self.places().into_iter().filter(|place| place.reach != Reach::Local);
        places.next().map(|place| place.url)
    }

    /// A link for each place, each for a viewer of its own.
    ///
    /// # Errors
    /// When the agent is stopping.
    pub async fn one_for_each_place(&self, role: Role) -> Result<Vec<Place>, InviteError> {
        let mut links = Vec::new();
        for place in self.places() {
            let secret = self.secret(role, None, None).await?;
            links.push(self.link(place, secret));
        }
        Ok(links)
    }

    /// A link for each place, all of them for one and the same viewer: the first that is opened counts.
    ///
    /// # Errors
    /// When the key should expire and the clock is not set, or when the agent is stopping.
    pub async fn for_one_viewer(
        &self,
        role: Role,
        name: Option<String>,
        lifetime: Option<Duration>,
    ) -> Result<Vec<Place>, InviteError> {
        let secret = self.secret(role, name, lifetime).await?;
        Ok(self.places().into_iter().map(|place| self.link(place, secret.clone())).collect())
    }

    /// Where each camera is watched by WHEP.
    pub fn endpoints(&self, cameras: &[CameraHandle]) -> Vec<Place> {
        let endpoint = |place: &Place, camera: &CameraHandle| {
            let base = place.url.trim_end_matches('/');
            Place { url: format!("{base}/whep/{}", camera.settings().id), reach: place.reach }
        };
        let at =
            |place: Place| cameras.iter().map(move |camera| endpoint(&place, camera)).collect::<Vec<_>>();
        self.places().into_iter().flat_map(at).collect()
    }

    fn places(&self) -> Vec<Place> {
        let host = self.host.borrow().clone();
        let interfaces = links::interfaces();
        let mut places =
            links::places(self.listen, self.bound, &interfaces, host.as_deref(), self.page_url.as_deref());
        places.extend(self.hub_page.iter().map(|url| Place { url: url.clone(), reach: Reach::Hub }));
        places
    }

    fn link(&self, Place { url, reach }: Place, secret: PairingSecret) -> Place {
        let Address { device, root } = self.address.clone();
        let mut brokers = self.brokers.iter().map(PageBroker::address_for_links);
        let broker = if self.is_first_way(reach) { None } else { brokers.next() };
        let link = Link { device, root, secret, broker, more_brokers: brokers.collect() };
        Place { url: format!("{url}#{}", link.fragment()), reach }
    }

    /// Whether viewers with a page from there come by the embedded broker first: it needs no third party.
    fn is_first_way(&self, reach: Reach) -> bool {
        match (self.embedded, reach) {
            // The broker beside that page serves this device.
            (_, Reach::Hub) => true,
            (Embedded::Off, _) => false,
            (Embedded::On, Reach::Local | Reach::Lan) => true,
            (Embedded::On, Reach::Elsewhere) => self.brokers.is_empty(),
        }
    }

    async fn secret(
        &self,
        role: Role,
        name: Option<String>,
        lifetime: Option<Duration>,
    ) -> Result<PairingSecret, InviteError> {
        let (reply, secret) = oneshot::channel();
        let invite = Command::Invite { role, name, lifetime, reply };
        self.commands.send(invite).await.map_err(|_| Stopped)?;
        Ok(secret.await.map_err(|_| Stopped)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::topic::DeviceId;

    /// The brokers in the link for a page that is reached from there.
    fn brokers(embedded: Embedded, reach: Reach, urls: &[&str]) -> (Option<String>, Vec<String>) {
        let brokers = urls.iter().map(|url| PageBroker { url: (*url).to_owned(), account: None });
        let inviter = Inviter {
            listen: Listen::Everywhere(8480),
            bound: ([127, 0, 0, 1], 8480).into(),
            host: watch::channel(None).1,
            page_url: None,
            hub_page: None,
            address: Address {
                root: "pinhole".to_owned(),
                device: DeviceId::parse("abcdefghijkl2345").unwrap(),
            },
            embedded,
            brokers: brokers.collect(),
            commands: mpsc::channel(1).0,
        };
        let place = Place { url: "http://192.0.2.1/".to_owned(), reach };
        let link = inviter.link(place, PairingSecret::from_bytes([1; 32])).url;
        let read = Link::parse(link.strip_prefix("http://192.0.2.1/").unwrap()).unwrap();
        (read.broker, read.more_brokers)
    }

    #[test]
    fn the_devices_own_page_comes_by_the_embedded_broker_first() {
        let (first, more) = brokers(Embedded::On, Reach::Lan, &["wss://a", "wss://b"]);
        assert_eq!((first, more), (None, vec!["wss://a".to_owned(), "wss://b".to_owned()]));
    }

    #[test]
    fn the_hubs_page_comes_by_the_broker_beside_it_first() {
        for embedded in [Embedded::On, Embedded::Off] {
            let (first, more) = brokers(embedded, Reach::Hub, &["wss://a"]);
            assert_eq!((first, more), (None, vec!["wss://a".to_owned()]));
        }
    }

    #[test]
    fn a_page_elsewhere_or_without_the_embedded_broker_comes_by_the_owners_brokers() {
        for (embedded, reach) in [(Embedded::On, Reach::Elsewhere), (Embedded::Off, Reach::Lan)] {
            let (first, more) = brokers(embedded, reach, &["wss://a", "wss://b"]);
            assert_eq!((first.as_deref(), more), (Some("wss://a"), vec!["wss://b".to_owned()]));
        }
    }

    #[test]
    fn a_page_elsewhere_reaches_the_embedded_broker_where_there_is_no_other() {
        assert_eq!(brokers(Embedded::On, Reach::Elsewhere, &[]), (None, Vec::new()));
    }
}
