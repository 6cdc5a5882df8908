//! Asks a provider for TURN credentials by HTTP, ahead of need: after a half to three quarters of their life, and
//! again and again, ever more rarely, while that fails. What was fetched last is kept to its end. One task for each
//! provider, which ends when nobody wants its servers any more. Not here: reading the answer (`answer`).
//!
//! The client is hyper's, which is in the tree as the page's server, over the broker's TLS. An address of a provider
//! can hold a key, so no more than its host is ever printed.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use axum::body::{self, Body};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
    http::uri::PathAndQuery,
};
use hyper_util::rt::TokioIo;
use rumqttc::tokio_rustls::TlsConnector;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Fetched,
    answer::{self, AnswerError},
};
use crate::{
    clock,
    signal::{
        keys,
        message::IceServer,
        mqtt::{self, MqttError, Secret},
    },
    tasks,
};

/// For a whole request: name, connection, TLS, answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// After the first failure; then twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(300);
/// However short a life the provider gives, it is asked no more often.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Who hands out credentials, and how to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub url: ProviderUrl,
    pub method: AskBy,
    pub login: Option<Login>,
    /// PEM; the system's certificate authorities when absent.
    pub ca: Option<PathBuf>,
    /// Asked for with POST, and taken for granted where the answer does not say it.
    pub ttl: Duration,
}

/// How the request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskBy {
    Get,
    /// With the body `{"ttl": seconds}`.
    Post,
}

/// What the provider knows the agent by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// RFC 6750.
    Bearer(Secret),
    /// RFC 7617.
    Basic { user: String, password: Secret },
}

/// An `http` or `https` address.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderUrl {
    tls: Tls,
    host: String,
    port: u16,
    /// Which can hold a key.
    target: PathAndQuery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    On,
    Off,
}

impl Tls {
    fn port(self) -> u16 {
        match self {
            Self::On => 443,
            Self::Off => 80,
        }
    }
}

impl ProviderUrl {
    /// Reads an address; `None`: it is none. One with a user name before an `@` is refused too.
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.split_once("://")? {
            ("https", rest) => (Tls::On, rest),
            ("http", rest) => (Tls::Off, rest),
            _ => return None,
        };
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let target = if target.starts_with('?') { format!("/{target}") } else { target.to_owned() };
        let uri: hyper::Uri = format!("http://{authority}{target}").parse().ok()?;
        let host = uri.host().filter(|host| !host.is_empty())?;
        let (after, target) = (authority.strip_prefix(host)?, uri.path_and_query()?.clone());
        let port = match after.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None if after.is_empty() => tls.port(),
            None => return None,
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        plain.then(|| Self { tls, host: host.to_owned(), port, target })
    }

    /// Whether others on the way could read what is handed out.
    pub fn is_open(&self) -> bool {
        let local = self.bare_host().parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.tls == Tls::Off && !local && self.host != "localhost"
    }

    /// For people.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// IPv6 without its brackets.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Without path and query.
impl fmt::Debug for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderUrl")
            .field("tls", &self.tls)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Setup(#[from] MqttError),
    #[error("{0} cannot be reached: {1}")]
    Connect(String, std::io::Error),
    #[error("the TLS handshake with {0} failed: {1}")]
    Tls(String, std::io::Error),
    #[error("{0} does not speak HTTP: {1}")]
    Http(String, hyper::Error),
    #[error("{0} does not know this agent (HTTP {1}): give the right token_file")]
    Unauthorized(String, u16),
    #[error("{0} answers with HTTP {1}: check credentials_url and credentials_method")]
    Status(String, u16),
    #[error("the answer of {0} is broken off, or longer than 64 KiB")]
    Body(String),
    #[error("{0}: {1}")]
    Answer(String, AnswerError),
    #[error("{0} did not answer in time")]
    Late(String),
    #[error("the token cannot stand in an HTTP header: write it into its file as the provider gives it")]
    Token,
}

/// Starts to ask.
pub(super) fn start(provider: Provider) -> Result<watch::Receiver<Option<Fetched>>, FetchError> {
    let tls = match provider.url.tls {
        Tls::On => Some(mqtt::trusting(provider.ca.clone())?),
        Tls::Off => None,
    };
    if provider.url.is_open() {
        tracing::warn!(
            host = provider.url.host(),
            "TURN credentials are fetched without TLS: who listens on the way can use them; give an https address"
        );
    }
    let (fetched, receiver) = watch::channel(None);
    tasks::spawn("ice-credentials", keep_fetched(provider, tls, fetched));
    Ok(receiver)
}

