//! Makes links that pair: asks the exchange for one-time secrets and puts them behind the addresses of the page. Run by
//! whoever asks for links. Not here: where the page is reached, and how links are printed (`links`).

use std::{net::SocketAddr, time::Duration};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::{Listen, PageBroker},
    links::{self, Place},
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
    pub page_url: Option<String>,
    pub address: Address,
    /// The broker as browsers reach it; without, they use the embedded one.
    pub broker: Option<PageBroker>,
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
        links::places(self.listen, self.bound, &links::interfaces(), self.page_url.as_deref())
    }

    fn link(&self, Place { url, reach }: Place, secret: PairingSecret) -> Place {
        let Address { device, root } = self.address.clone();
        let link =
            Link { device, root, secret, broker: self.broker.as_ref().map(PageBroker::address_for_links) };
        Place { url: format!("{url}#{}", link.fragment()), reach }
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
