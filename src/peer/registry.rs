//! Who is there, and who may come: the limits on viewers, on unfinished sessions and on offers. Pure: messages and
//! times in, decisions out. Not here: what a session does (`session`).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{Signaling, session::Phase};
use crate::config::Switch;
use crate::signal::{
    message::{ErrorCode, Offer, Role, ToDevice},
    topic::{KeyId, SessionId},
};

const MAX_UNFINISHED: usize = 2;
/// Sessions that were answered by hand and are not connected yet: of one viewer, and of all.
const MAX_WAITING_EACH: usize = 2;
const MAX_WAITING: usize = 4;
const MAX_OFFERS: usize = 5;
const OFFER_WINDOW: Duration = Duration::from_secs(1);
/// Above so many viewers on record those who have not asked for a while are forgotten.
const PRUNE_ABOVE: usize = 64;

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Tell what there is.
    Welcome,
    /// Begin a session with this camera, after ending those it takes the place of.
    Start {
        camera: usize,
        replaced: Vec<SessionId>,
    },
    /// It belongs to a session.
    Forward,
    Refuse {
        code: ErrorCode,
        message: String,
        session: Fate,
    },
    /// Late, for a session that is over.
    Ignore,
}

/// What a refusal means for the session it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Continues,
    Over,
}

/// Whether there is a place for a session that has come further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Free,
    /// It waited by hand, where it took no place, and now all are taken: it must end.
    Taken,
}

/// A session as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    pub viewer: KeyId,
    pub session: SessionId,
    /// The camera's id.
    pub camera: String,
    /// When its offer came.
    pub since: Instant,
    pub phase: Phase,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    max_viewers: usize,
    privacy: Switch,
    /// Camera ids, in the order told to viewers.
    cameras: Vec<String>,
    sessions: BTreeMap<SessionId, Entry>,
    offers: BTreeMap<KeyId, VecDeque<Instant>>,
}

#[derive(Debug)]
struct Entry {
    shown: Viewer,
    signaling: Signaling,
    /// It was told to end, and takes nobody's place any more.
    ending: bool,
}

impl Registry {
    pub fn new(max_viewers: usize, cameras: Vec<String>) -> Self {
        Self {
            max_viewers,
            privacy: Switch::Off,
            cameras,
            sessions: BTreeMap::new(),
            offers: BTreeMap::new(),
        }
    }

    /// Another limit. Nobody who is there has to go for it.
    pub fn set_max_viewers(&mut self, max_viewers: usize) {
        self.max_viewers = max_viewers;
    }

    /// While it is on, nobody is let in; all who are there must end.
    pub fn set_privacy(&mut self, privacy: Switch) -> Vec<SessionId> {
        self.privacy = privacy;
        if privacy == Switch::Off {
            return Vec::new();
        }
        let sessions: Vec<SessionId> = self.present().map(|entry| entry.shown.session).collect();
        sessions.iter().for_each(|session| self.end(*session));
        sessions
    }

