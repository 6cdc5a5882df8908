//! `POST /whep/<camera>`: an offer, answered whole (RFC 9725, 4.2). Runs on the connection's task.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{sync::watch, time::timeout};

use super::{
    Whep,
    request::{self, SDP},
};
use crate::{
    peer::sdp::MAX_OFFER_LEN,
    signal::{
        message::{Offer, ToDevice, Welcome},
        whep::{heard::Heard, ice_link, precondition::EntityTag, problem::Problem},
    },
};

/// For the agent's answer: the camera has 5 s for its first picture, and the WebRTC stack 3 s.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// For its last candidate, which a STUN or TURN server gives; where all of them answer, 1 to 100 ms. A server that does not
/// answer is given up by the stack much later, and the client has been waiting for a picture long enough.
const GATHERING_TIME: Duration = Duration::from_millis(600);

/// Begins a session.
pub(super) async fn post(whep: &Whep, camera: &str, request: Request) -> Result<Response, Problem> {
    let viewer = whep.authenticate(&request, request::address(&request))?;
    let (head, body) = request.into_parts();
    let headers = head.headers;
    request::check_accept(&headers)?;
    let sdp = read_offer(&headers, body).await?;
    let door = &whep.0.doorbell;
    let (direct, answers) =
        door.open(viewer, ToDevice::Hello).map_err(|error| Problem::busy(error.to_string()))?;
    let begun = whep.0.sessions.begin(viewer, sdp.clone(), direct, answers);
    let mut heard = begun.session.heard.clone();
    let welcome = welcome(&mut heard).await?;
    let mut cameras = welcome.cameras.iter().map(|camera| &camera.id);
    let camera = if camera.is_empty() { cameras.next() } else { cameras.find(|id| *id == camera) };
    let camera = camera.ok_or_else(Problem::no_camera)?;
    let offer = Offer { camera: camera.clone(), sdp, audio: false, talk: false };
    let said = heard.borrow().said;
    let sent = begun.session.direct.send(ToDevice::Offer(offer));
    sent.map_err(|error| Problem::busy(error.to_string()))?;
    let answer = whole_answer(&mut heard, said).await?;
    let location = format!("{}/whep/{camera}/{}", request::prefix(&headers), begun.id);
    begun.keep();
    Ok(created(&location, &welcome, answer))
}

async fn read_offer(headers: &axum::http::HeaderMap, body: Body) -> Result<String, Problem> {
    let typed = request::check_type(headers, SDP);
    let bytes = request::body(body, MAX_OFFER_LEN).await?;
    if bytes.is_empty() {
        return Err(Problem::no_offer());
    }
    typed?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::bad("the offer is not UTF-8"))
}

/// What there is, and the ICE servers.
async fn welcome(heard: &mut watch::Receiver<Heard>) -> Result<Welcome, Problem> {
    let told = |heard: &Heard| heard.welcome.is_some() || heard.problem_after(0).is_some();
    let heard = wait_for(heard, ANSWER_TIME, told).await?;
    match heard.welcome {
        Some(welcome) => Ok(welcome),
        None => Err(heard.problem_after(0).cloned().unwrap_or_else(Problem::no_session)),
    }
}

/// The agent's next answer after the first `said`, with its candidates.
pub(super) async fn whole_answer(heard: &mut watch::Receiver<Heard>, said: u32) -> Result<String, Problem> {
    let answered = |heard: &Heard| heard.said > said || heard.over.is_some();
    let first = wait_for(heard, ANSWER_TIME, answered).await?;
    if let Some(problem) = first.problem_after(said) {
        return Err(problem.clone());
    }
    let whole = |heard: &Heard| heard.whole.is_complete() || heard.over.is_some();
    // In time or not, what there is now is the answer.
    let last = wait_for(heard, GATHERING_TIME, whole).await.unwrap_or(first);
    match last.over {
        Some(problem) => Err(problem),
        None => heard.borrow().whole.sdp().ok_or_else(Problem::no_session),
    }
}

async fn wait_for(
    heard: &mut watch::Receiver<Heard>,
    time: Duration,
    enough: impl FnMut(&Heard) -> bool,
) -> Result<Heard, Problem> {
    match timeout(time, heard.wait_for(enough)).await {
        Ok(Ok(heard)) => Ok(heard.clone()),
        Ok(Err(_)) => Err(Problem::no_session()),
        Err(_) => Err(Problem::busy("the camera did not answer in time")),
    }
}

fn created(location: &str, welcome: &Welcome, answer: String) -> Response {
    let mut response =
        (StatusCode::CREATED, [(header::CONTENT_TYPE, SDP.to_owned())], answer).into_response();
    let headers = response.headers_mut();
    for (name, value) in
        [(header::LOCATION, location.to_owned()), (header::ETAG, EntityTag::FIRST.to_string())]
    {
        // A camera's id, and a prefix that was checked: all of them fit.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    for link in ice_link::fields(&welcome.ice_servers) {
        if let Ok(mut value) = HeaderValue::from_str(&link) {
            // It holds a password.
            value.set_sensitive(true);
            headers.append(header::LINK, value);
        }
    }
    response
}
