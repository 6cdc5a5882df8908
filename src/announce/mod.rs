//! Makes the page known on the local network (mDNS, RFC 6762; DNS-SD, RFC 6763): a host name `pinhole-NAME.local`, and the
//! services `_pinhole._tcp` and `_http._tcp`. One task, `announce`, and the responder's own thread, `mDNS_daemon`, on UDP port
//! 5353. It tells the neighbours the device's name, addresses and the page's port, and nothing that is secret. Nothing else
//! depends on it: where there is no network yet, it waits for one. Not here: what a name becomes (`name`).

mod name;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mdns_sd::{DaemonEvent, IfKind, IfPredicate, RRType, Receiver, ServiceDaemon, ServiceInfo};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{clock, links, status::Told, tasks};

/// For programs that look for this agent.
const OWN_SERVICE: &str = "_pinhole._tcp.local.";
/// For people who look for pages of their network.
const PAGE_SERVICE: &str = "_http._tcp.local.";
/// A new address is announced within this time.
const ADDRESSES_EVERY_SECONDS: u32 = 10;
/// How often the responder's memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_secs(2);
/// Records that the responder may keep. It asks nothing, so it needs none but those of a conflict; but it keeps some that
/// others send without being asked.
const MOST_RECORDS: i64 = 2000;
/// Before it is tried again, where the system gives no thread or socket.
const RETRY: Duration = Duration::from_secs(60);
/// For the good-bye; it is sent at once.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where the page's name leads, as the listener has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All addresses that the local network alone has.
    Everywhere,
    /// Those of IPv4.
    V4,
    One(IpAddr),
}

/// What announces. Its name is `None` until it has one that is its own.
#[derive(Debug)]
pub struct Announcer {
    host: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Announcer {
    /// Announces nothing.
    pub fn none() -> Self {
        Self { host: watch::channel(None).1, stop: CancellationToken::new(), task: None }
    }

    /// Announces the page that listens at `bound`, under the name that is told, until it is stopped; nothing where only this
    /// machine can open it.
    pub fn start(bound: SocketAddr, told: watch::Receiver<Told>) -> Self {
        let Some(scope) = Scope::of(bound.ip()) else { return Self::none() };
        let (known, host) = watch::channel(None);
        let stop = CancellationToken::new();
        let speaker = Speaker { scope, port: bound.port(), told, known };
        let task = tasks::spawn("announce", speaker.run(stop.clone()));
        Self { host, stop, task: Some(task) }
    }

    /// The host name under which the page is announced, as `pinhole-door.local`.
    pub fn host(&self) -> watch::Receiver<Option<String>> {
        self.host.clone()
    }

    /// Tells the neighbours that the page is gone.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}

impl Scope {
    /// `None`: nobody else on the network reaches it.
    fn of(listens: IpAddr) -> Option<Self> {
        match listens {
            ip if ip.is_loopback() => None,
            IpAddr::V4(v4) if v4.is_unspecified() => Some(Self::V4),
            IpAddr::V6(v6) if v6.is_unspecified() => Some(Self::Everywhere),
            ip => Some(Self::One(ip)),
        }
    }

    /// Whether the name leads to that address of this machine.
    fn covers(self, interface: &links::Interface) -> bool {
        // Where the internet can reach the port, it would be answered, too: the responder does not look from where it is
        // asked (RFC 6762, section 11). So it has no ear at addresses that are not the local network's own.
        if !links::is_private(interface.address) {
            return false;
        }
        // An address that a network without DHCP has by itself (RFC 3927) is where names are needed most. One of IPv6 (RFC
        // 4291, section 2.5.6) means nothing in a browser.
        let by_itself = matches!(interface.address, IpAddr::V4(v4) if v4.is_link_local());
        let is_reached = by_itself || links::is_lan(interface);
        match self {
            Self::Everywhere => is_reached,
            Self::V4 => is_reached && interface.address.is_ipv4(),
            Self::One(ip) => interface.address == ip,
        }
    }
}

/// Why the responder is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Renamed,
    /// It keeps too much of what others sent.
    Full,
    /// By itself.
    Failed,
}

struct Speaker {
    scope: Scope,
    port: u16,
    told: watch::Receiver<Told>,
    /// The host name, while it is announced.
    known: watch::Sender<Option<String>>,
}

impl Speaker {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let name = self.told.borrow_and_update().name.clone();
            let end = match self.respond(&name) {
                Ok((responder, events)) => {
                    let end = self.listen(&name, &responder, &events, &stop).await;
                    goodbye(&responder).await;
                    end
                }
                Err(error) => {
                    debug!(%error, "the page cannot be announced");
                    End::Failed
                }
            };
            self.known.send_replace(None);
            match end {
                End::Stopped => break,
                End::Renamed => {}
                End::Full => warn!("so much was sent to the announcer (UDP 5353) that it begins anew"),
                End::Failed => {
                    info!("the page is not announced on the local network; it is tried again");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = clock::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    /// Starts the responder. It takes its names after it has asked for them (RFC 6762, section 8.1), and others where
    /// another device has them (section 9).
    fn respond(&self, name: &str) -> mdns_sd::Result<(ServiceDaemon, Receiver<DaemonEvent>)> {
        let responder = ServiceDaemon::new()?;
        let events = responder.monitor()?;
        responder.set_ip_check_interval(ADDRESSES_EVERY_SECONDS)?;
        let scope = self.scope;
        let covered = IfPredicate::new(move |interface| {
            scope.covers(&links::Interface { name: interface.name.clone(), address: interface.ip() })
        });
        responder.disable_interface(IfKind::All)?;
        responder.enable_interface(IfKind::Predicate(covered))?;
        let (service, host) = (name::instance(name), format!("{}.local.", name::host_label(name)));
        // `path` is known to those who browse for pages (RFC 6763, section 6.4).
        let text = [("txtvers", "1"), ("path", "/")];
        for kind in [OWN_SERVICE, PAGE_SERVICE] {
            let info = ServiceInfo::new(kind, &service, &host, (), self.port, &text[..])?;
            responder.register(info.enable_addr_auto())?;
        }
        Ok((responder, events))
    }

    /// Hears what becomes of it.
    async fn listen(
        &mut self,
        name: &str,
        responder: &ServiceDaemon,
        events: &Receiver<DaemonEvent>,
        stop: &CancellationToken,
    ) -> End {
        let mut host = format!("{}.local", name::host_label(name));
        let mut look = clock::now() + MEMORY_EVERY;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                changed = self.told.changed() => match changed {
                    Ok(()) if self.told.borrow_and_update().name == name => {}
                    Ok(()) => return End::Renamed,
                    Err(_) => return End::Stopped,
                },
                event = events.recv_async() => match event {
                    Ok(event) => self.hear(&mut host, event),
                    Err(_) => return End::Failed,
                },
                () = clock::sleep_until(Some(look)) => {
                    look = clock::now() + MEMORY_EVERY;
                    if records(responder).await.is_none_or(|records| records > MOST_RECORDS) {
                        return End::Full;
                    }
                }
            }
        }
    }

