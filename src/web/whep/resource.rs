//! `PATCH` and `DELETE /whep/<camera>/<session>`: candidates, ICE restarts (RFC 9725, 4.3; RFC 8840) and the end. Runs on the
//! connection's task.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    Whep,
    endpoint::whole_answer,
    request::{self, FRAGMENT},
    sessions::{Ice, Session},
};
use crate::signal::{
    message::{Candidate, Offer, ToDevice},
    whep::{
        precondition::IfMatch,
        problem::Problem,
        sdpfrag::{self, Fragment, MAX_FRAGMENT},
    },
};

/// Candidates, or a restart.
pub(super) async fn patch(whep: &Whep, session: &str, request: Request) -> Result<Response, Problem> {
    let session = find(whep, session, &request)?;
    if !session.may_patch() {
        return Err(Problem::too_fast());
    }
    let (head, body) = request.into_parts();
    request::check_type(&head.headers, FRAGMENT)?;
    let bytes = request::body(body, MAX_FRAGMENT).await?;
    let fragment = Fragment::parse(&bytes).map_err(|error| Problem::bad(error.to_string()))?;
    let mut ice = session.ice.lock().await;
    check_precondition(&head.headers, &fragment, &ice)?;
    if fragment.restarts(&ice.offer) {
        restart(&session, &fragment, &mut ice).await
    } else {
        trickle(&session, &fragment, &ice)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

/// Ends the session.
pub(super) fn delete(whep: &Whep, session: &str, request: &Request) -> Result<Response, Problem> {
    find(whep, session, request)?.end();
    Ok(StatusCode::OK.into_response())
}

/// Who has no token learns nothing, and who has another's token no more than that there is no such session.
fn find(whep: &Whep, session: &str, request: &Request) -> Result<Arc<Session>, Problem> {
    let viewer = whep.authenticate(request, request::address(request))?;
    whep.0.sessions.find(viewer, session).ok_or_else(Problem::no_session)
}

/// A fragment that names the present ICE session by its credentials needs no tag: there are clients that never send one.
fn check_precondition(headers: &HeaderMap, fragment: &Fragment, ice: &Ice) -> Result<(), Problem> {
    match IfMatch::read(request::field(headers, &header::IF_MATCH), ice.tag) {
        IfMatch::Holds => Ok(()),
        IfMatch::Fails => Err(Problem::stale()),
        IfMatch::Absent if fragment.continues(&ice.offer) => Ok(()),
        IfMatch::Absent => Err(Problem::precondition_required()),
    }
}

fn trickle(session: &Session, fragment: &Fragment, ice: &Ice) -> Result<(), Problem> {
    let candidates = fragment.candidates_for(&ice.offer).into_iter().map(|candidate| {
        // It was found to be for the transport of the video, wherever it stood.
        ToDevice::Candidate(Some(Candidate { candidate, sdp_mid: None, sdp_m_line_index: None }))
    });
    let end = fragment.ended.then_some(ToDevice::Candidate(None));
    for message in candidates.chain(end) {
        session.direct.send(message).map_err(|error| Problem::busy(error.to_string()))?;
    }
    Ok(())
}

/// A new ICE session over the same media. Where it fails, the present one goes on.
async fn restart(session: &Session, fragment: &Fragment, ice: &mut Ice) -> Result<Response, Problem> {
    let sdp = fragment.restarted(&ice.offer).ok_or_else(Problem::no_session)?;
    let offer = Offer { camera: String::new(), sdp: sdp.clone(), audio: false, talk: false };
    let mut heard = session.heard.clone();
    let said = heard.borrow().said;
    session.direct.send(ToDevice::Offer(offer)).map_err(|error| Problem::busy(error.to_string()))?;
    let answer = whole_answer(&mut heard, said).await?;
    let fragment = sdpfrag::write(&answer).ok_or_else(|| Problem::busy("ICE was not restarted"))?;
    *ice = Ice { offer: sdp, tag: ice.tag.next() };
    let tag = ice.tag.to_string();
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, tag)], fragment)
        .into_response())
}
