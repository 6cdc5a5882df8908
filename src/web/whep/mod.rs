//! WHEP over HTTP: the routes below `/whep`. Runs on the connections' tasks, with one more for each session (`sessions`).
//! Not here: what requests mean (`signal::whep`), and which tokens are good (`signal::exchange`).
//!
//! Pages of any site may ask (CORS with `*`), as players are pages of other sites: what lets them in is the token that they
//! were given, and never a cookie or an address. By which names the device goes is checked before, as for the page.
//!
//! - `request`: what a request must be, whatever it asks.
//! - `endpoint`: begins a session.
//! - `resource`: candidates, restarts, and the end of a session.
//! - `sessions`: those that are there.
//! - `answer`: refusals and header fields.

mod answer;
mod endpoint;
mod request;
mod resource;
mod sessions;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::Method,
    middleware,
    response::{IntoResponse, Response},
    routing::any,
};

pub(super) use self::request::token;
use self::{answer::Allowed, sessions::Sessions};
use crate::{
    clock,
    signal::{
        door::Doorbell,
        topic::KeyId,
        whep::{problem::Problem, strangers::Strangers},
    },
};

/// The door for WHEP clients.
#[derive(Debug, Clone)]
pub struct Whep(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    doorbell: Doorbell,
    sessions: Arc<Sessions>,
    /// Shared by all connections; held for one refusal.
    strangers: Mutex<Strangers>,
    answers: Arc<Answers>,
}

/// How many requests were answered, by HTTP status.
#[derive(Debug, Default)]
pub struct Answers {
    /// Shared by all connections; held for one answer.
    by_status: Mutex<BTreeMap<u16, u64>>,
}

impl Answers {
    /// Since the start.
    pub fn read(&self) -> BTreeMap<u16, u64> {
        self.by_status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, status: u16) {
        *self.by_status.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }
}

impl Whep {
    pub fn new(doorbell: Doorbell) -> Self {
        let strangers = Mutex::new(Strangers::new(clock::now()));
        Self(Arc::new(Inner { doorbell, sessions: Arc::default(), strangers, answers: Arc::default() }))
    }

    /// What was answered, as it is counted.
    pub fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.0.answers)
    }

    /// All routes.
    pub(super) fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new()
            .route("/whep", any(first_endpoint))
            .route("/whep/", any(first_endpoint))
            .route("/whep/{camera}", any(endpoint))
            .route("/whep/{camera}/{session}", any(resource))
            .layer(middleware::map_response(answer::for_everyone))
            .layer(middleware::map_response_with_state(self.answers(), count))
            .with_state(self)
    }

    /// Whose token a request has.
    fn authenticate(&self, request: &Request, from: IpAddr) -> Result<KeyId, Problem> {
        if let Some(viewer) = request::token(request).and_then(|token| self.0.doorbell.viewer_of(&token)) {
            return Ok(viewer);
        }
        let told = self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now(), from);
        tracing::debug!(%from, "a WHEP request without a token of ours");
        Err(if told { Problem::no_token() } else { Problem::too_many_wrong_tokens() })
    }
}

async fn first_endpoint(State(whep): State<Whep>, request: Request) -> Response {
    at_endpoint(&whep, "", request).await
}

async fn endpoint(State(whep): State<Whep>, Path(camera): Path<String>, request: Request) -> Response {
    at_endpoint(&whep, &camera, request).await
}

async fn at_endpoint(whep: &Whep, camera: &str, request: Request) -> Response {
    let done = match *request.method() {
        Method::OPTIONS => return answer::options(Allowed::Endpoint),
        Method::POST => endpoint::post(whep, camera, request).await,
        _ => return answer::not_allowed(Allowed::Endpoint),
    };
    done.unwrap_or_else(IntoResponse::into_response)
}

async fn resource(
    State(whep): State<Whep>,
    // The session's id alone says which it is.
    Path((_camera, session)): Path<(String, String)>,
    request: Request,
) -> Response {
    let done = match *request.method() {
        Method::OPTIONS => return answer::options(Allowed::Session),
        Method::PATCH => resource::patch(&whep, &session, request).await,
        Method::DELETE => resource::delete(&whep, &session, &request),
        _ => return answer::not_allowed(Allowed::Session),
    };
    done.unwrap_or_else(IntoResponse::into_response)
}

async fn count(State(answers): State<Arc<Answers>>, response: Response) -> Response {
    answers.count(response.status().as_u16());
    response
}