    /// Decides on a message, and keeps account of it.
    pub fn decide(
        &mut self,
        now: Instant,
        session: SessionId,
        viewer: KeyId,
        role: Role,
        message: &ToDevice,
        signaling: Signaling,
    ) -> Decision {
        let known = self.sessions.get(&session).filter(|entry| !entry.ending);
        match (message, known) {
            (ToDevice::Hello, _) => Decision::Welcome,
            (_, Some(entry)) if entry.shown.viewer != viewer => {
                refuse(ErrorCode::Forbidden, "this session is another viewer's", Fate::Over)
            }
            (ToDevice::Offer(offer), known) => {
                let camera = known.map(|entry| entry.shown.camera.as_str());
                let elsewhere = camera.is_some_and(|id| !offer.camera.is_empty() && offer.camera != id);
                let known = known.is_some();
                if !self.may_offer(now, viewer) {
                    let text = format!("more than {MAX_OFFERS} offers in a second; wait, and try again");
                    return refuse(ErrorCode::RateLimited, &text, Fate::Continues);
                }
                let fate = if known { Fate::Continues } else { Fate::Over };
                if elsewhere {
                    let text = "this session shows another camera; begin a new session for this one";
                    return refuse(ErrorCode::BadRequest, text, Fate::Continues);
                }
                if offer.talk && role < Role::Control {
                    return refuse(ErrorCode::Forbidden, "this viewer may watch, but not talk", fate);
                }
                if known { Decision::Forward } else { self.admit(now, session, viewer, offer, signaling) }
            }
            (ToDevice::Candidate(_) | ToDevice::Bye { .. }, Some(_)) => Decision::Forward,
            (ToDevice::Candidate(_) | ToDevice::Bye { .. }, None) => Decision::Ignore,
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        session: SessionId,
        viewer: KeyId,
        offer: &Offer,
        signaling: Signaling,
    ) -> Decision {
        if self.privacy == Switch::On {
            return refuse(ErrorCode::Privacy, "the camera is turned off for privacy", Fate::Over);
        }
        // The end of a session with this id is still under way.
        if self.sessions.contains_key(&session) {
            return refuse(ErrorCode::BadRequest, "this session is over; begin a new one", Fate::Over);
        }
        let camera = match offer.camera.as_str() {
            "" if !self.cameras.is_empty() => Some(0),
            id => self.cameras.iter().position(|camera| camera == id),
        };
        let Some(camera) = camera else {
            return refuse(ErrorCode::NoCamera, "there is no such camera on this device", Fate::Over);
        };
        let mut replaced = self.surplus_unfinished(viewer, signaling);
        let freed = match signaling {
            Signaling::Live => replaced.len(),
            Signaling::ByHand { .. } => {
                let waiting = self.present().filter(|entry| entry.waits_by_hand()).count();
                if waiting - replaced.len() >= MAX_WAITING {
                    let text =
                        format!("{MAX_WAITING} answers that were carried by hand wait for their viewers");
                    return refuse(ErrorCode::Busy, &text, Fate::Over);
                }
                0
            }
        };
        if self.places_taken() - freed >= self.max_viewers {
            // A viewer that has lost its connection and comes anew takes its own old place.
            let lost = self.seated().find(|entry| {
                entry.shown.viewer == viewer
                    && entry.shown.phase == Phase::Lost
                    && !replaced.contains(&entry.shown.session)
            });
            let Some(lost) = lost else {
                let text = format!("{} viewers are watching, and no more are allowed", self.max_viewers);
                return refuse(ErrorCode::Busy, &text, Fate::Over);
            };
            replaced.push(lost.shown.session);
        }
        for old in &replaced {
            self.end(*old);
        }
        let id = self.cameras[camera].clone();
        let shown = Viewer { viewer, session, camera: id, since: now, phase: Phase::Unfinished };
        self.sessions.insert(session, Entry { shown, signaling, ending: false });
        Decision::Start { camera, replaced }
    }

    /// The oldest unfinished sessions of a viewer that has too many for another of this kind.
    fn surplus_unfinished(&self, viewer: KeyId, signaling: Signaling) -> Vec<SessionId> {
        let live = signaling == Signaling::Live;
        let mut unfinished: Vec<&Viewer> = self
            .present()
            .filter(|entry| (entry.signaling == Signaling::Live) == live)
            .map(|entry| &entry.shown)
            .filter(|shown| shown.viewer == viewer && shown.phase == Phase::Unfinished)
            .collect();
        unfinished.sort_by_key(|shown| shown.since);
        let allowed = if live { MAX_UNFINISHED } else { MAX_WAITING_EACH };
        let surplus = (unfinished.len() + 1).saturating_sub(allowed);
        unfinished.iter().take(surplus).map(|shown| shown.session).collect()
    }

    fn may_offer(&mut self, now: Instant, viewer: KeyId) -> bool {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < OFFER_WINDOW;
        if self.offers.len() > PRUNE_ABOVE {
            self.offers.retain(|_, times| times.back().is_some_and(recent));
        }
        let times = self.offers.entry(viewer).or_default();
        while times.front().is_some_and(|at| !recent(at)) {
            times.pop_front();
        }
        let allowed = times.len() < MAX_OFFERS;
        if allowed {
            times.push_back(now);
        }
        allowed
    }

    fn present(&self) -> impl Iterator<Item = &Entry> {
        self.sessions.values().filter(|entry| !entry.ending)
    }

    /// Those that take a place: who waits for what was carried by hand may never come.
    fn seated(&self) -> impl Iterator<Item = &Entry> {
        self.present().filter(|entry| !entry.waits_by_hand())
    }

    fn places_taken(&self) -> usize {
        self.seated().count()
    }

    fn end(&mut self, session: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.ending = true;
        }
    }

