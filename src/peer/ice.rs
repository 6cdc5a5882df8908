//! Which STUN and TURN servers a party may use, and for how long: those of the configuration as they are, TURN
//! servers whose credentials are computed here from a secret shared with them (`shared`), and those that a provider
//! hands out (`fetch`). Every viewer's `welcome` and the agent itself take a [`Lease`] anew.
//! Not here: what the agent does with its own (`servers`). The only task is `fetch`'s, one for each provider.

mod answer;
pub mod fetch;
mod shared;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

pub use self::{answer::is_ice_url, fetch::Provider, shared::SharedSecret};
use crate::signal::message::IceServer;

/// Servers without an end: a viewer that is away for longer asks again.
const FIXED_LIFE: Duration = Duration::from_secs(12 * 3600);
/// For how long a lease holds that some servers are missing in: they may be there soon.
const INCOMPLETE_LIFE: Duration = Duration::from_secs(30);
/// 2025-01-01. A wall clock before it was never set: boards without a real-time clock begin in 1970.
const CLOCK_IS_SET: Duration = Duration::from_secs(1_735_689_600);

/// Where servers come from, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IceSource {
    Fixed(IceServer),
    Shared(SharedSecret),
    Fetched(Provider),
}

/// Servers for one party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub servers: Vec<IceServer>,
    /// From now on; until then they may be used without asking.
    pub life: Duration,
}

/// What a provider handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    servers: Vec<IceServer>,
    until: Instant,
}

/// All sources. Clones share what was fetched.
#[derive(Debug, Clone, Default)]
pub struct IceServers {
    sources: Arc<[Source]>,
    /// That the wall clock is not set is told once.
    told: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Source {
    Fixed(IceServer),
    Shared(SharedSecret),
    Fetched(watch::Receiver<Option<Fetched>>),
}

impl IceServers {
    /// Servers that never change.
    pub fn fixed(servers: Vec<IceServer>) -> Self {
        Self { sources: servers.into_iter().map(Source::Fixed).collect(), told: Arc::default() }
    }

    /// Starts to fetch where there is something to fetch; that ends with the last clone.
    ///
    /// # Errors
    /// A provider cannot be asked: see [`fetch::FetchError`].
    pub fn start(sources: Vec<IceSource>) -> Result<Self, fetch::FetchError> {
        let start = |source| -> Result<Source, fetch::FetchError> {
            Ok(match source {
                IceSource::Fixed(server) => Source::Fixed(server),
                IceSource::Shared(shared) => Source::Shared(shared),
                IceSource::Fetched(provider) => Source::Fetched(fetch::start(provider)?),
            })
        };
        let sources = sources.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { sources, told: Arc::default() })
    }

    /// Whether these are the same, and not only equal.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.sources, &other.sources)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The servers for the party with this label, which stands in user names that others can read: it must say
    /// nothing about a person. `since_epoch` is the wall clock, by which a TURN server checks computed credentials.
    pub fn lease(&self, now: Instant, since_epoch: Duration, label: &str) -> Lease {
        let mut lease = Lease { servers: Vec::new(), life: FIXED_LIFE };
        for source in &*self.sources {
            let life = match source {
                Source::Fixed(server) => {
                    lease.servers.push(server.clone());
                    FIXED_LIFE
                }
                Source::Shared(shared) if since_epoch >= CLOCK_IS_SET => {
                    lease.servers.push(shared.server(since_epoch, label));
                    shared.ttl
                }
                Source::Shared(_) => {
                    self.tell_clock();
                    INCOMPLETE_LIFE
                }
                Source::Fetched(fetched) => match &*fetched.borrow() {
                    Some(fetched) if fetched.until > now => {
                        lease.servers.extend(fetched.servers.iter().cloned());
                        fetched.until - now
                    }
                    Some(_) | None => INCOMPLETE_LIFE,
                },
            };
            lease.life = lease.life.min(life);
        }
        lease
    }