async fn keep_fetched(
    provider: Provider,
    tls: Option<Arc<ClientConfig>>,
    fetched: watch::Sender<Option<Fetched>>,
) {
    let mut pace = Pace::default();
    loop {
        let asked = tokio::select! {
            biased;
            () = fetched.closed() => return,
            asked = timeout(REQUEST_TIMEOUT, ask(&provider, tls.clone())) => asked,
        };
        let result = asked.unwrap_or_else(|_| Err(FetchError::Late(provider.url.host.clone())));
        let wait = match result {
            Ok((servers, life)) => {
                if pace.failures > 0 {
                    tracing::info!(host = provider.url.host(), "TURN credentials are there again");
                }
                fetched.send_replace(Some(Fetched { servers, until: clock::now() + life }));
                pace.after_success(life, random())
            }
            Err(error) => {
                if pace.failures == 0 {
                    tracing::warn!("no new TURN credentials: {error}; trying again by itself");
                } else {
                    tracing::debug!("still no new TURN credentials: {error}");
                }
                pace.after_failure(random())
            }
        };
        tokio::select! {
            biased;
            () = fetched.closed() => return,
            () = clock::sleep(wait) => {}
        }
    }
}

/// When to ask next.
#[derive(Debug, Default)]
struct Pace {
    /// In a row.
    failures: u32,
}

impl Pace {
    /// Between a half and three quarters of the life. `random`: 0 to 1.
    fn after_success(&mut self, life: Duration, random: f64) -> Duration {
        self.failures = 0;
        life.mul_f64(0.5 + random / 4.0).max(SHORTEST_WAIT)
    }

    /// Between a half and the whole of what has doubled with each failure.
    fn after_failure(&mut self, random: f64) -> Duration {
        let longest = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(0.5 + random / 2.0)
    }
}

fn random() -> f64 {
    let mut bytes = [0; 2];
    keys::random(&mut bytes);
    f64::from(u16::from_ne_bytes(bytes)) / f64::from(u16::MAX)
}

async fn ask(
    provider: &Provider,
    tls: Option<Arc<ClientConfig>>,
) -> Result<(Vec<IceServer>, Duration), FetchError> {
    let url = &provider.url;
    let host = || url.host.clone();
    let request = request(provider)?;
    let stream =
        TcpStream::connect((url.bare_host(), url.port)).await.map_err(|e| FetchError::Connect(host(), e))?;
    let response = match tls {
        None => exchange(stream, request).await,
        Some(config) => {
            let name = ServerName::try_from(url.bare_host().to_owned())
                .map_err(|error| FetchError::Tls(host(), std::io::Error::other(error)))?;
            let handshake = TlsConnector::from(config).connect(name, stream).await;
            exchange(handshake.map_err(|error| FetchError::Tls(host(), error))?, request).await
        }
    };
    let (status, body) = response.map_err(|error| FetchError::Http(host(), error))?;
    match status {
        StatusCode::OK | StatusCode::CREATED => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(FetchError::Unauthorized(host(), status.as_u16()));
        }
        other => return Err(FetchError::Status(host(), other.as_u16())),
    }
    let body = body.ok_or_else(|| FetchError::Body(host()))?;
    let (servers, ttl) = answer::read(&body).map_err(|error| FetchError::Answer(host(), error))?;
    Ok((servers, ttl.unwrap_or(provider.ttl)))
}

/// The body is `None` where it is too long or breaks off. The connection closes with it.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> Result<(StatusCode, Option<body::Bytes>), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tasks::spawn("ice-http", connection));
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = body::to_bytes(Body::new(response.into_body()), answer::MAX_ANSWER).await.ok();
    Ok((status, body))
}

fn request(provider: &Provider) -> Result<Request<Body>, FetchError> {
    let ProviderUrl { tls, host, port, target } = &provider.url;
    let (method, body) = match provider.method {
        AskBy::Get => (Method::GET, Body::empty()),
        AskBy::Post => (Method::POST, Body::from(format!("{{\"ttl\":{}}}", provider.ttl.as_secs()))),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.clone().into();
    let headers = request.headers_mut();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| FetchError::Token);
    let authority = if *port == tls.port() { host.clone() } else { format!("{host}:{port}") };
    headers.insert(HOST, value(&authority)?);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pinhole/", env!("CARGO_PKG_VERSION"))));
    if provider.method == AskBy::Post {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let login = match &provider.login {
        None => return Ok(request),
        Some(Login::Bearer(token)) => format!("Bearer {}", token.reveal()),
        Some(Login::Basic { user, password }) => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))
        }
    };
    let mut login = value(&login)?;
    login.set_sensitive(true);
    headers.insert(AUTHORIZATION, login);
    Ok(request)
}

#[cfg(test)]
mod tests;