    /// A session has come further, or fallen back.
    pub fn report(&mut self, session: SessionId, phase: Phase) -> Place {
        let free = self.places_taken() < self.max_viewers;
        let Some(entry) = self.sessions.get_mut(&session) else { return Place::Free };
        let sits_down = !entry.ending && entry.waits_by_hand() && phase != Phase::Unfinished;
        entry.shown.phase = phase;
        if sits_down && !free {
            entry.ending = true;
            return Place::Taken;
        }
        Place::Free
    }

    /// A session is gone.
    pub fn finished(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// A viewer's key was removed: the sessions to end.
    pub fn revoke(&mut self, viewer: KeyId) -> Vec<SessionId> {
        self.offers.remove(&viewer);
        let sessions: Vec<SessionId> = self
            .present()
            .filter(|entry| entry.shown.viewer == viewer)
            .map(|entry| entry.shown.session)
            .collect();
        for session in &sessions {
            self.end(*session);
        }
        sessions
    }

    /// All sessions that are not on their way out.
    pub fn viewers(&self) -> Vec<Viewer> {
        self.present().map(|entry| entry.shown.clone()).collect()
    }
}

impl Entry {
    fn waits_by_hand(&self) -> bool {
        matches!(self.signaling, Signaling::ByHand { .. }) && self.shown.phase == Phase::Unfinished
    }
}

fn refuse(code: ErrorCode, message: &str, session: Fate) -> Decision {
    Decision::Refuse { code, message: message.to_owned(), session }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const BY_HAND: Signaling = Signaling::ByHand { wait: Duration::from_secs(900) };

    fn session(id: u8) -> SessionId {
        SessionId::from_bytes([id; 16])
    }

    fn viewer(id: u8) -> KeyId {
        KeyId::from_bytes([id; 8])
    }

    fn offer() -> ToDevice {
        ToDevice::Offer(Offer { camera: String::new(), sdp: String::new(), audio: false, talk: false })
    }

    struct Bench {
        registry: Registry,
        now: Instant,
    }

    impl Bench {
        fn new(max_viewers: usize) -> Self {
            let cameras = vec!["front".to_owned(), "back".to_owned()];
            Self { registry: Registry::new(max_viewers, cameras), now: clock::now() }
        }

        fn carry(&mut self, id: u8, from: u8) -> Decision {
            self.now += Duration::from_millis(300);
            self.registry.decide(self.now, session(id), viewer(from), Role::View, &offer(), BY_HAND)
        }

        fn put(&mut self, id: u8, from: u8, message: &ToDevice) -> Decision {
            self.now += Duration::from_millis(300);
            self.registry.decide(self.now, session(id), viewer(from), Role::View, message, Signaling::Live)
        }

        fn connect(&mut self, id: u8, from: u8) -> Decision {
            let decision = self.put(id, from, &offer());
            self.registry.report(session(id), Phase::Connected);
            decision
        }
    }

    fn code(decision: &Decision) -> Option<ErrorCode> {
        match decision {
            Decision::Refuse { code, .. } => Some(*code),
            _ => None,
        }
    }

    fn started(replaced: &[u8]) -> Decision {
        Decision::Start { camera: 0, replaced: replaced.iter().map(|id| session(*id)).collect() }
    }

    #[test]
    fn privacy_ends_all_sessions_and_lets_nobody_in() {
        let mut bench = Bench::new(8);
        assert!(matches!(bench.put(1, 1, &offer()), Decision::Start { .. }));
        assert_eq!(bench.registry.set_privacy(Switch::On), [session(1)]);
        assert!(bench.registry.viewers().is_empty());
        for refused in [bench.put(2, 1, &offer()), bench.carry(3, 2)] {
            let Decision::Refuse { code, session, .. } = refused else { panic!("{refused:?}") };
            assert_eq!((code, session), (ErrorCode::Privacy, Fate::Over));
        }
        assert_eq!(bench.put(4, 1, &ToDevice::Hello), Decision::Welcome);
        bench.registry.finished(session(1));
        assert!(bench.registry.set_privacy(Switch::Off).is_empty());
        assert!(matches!(bench.put(5, 1, &offer()), Decision::Start { .. }));
    }

    #[test]
    fn the_one_above_the_limit_is_told_busy() {
        let mut bench = Bench::new(2);
        assert_eq!(bench.connect(1, 1), started(&[]));
        assert_eq!(bench.connect(2, 2), started(&[]));
        assert_eq!(code(&bench.put(3, 3, &offer())), Some(ErrorCode::Busy));
        bench.registry.finished(session(1));
        assert_eq!(bench.put(3, 3, &offer()), started(&[]));
    }

    #[test]
    fn a_viewer_who_comes_anew_takes_its_own_lost_place_but_nobody_elses() {
        let mut bench = Bench::new(2);
        bench.connect(1, 1);
        bench.connect(2, 2);
        bench.registry.report(session(1), Phase::Lost);
        assert_eq!(code(&bench.put(3, 3, &offer())), Some(ErrorCode::Busy));
        assert_eq!(bench.put(4, 1, &offer()), started(&[1]));
    }

    #[test]
    fn a_third_unfinished_session_replaces_the_oldest() {
        let mut bench = Bench::new(8);
        assert_eq!(bench.put(1, 1, &offer()), started(&[]));
        assert_eq!(bench.put(2, 1, &offer()), started(&[]));
        assert_eq!(bench.put(3, 2, &offer()), started(&[]));
        assert_eq!(bench.put(4, 1, &offer()), started(&[1]));
        assert_eq!(bench.registry.viewers().len(), 3);
    }

    #[test]
    fn the_sixth_offer_in_a_second_is_refused_and_a_later_one_not() {
        let mut bench = Bench::new(8);
        let now = bench.now;
        let mut put = |ms, from| {
            let at = now + Duration::from_millis(ms);
            bench.registry.decide(at, session(1), viewer(from), Role::View, &offer(), Signaling::Live)
        };
        for ms in [0, 10, 20, 30, 40] {
            assert_eq!(code(&put(ms, 1)), None);
        }
        assert_eq!(code(&put(999, 1)), Some(ErrorCode::RateLimited));
        assert_eq!(code(&put(1000, 1)), None);
    }

    #[test]
    fn cameras_are_found_by_id_and_the_first_by_default() {
        let mut bench = Bench::new(8);
        let of = |camera: &str| {
            ToDevice::Offer(Offer { camera: camera.into(), sdp: String::new(), audio: false, talk: false })
        };
        assert_eq!(bench.put(1, 1, &of("back")), Decision::Start { camera: 1, replaced: vec![] });
        assert_eq!(code(&bench.put(2, 1, &of("side"))), Some(ErrorCode::NoCamera));
        let mut none = Registry::new(8, Vec::new());
        let decision = none.decide(bench.now, session(1), viewer(1), Role::Admin, &offer(), Signaling::Live);
        assert_eq!(code(&decision), Some(ErrorCode::NoCamera));
    }

    #[test]
    fn a_session_keeps_its_camera() {
        let mut bench = Bench::new(8);
        let of = |camera: &str| {
            ToDevice::Offer(Offer { camera: camera.into(), sdp: String::new(), audio: false, talk: false })
        };
        bench.put(1, 1, &of("back"));
        assert_eq!(code(&bench.put(1, 1, &of("front"))), Some(ErrorCode::BadRequest));
        assert_eq!(bench.put(1, 1, &of("back")), Decision::Forward);
        assert_eq!(bench.put(1, 1, &of("")), Decision::Forward);
    }

    #[test]
    fn talking_needs_the_role() {
        let talk =
            ToDevice::Offer(Offer { camera: String::new(), sdp: String::new(), audio: true, talk: true });
        let mut bench = Bench::new(8);
        assert_eq!(code(&bench.put(1, 1, &talk)), Some(ErrorCode::Forbidden));
        let decision =
            bench.registry.decide(bench.now, session(1), viewer(1), Role::Control, &talk, Signaling::Live);
        assert_eq!(decision, started(&[]));
    }

    #[test]
    fn a_session_belongs_to_its_viewer() {
        let mut bench = Bench::new(8);
        bench.connect(1, 1);
        for message in [offer(), ToDevice::Candidate(None), ToDevice::Bye { reason: String::new() }] {
            assert_eq!(code(&bench.put(1, 2, &message)), Some(ErrorCode::Forbidden));
            assert_eq!(bench.put(1, 1, &message), Decision::Forward);
        }
        assert_eq!(bench.put(9, 2, &ToDevice::Candidate(None)), Decision::Ignore);
    }

    #[test]
    fn revoking_ends_all_sessions_of_a_viewer_at_once() {
        let mut bench = Bench::new(8);
        bench.connect(1, 1);
        bench.connect(2, 2);
        bench.connect(3, 1);
        assert_eq!(bench.registry.revoke(viewer(1)), [session(1), session(3)]);
        assert_eq!(bench.registry.revoke(viewer(1)), []);
        assert_eq!(bench.put(1, 1, &ToDevice::Candidate(None)), Decision::Ignore);
        assert_eq!(bench.registry.viewers().len(), 1);
    }

    #[test]
    fn who_waits_by_hand_takes_no_place_until_it_connects() {
        let mut bench = Bench::new(2);
        for id in 1..=4 {
            assert_eq!(bench.carry(id, id), Decision::Start { camera: 0, replaced: Vec::new() });
        }
        let full = bench.carry(5, 5);
        assert!(
            matches!(full, Decision::Refuse { code: ErrorCode::Busy, session: Fate::Over, .. }),
            "{full:?}"
        );
        assert_eq!(bench.put(6, 6, &offer()), Decision::Start { camera: 0, replaced: Vec::new() });
        assert_eq!(bench.registry.report(session(1), Phase::Connected), Place::Free);
        let full = bench.put(7, 7, &offer());
        assert!(matches!(full, Decision::Refuse { code: ErrorCode::Busy, .. }), "{full:?}");
        // Both places are taken: who comes late must go, and nobody is answered by hand.
        assert_eq!(bench.registry.report(session(2), Phase::Connected), Place::Taken);
        let full = bench.carry(8, 8);
        assert!(matches!(full, Decision::Refuse { code: ErrorCode::Busy, .. }), "{full:?}");
        bench.registry.finished(session(6));
        assert_eq!(bench.registry.report(session(3), Phase::Connected), Place::Free);
    }

    #[test]
    fn a_viewer_that_offers_anew_by_hand_gives_up_its_oldest_offer_and_no_live_session() {
        let mut bench = Bench::new(8);
        assert_eq!(bench.put(1, 1, &offer()), Decision::Start { camera: 0, replaced: Vec::new() });
        for id in 2..=3 {
            assert_eq!(bench.carry(id, 1), Decision::Start { camera: 0, replaced: Vec::new() });
        }
        assert_eq!(bench.carry(4, 1), Decision::Start { camera: 0, replaced: vec![session(2)] });
        assert_eq!(bench.put(5, 1, &offer()), Decision::Start { camera: 0, replaced: Vec::new() });
    }

    #[test]
    fn any_order_of_operations_keeps_the_limits() {
        const MAX_VIEWERS: usize = 3;
        let mut seed = 0x1234_5678_u32;
        let mut random = move |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            (seed % below) as u8
        };
        let mut bench = Bench::new(MAX_VIEWERS);
        for _ in 0..20_000 {
            let (id, from) = (random(12), random(4));
            bench.now += Duration::from_millis(u64::from(random(250)));
            match random(8) {
                0..=3 => {
                    let before = bench.registry.viewers().len();
                    let signaling = if random(3) == 0 { BY_HAND } else { Signaling::Live };
                    let decision = bench.registry.decide(
                        bench.now,
                        session(id),
                        viewer(from),
                        Role::View,
                        &offer(),
                        signaling,
                    );
                    if let Decision::Start { replaced, .. } = decision {
                        assert_eq!(bench.registry.viewers().len(), before + 1 - replaced.len());
                    }
                }
                4 => {
                    bench.registry.report(session(id), Phase::Connected);
                }
                5 => {
                    bench.registry.report(session(id), Phase::Lost);
                }
                6 => bench.registry.finished(session(id)),
                _ => drop(bench.registry.revoke(viewer(from))),
            }
            let seated: Vec<&Entry> = bench.registry.seated().collect();
            let waiting: Vec<&Entry> =
                bench.registry.present().filter(|entry| entry.waits_by_hand()).collect();
            assert!(seated.len() <= MAX_VIEWERS && waiting.len() <= MAX_WAITING);
            for from in 0..4 {
                let unfinished = |entry: &&&Entry| {
                    entry.shown.viewer == viewer(from) && entry.shown.phase == Phase::Unfinished
                };
                assert!(seated.iter().filter(unfinished).count() <= MAX_UNFINISHED);
                assert!(waiting.iter().filter(unfinished).count() <= MAX_WAITING_EACH);
            }
            assert!(bench.registry.offers.len() <= PRUNE_ABOVE + 1);
        }
    }
}
