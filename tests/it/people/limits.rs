//! The limits of docs/signaling.md, met by viewers of the running agent: each request gets its answer.

use pinhole::{
    clock,
    signal::{
        message::{ByeReason, ErrorCode, Offer, ToDevice, ToViewer},
        viewer::{ViewerSession, new_session},
    },
};
use tokio::task::block_in_place;

use super::{Agent, Paired};
use crate::peer::viewer::Viewer;

async fn paired(agent: &Agent, name: &str) -> Paired {
    let url = block_in_place(|| agent.link(&["--name", name]));
    Paired::by(&url, name).await
}

/// A new session that begins with an offer. Nobody waits for its answer here.
async fn offer(viewer: &mut Paired, sdp: &str) -> ViewerSession {
    let mut session = ViewerSession::new(viewer.link.device, &viewer.record, new_session(), viewer.nonce);
    viewer.mail.listen(session.id()).await.expect("the broker");
    let offer = Offer { camera: String::new(), sdp: sdp.to_owned(), audio: false, talk: false };
    viewer.mail.send(session.seal(&ToDevice::Offer(offer)).expect("it fits")).await.expect("the broker");
    session
}

/// The next message of any of these sessions but candidates, and whose it is.
async fn next_of(viewer: &mut Paired, sessions: &mut [ViewerSession]) -> (usize, ToViewer) {
    loop {
        let envelope = viewer.mail.next().await.expect("an answer");
        let opened =
            sessions.iter_mut().enumerate().find_map(|(at, session)| Some((at, session.open(&envelope)?)));
        match opened {
            Some((_, ToViewer::Candidate(_) | ToViewer::Notice(_))) | None => {}
            Some(message) => return message,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_may_watch_and_the_ninth_is_told_busy() {
    let agent = Agent::start("eight");
    let sdp = Viewer::guarded("127.0.0.1").await.offer().await;
    let mut viewers = Vec::new();
    for name in ["A", "B", "C", "D"] {
        let mut viewer = paired(&agent, name).await;
        let mut sessions = [offer(&mut viewer, &sdp).await, offer(&mut viewer, &sdp).await];
        for _ in 0..2 {
            let (_, said) = next_of(&mut viewer, &mut sessions).await;
            assert!(matches!(said, ToViewer::Answer { .. }), "{said:?}");
        }
        viewers.push((viewer, sessions));
    }
    let mut ninth = paired(&agent, "E").await;
    let asked = clock::now();
    let mut session = [offer(&mut ninth, &sdp).await];
    let (_, said) = next_of(&mut ninth, &mut session).await;
    println!("busy after {} ms", (clock::now() - asked).as_millis());
    let ToViewer::Error { code, message } = said else { panic!("{said:?}") };
    assert_eq!(code, ErrorCode::Busy);
    assert_eq!(message, "8 viewers are watching, and no more are allowed");

    // A viewer has two sessions that are not connected, at the most: the third takes the place of the first.
    let (first, sessions) = &mut viewers[0];
    let mut all = vec![offer(first, &sdp).await];
    all.splice(0..0, std::mem::replace(sessions, [dummy(first), dummy(first)]));
    let mut said = [next_of(first, &mut all).await, next_of(first, &mut all).await];
    said.sort_by_key(|(at, _)| *at);
    assert_eq!(said[0], (0, ToViewer::Bye { reason: ByeReason::Replaced }));
    assert!(matches!(said[1], (2, ToViewer::Answer { .. })), "{said:?}");
}

/// A session that nobody uses.
fn dummy(viewer: &Paired) -> ViewerSession {
    ViewerSession::new(viewer.link.device, &viewer.record, new_session(), viewer.nonce)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_offer_within_a_second_is_told_to_wait() {
    let agent = Agent::start("six");
    let mut viewer = paired(&agent, "A").await;
    let sdp = Viewer::guarded("127.0.0.1").await.offer().await;
    let mut session = [offer(&mut viewer, &sdp).await];
    for _ in 0..5 {
        let again = Offer { camera: String::new(), sdp: sdp.clone(), audio: false, talk: false };
        let envelope = session[0].seal(&ToDevice::Offer(again)).expect("it fits");
        viewer.mail.send(envelope).await.expect("the broker");
    }
    loop {
        match next_of(&mut viewer, &mut session).await.1 {
            ToViewer::Error { code: ErrorCode::RateLimited, .. } => break,
            ToViewer::Answer { .. } | ToViewer::Error { code: ErrorCode::BadRequest, .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eighty_messages_at_once_fifty_are_answered_and_the_viewer_is_told() {
    let agent = Agent::start("fifty");
    let mut viewer = paired(&agent, "A").await;
    let mut session = [viewer.hello().await];
    for _ in 0..79 {
        let envelope = session[0].seal(&ToDevice::Hello).expect("it fits");
        viewer.mail.send(envelope).await.expect("the broker");
    }
    let (mut welcomes, mut complaints) = (0, 0);
    // Those that were let in are all answered, one that was not is, and these come by different ways.
    while welcomes < 50 || complaints < 1 {
        match next_of(&mut viewer, &mut session).await.1 {
            ToViewer::Welcome(_) => welcomes += 1,
            ToViewer::Error { code: ErrorCode::RateLimited, .. } => complaints += 1,
            other => panic!("{other:?}"),
        }
    }
}
