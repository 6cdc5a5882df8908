//! What is asked for and what is answered: the page's files with their caching, `/mqtt`, `/healthz`, and the headers
//! that every answer has. Not here: connections (`server`) and the bytes of a WebSocket (`socket`).

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Request, State, WebSocketUpgrade},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Names,
    files::{FILES, File},
    metrics::{self, Metrics},
    origin::{Refusal, check_host, check_origin},
    socket,
    whep::Whep,
};
use crate::{signal::broker::Broker, status::Health};

/// Nothing but what the page itself brings; pictures come as media streams, signaling by WebSocket, perhaps from
/// another broker.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; media-src 'self' blob: mediastream:; connect-src 'self' ws: wss:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// For monitoring; asked for by whatever name the monitor knows.
const HEALTH: &str = "/healthz";

/// What the routes need.
#[derive(Clone)]
pub(super) struct Context {
    /// `None`: there is no `/mqtt`.
    pub broker: Option<Arc<Broker>>,
    pub names: Names,
    /// `None`: there is no `/whep`.
    pub whep: Option<Whep>,
    pub health: Option<Health>,
    pub metrics: Option<Metrics>,
    /// Holds the server's end back until the WebSockets have ended.
    pub tracker: TaskTracker,
    /// Cancelled when they have had their time.
    pub kill: CancellationToken,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub SocketAddr);

/// All routes.
pub(super) fn router(context: Context) -> Router {
    let mut router = Router::new().route("/mqtt", get(mqtt)).route(HEALTH, get(health));
    if let Some(whep) = context.whep.clone() {
        router = router.merge(whep.router());
    }
    if let Some(metrics) = context.metrics.clone() {
        router = router.route("/metrics", get(metrics::get).with_state(metrics));
    }
    for file in FILES {
        let etag = etag(file.bytes);
        router = router
            .route(file.path, get(move |headers: HeaderMap| async move { serve(file, &etag, &headers) }));
    }
    router
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .layer(middleware::from_fn_with_state(context.clone(), guard))
        .with_state(context)
}

/// Refuses foreign names, and adds the headers of every answer.
async fn guard(State(context): State<Context>, request: Request, next: Next) -> Response {
    let host = text(request.headers(), &header::HOST);
    let mut response = match check_host(host, &context.names.now()) {
        Err(refusal) if request.uri().path() != HEALTH => refuse(refusal),
        Ok(()) | Err(_) => next.run(request).await,
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refuse(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::BadHost => StatusCode::BAD_REQUEST,
        Refusal::UnknownName => StatusCode::MISDIRECTED_REQUEST,
        Refusal::ForeignOrigin => StatusCode::FORBIDDEN,
    };
    (status, format!("{refusal}\n")).into_response()
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    // A second header of the name would make it ambiguous: as if it were malformed.
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().unwrap_or("\u{0}")),
        (Some(_), Some(_)) => Some("\u{0}"),
    }
}

/// Whether it can serve, and in one word what does not move; a stranger learns no more.
async fn health(State(context): State<Context>) -> Response {
    let found = match &context.health {
        Some(health) => health.check().await,
        None => Ok(()),
    };
    let answer = match &found {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", trouble.word())),
    };
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest(&SHA256, bytes).as_ref()[..12]))
}

/// A file of the page, or 304 when the browser has it (RFC 9110, 13.1.2). Browsers ask each time, so that they have
/// the page that belongs to this agent.
fn serve(file: &File, etag: &str, headers: &HeaderMap) -> Response {
    let caching = [(header::ETAG, etag.to_owned()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*");
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    ([(header::CONTENT_TYPE, file.mime)], caching, file.bytes).into_response()
}

/// MQTT over WebSocket (MQTT 5, 6): binary messages, subprotocol `mqtt`.
async fn mqtt(
    State(context): State<Context>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(refusal) = check_origin(text(&headers, &header::HOST), text(&headers, &header::ORIGIN)) {
        tracing::debug!(%peer, "a page of another site tried to connect");
        return refuse(refusal);
    }
    let Some(broker) = context.broker else {
        return (StatusCode::NOT_FOUND, "the embedded broker is turned off\n").into_response();
    };
    let upgrade = upgrade.protocols(["mqtt", "mqttv3.1"]);
    if upgrade.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, "the WebSocket subprotocol must be mqtt\n").into_response();
    }
    // A message of the largest packet; packets may also be split and joined at will.
    let largest = broker.limits().packet as usize + 16;
    let token = context.tracker.token();
    upgrade
        .max_message_size(largest)
        .max_frame_size(largest)
        .max_write_buffer_size(4 * largest)
        .write_buffer_size(0)
        .on_upgrade(move |websocket| async move {
            socket::bridge(websocket, &broker, peer, &context.kill).await;
            drop(token);
        })
}
