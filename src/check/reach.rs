//! What the agent needs of the network: its own port, brokers, STUN and TURN servers. All at the same time, on a thread
//! of its own. Not here: the questions themselves (`signal::mqtt::probe`, `relay`).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    Agent, Finding,
    relay::{self, Answer},
};
use crate::{
    clock,
    config::{Config, ExternalBroker, Listen},
    listen,
    peer::{
        ice::{IceServers, IceSource},
        servers::{self, Kind, Server},
    },
    signal::{
        Address, keys,
        mqtt::{self, Usable},
        topic::DeviceId,
    },
    status::Status,
};

/// For the page's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a provider of TURN credentials.
const PROVIDER: Duration = Duration::from_secs(5);

/// Everything on the network, in the order of the configuration.
pub(super) fn look(config: &Config, agent: Agent, running: Option<&Status>) -> Vec<Finding> {
    // Another may have installed it: then it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(look_at_all(config, agent, running)),
        Err(error) => {
            vec![Finding::bad("network", format!("it cannot be looked at ({error})"), "end other programs")]
        }
    }
}

async fn look_at_all(config: &Config, agent: Agent, running: Option<&Status>) -> Vec<Finding> {
    let mut checks: Vec<BoxFuture<'_, Vec<Finding>>> =
        vec![port(config, agent, running).map(|one| vec![one]).boxed()];
    let address = address(config, running);
    for external in &config.broker.external {
        checks.push(broker(external, address.clone()).map(|one| vec![one]).boxed());
    }
    checks.push(async { carriers(config, running) }.boxed());
    checks.push(ice(&config.webrtc.ice_servers).boxed());
    join_all(checks).await.into_iter().flatten().collect()
}

/// The device's topics, if it has an id yet; else some device's, which nobody has.
fn address(config: &Config, running: Option<&Status>) -> Address {
    let known = running.and_then(|status| DeviceId::parse(&status.device));
    let device = known.unwrap_or_else(|| keys::some_device(Some(&config.state_dir)));
    Address { root: config.broker.root.clone(), device }
}

/// The page's port: the agent answers there, or it is free.
async fn port(config: &Config, agent: Agent, running: Option<&Status>) -> Finding {
    const PART: &str = "page";
    let at = match config.web.listen {
        Listen::Everywhere(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        Listen::At(at) if at.ip().is_unspecified() && at.is_ipv4() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        Listen::At(at) if at.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        Listen::At(at) => at,
    };
    // It may have been started with another than that of the configuration.
    let at = match running.map(|status| status.page) {
        Some(page) if !page.ip().is_unspecified() => page,
        Some(page) => SocketAddr::new(at.ip(), page.port()),
        None => at,
    };
    if at.port() == 0 {
        return Finding::ok(PART, "any port that is free");
    }
    if agent == Agent::Runs {
        return match timeout(PATIENCE, health(at)).await {
            Ok(Ok(true)) => Finding::ok(PART, format!("the agent serves it at port {}", at.port())),
            Ok(Ok(false)) => {
                Finding::bad(PART, format!("what answers at {at} is not well"), "see the agent's log")
            }
            Ok(Err(error)) => {
                Finding::bad(PART, format!("nothing answers at {at} ({error})"), "see the agent's log")
            }
            Err(_) => Finding::bad(PART, format!("what is at {at} does not answer"), "see the agent's log"),
        };
    }
    match listen::bind(config.web.listen, "web.listen").await {
        Ok(_) => Finding::ok(PART, format!("port {} is free", at.port())),
        Err(error) => Finding::failed(PART, &error.to_string()),
    }
}

async fn health(at: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    stream
        .write_all(format!("GET /healthz HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

async fn broker(external: &ExternalBroker, address: Address) -> Finding {
    const PART: &str = "broker";
    match mqtt::probe(external.settings(), &address).await {
        Ok(Usable { round_trip, secure }) => {
            let millis = round_trip.as_secs_f64() * 1000.0;
            let how = if secure { "" } else { ", not encrypted" };
            let said = format!("{} takes and acknowledges messages ({millis:.0} ms{how})", external.url);
            match external.page {
                Some(_) => Finding::ok(PART, said),
                None => Finding::warning(
                    PART,
                    format!("{said}, but no link leads browsers there"),
                    "give the address of its WebSocket listener as `page_url` (docs/brokers.md)",
                ),
            }
        }
        Err(why) => {
            let mut found = Finding::failed(PART, why.strip_prefix("broker ").unwrap_or(&why));
            if external.client_id.is_some() {
                found.said.push_str(
                    " (this came with an id of its own, and not with the `client_id` of the configuration)",
                );
            }
            found
        }
    }
}

/// What a running agent says of the ways by which viewers come.
fn carriers(config: &Config, running: Option<&Status>) -> Vec<Finding> {
    let carriers = running.into_iter().flat_map(|status| &status.signaling.carriers);
    // The brokers of the configuration were tried.
    let known = |name: &String| config.broker.external.iter().any(|external| external.url == *name);
    let down = carriers.filter(|carrier| !carrier.up && !known(&carrier.name));
    down.map(|carrier| match &carrier.reason {
        Some(reason) => Finding::failed("signaling", reason.strip_prefix("broker ").unwrap_or(reason)),
        None => {
            Finding::warning("signaling", format!("{} is not up yet", carrier.name), "look again in a minute")
        }
    })
    .collect()
}

async fn ice(sources: &[IceSource]) -> Vec<Finding> {
    const PART: &str = "ICE servers";
    if sources.is_empty() {
        return vec![Finding::ok(PART, "none: viewers in the same network need none")];
    }
    let servers = match IceServers::start(sources.to_vec()) {
        Ok(servers) => servers,
        Err(error) => return vec![Finding::failed(PART, &error.to_string())],
    };
    let provided = sources.iter().any(|source| matches!(source, IceSource::Fetched(_)));
    if provided {
        let (mut waiting, mut seen) = (servers.clone(), servers.seen());
        if timeout(PROVIDER, waiting.changed(&mut seen)).await.is_err() {
            let remedy = "check credentials_url and its token; the agent's log says more";
            return vec![Finding::bad(PART, "the provider of TURN credentials gave none", remedy)];
        }
    }
    let lease = servers.lease(clock::now(), clock::since_epoch(), "check");
    let (resolved, complete) = servers::resolve(&lease.servers).await;
    let mut findings = join_all(resolved.iter().map(one_server)).await;
    if !complete {
        findings.push(Finding::bad(
            PART,
            "a server's name cannot be resolved",
            "check `urls` for typing errors, and this machine's DNS",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(PART, "for viewers only: the agent itself uses stun:, and turn: over UDP"));
    }
    findings
}

async fn one_server(server: &Server) -> Finding {
    let part = match server.kind {
        Kind::Stun => "STUN",
        Kind::Turn { .. } => "TURN",
    };
    let at = server.address;
    match relay::ask(server).await {
        Ok((Answer::Seen(seen), took)) => {
            Finding::ok(part, format!("{at} sees this machine as {} ({} ms)", seen.ip(), took.as_millis()))
        }
        Ok((Answer::Relay(relay), took)) => {
            Finding::ok(part, format!("{at} relays by {} ({} ms)", relay.ip(), took.as_millis()))
        }
        Err(error) => Finding::failed(part, &format!("{at}: {error}")),
    }
}