    /// Waits until something new was fetched; for ever where nothing is fetched.
    pub async fn changed(&mut self, seen: &mut Seen) {
        let mut changes: FuturesUnordered<_> = seen.0.iter_mut().map(watch::Receiver::changed).collect();
        loop {
            match changes.next().await {
                Some(Ok(())) => return,
                // That provider's task has ended.
                Some(Err(_)) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// What has been fetched so far counts as seen.
    pub fn seen(&self) -> Seen {
        let fetched = self.sources.iter().filter_map(|source| match source {
            Source::Fetched(fetched) => Some(fetched.clone()),
            Source::Fixed(_) | Source::Shared(_) => None,
        });
        Seen(fetched.collect())
    }

    fn tell_clock(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the clock of this machine is not set, so there are no TURN credentials with a time in them yet: \
                 they are made as soon as it is (timedatectl shows it)"
            );
        }
    }
}

/// Which fetched servers somebody has seen.
#[derive(Debug)]
pub struct Seen(Vec<watch::Receiver<Option<Fetched>>>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, signal::mqtt::Secret};

    const TODAY: Duration = Duration::from_secs(1_790_000_000);

    fn stun() -> IceServer {
        IceServer { urls: vec!["stun:192.0.2.1".into()], username: None, credential: None }
    }

    fn shared(ttl: u64) -> SharedSecret {
        SharedSecret {
            urls: vec!["turn:192.0.2.1".into()],
            secret: Secret::new("north"),
            ttl: Duration::from_secs(ttl),
        }
    }

    fn with(sources: Vec<Source>) -> IceServers {
        IceServers { sources: sources.into(), told: Arc::default() }
    }

    #[test]
    fn a_lease_holds_as_long_as_its_shortest_server() {
        let servers = with(vec![Source::Fixed(stun()), Source::Shared(shared(600))]);
        let lease = servers.lease(clock::now(), TODAY, "x");
        assert_eq!((lease.servers.len(), lease.life), (2, Duration::from_secs(600)));
        assert_eq!(IceServers::fixed(vec![stun()]).lease(clock::now(), TODAY, "x").life, FIXED_LIFE);
    }

    #[test]
    fn computed_credentials_are_of_their_viewer_and_of_the_moment() {
        let servers = with(vec![Source::Shared(shared(600))]);
        let of = |after, label| {
            servers.lease(clock::now(), TODAY + Duration::from_secs(after), label).servers.remove(0)
        };
        assert_eq!(of(0, "a").username.as_deref(), Some("1790000600:a"));
        assert_ne!(of(0, "a").credential, of(0, "b").credential);
        assert_ne!(of(0, "a").credential, of(1, "a").credential);
    }

    #[test]
    fn without_a_clock_there_are_fixed_servers_alone_until_it_is_set() {
        let servers = with(vec![Source::Fixed(stun()), Source::Shared(shared(600))]);
        let lease = servers.lease(clock::now(), Duration::from_secs(77), "x");
        assert_eq!(lease, Lease { servers: vec![stun()], life: INCOMPLETE_LIFE });
        assert!(servers.told.load(Ordering::Relaxed));
        assert_eq!(servers.lease(clock::now(), TODAY, "x").servers.len(), 2);
    }

    #[test]
    fn what_was_fetched_is_handed_out_until_its_end() {
        let now = clock::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let (give, fetched) = watch::channel(None);
        let servers = with(vec![Source::Fetched(fetched)]);
        let none = Lease { servers: Vec::new(), life: INCOMPLETE_LIFE };
        assert_eq!(servers.lease(now, TODAY, "x"), none);
        give.send_replace(Some(Fetched { servers: vec![stun()], until: after(100) }));
        let lease = servers.lease(after(40), TODAY, "x");
        assert_eq!(lease, Lease { servers: vec![stun()], life: Duration::from_secs(60) });
        assert_eq!(servers.lease(after(100), TODAY, "x"), none);
    }
}