    fn hear(&self, host: &mut String, event: DaemonEvent) {
        match event {
            DaemonEvent::NameChange(change) if matches!(change.rr_type, RRType::A | RRType::AAAA) => {
                let name = change.new_name.trim_end_matches('.');
                if name != host {
                    info!("another device is called {host}: this one is called {name}");
                    name.clone_into(host);
                    if self.known.borrow().is_some() {
                        self.known.send_replace(Some(host.clone()));
                    }
                }
            }
            DaemonEvent::Announce(..) if self.known.borrow().is_none() => {
                info!("the page is announced on the local network as http://{host}:{}/", self.port);
                self.known.send_replace(Some(host.clone()));
            }
            DaemonEvent::Error(error) => debug!(%error, "the announcer"),
            // More may come with the crate.
            _ => {}
        }
    }
}

/// How many records of others, and times for them, it keeps; `None` where it does not say so in time.
async fn records(responder: &ServiceDaemon) -> Option<i64> {
    let asked = responder.get_metrics().ok()?;
    let counts = timeout(MEMORY_EVERY, asked.recv_async()).await.ok()?.ok()?;
    let kept = counts.iter().filter(|(what, _)| what.starts_with("cached-") || *what == "timer");
    Some(kept.map(|(_, count)| count).sum())
}

/// Takes the names back (RFC 6762, section 10.1), and ends the thread.
async fn goodbye(responder: &ServiceDaemon) {
    if let Ok(done) = responder.shutdown() {
        let _ = timeout(GOODBYE, done.recv_async()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(listens: &str, interfaces: &[(&str, &str)]) -> Vec<String> {
        let Some(scope) = Scope::of(listens.parse().unwrap()) else { return Vec::new() };
        let interfaces = interfaces
            .iter()
            .map(|(name, address)| links::Interface {
                name: (*name).to_owned(),
                address: address.parse().unwrap(),
            })
            .filter(|interface| scope.covers(interface));
        interfaces.map(|interface| interface.address.to_string()).collect()
    }

    #[test]
    fn the_name_leads_to_the_addresses_of_the_network_at_which_the_page_is_reached() {
        let interfaces = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("eth0", "192.168.1.20"),
            ("eth0", "169.254.3.4"),
            ("eth0", "fe80::1"),
            ("eth0", "fd00::20"),
            ("eth0", "2001:db8::20"),
            ("ppp0", "203.0.113.20"),
            ("docker0", "172.17.0.1"),
            ("wlan0", "192.168.2.20"),
        ];
        assert_eq!(covered("::", &interfaces), ["192.168.1.20", "169.254.3.4", "fd00::20", "192.168.2.20"]);
        assert_eq!(covered("0.0.0.0", &interfaces), ["192.168.1.20", "169.254.3.4", "192.168.2.20"]);
        assert_eq!(covered("192.168.2.20", &interfaces), ["192.168.2.20"]);
        assert_eq!(covered("203.0.113.20", &interfaces), Vec::<String>::new());
    }

    #[test]
    fn a_page_for_this_machine_alone_is_not_announced() {
        for listens in ["127.0.0.1", "127.3.2.1", "::1"] {
            assert_eq!(Scope::of(listens.parse().unwrap()), None, "{listens}");
        }
    }
}
