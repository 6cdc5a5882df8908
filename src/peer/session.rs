//! One viewer's session, from its offer to its end: what to do when something comes in or a time has passed. Pure:
//! inputs and times in, outputs out. Not here: doing it (`session_task`), and whether a viewer may have a session
//! at all (`registry`).

use std::time::{Duration, Instant};

use super::{
    Signaling, codec,
    rtc::{RtcError, RtcEvent},
};
use crate::{
    pipeline::{CameraState, Notice},
    signal::message::{ByeReason, Candidate, ErrorCode, Offer, ToViewer},
};

/// Candidates taken from a viewer in a session; each makes the ICE agent send checks.
const MAX_CANDIDATES: u32 = 64;
/// Candidates that wait for the answer to be made.
const MAX_EARLY: usize = 32;

/// How long a session waits, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// For the camera to give its first picture, whose profile the answer names.
    pub camera: Duration,
    /// For the viewer to connect, from the answer on. A viewer whose certificate does not match its offer would
    /// otherwise stay for ever.
    pub connect: Duration,
    /// For a viewer that was lost, which is noticed after 5 s, to come back.
    pub lost: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            camera: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            lost: Duration::from_secs(15),
        }
    }
}

impl Timings {
    /// What they are in a session whose messages travel so.
    pub fn with(self, signaling: Signaling) -> Self {
        match signaling {
            Signaling::Live => self,
            Signaling::ByHand { wait } => Self { connect: wait, ..self },
        }
    }
}

/// What comes in.
#[derive(Debug)]
pub enum Input {
    Offer(Offer),
    Candidate(Option<Candidate>),
    /// The viewer ends it.
    Bye,
    /// We end it.
    End(ByeReason),
    /// The camera's state when the session began: a failure in it may be an old one.
    CameraWas(CameraState),
    /// The camera's state has changed.
    Camera(CameraState),
    /// What the viewer is to be told now beside the picture.
    Notice(Option<Notice>),
    /// The camera gives no more frames, ever.
    CameraEnded,
    Answered(Result<String, RtcError>),
    Rtc(RtcEvent),
    /// Frames can no longer be written.
    ConnectionLost,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make a connection and an answer for this offer; `Input::Answered` shall follow.
    Answer {
        sdp: String,
        profile_level: [u8; 3],
    },
    /// Answer a further offer on the same connection; `Input::Answered` shall follow.
    Renegotiate {
        sdp: String,
    },
    AddCandidate(Candidate),
    Reply(ToViewer),
    /// Tell this, or that what was told holds no longer.
    Notify(Option<Notice>),
    Play(Playing),
    RequestKeyFrame,
    Estimate {
        bits_per_second: u64,
    },
    /// The last message; close everything.
    Finish(ToViewer),
}

/// Whether frames go to the viewer. They begin with a key frame each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playing {
    On,
    Paused,
}

/// How far a session is, for the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not yet connected.
    Unfinished,
    Connected,
    /// Was connected; the viewer was not heard of for a while.
    Lost,
}

#[derive(Debug)]
enum State {
    /// Waits for the camera's profile.
    Opening {
        sdp: String,
        until: Instant,
    },
    Answering,
    Connecting {
        until: Instant,
    },
    Connected,
    Lost {
        until: Instant,
    },
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    state: State,
    timings: Timings,
    camera: CameraState,
    /// What the answer named.
    profile_level: Option<[u8; 3]>,
    notice: Option<Notice>,
    /// What the viewer knows of it.
    told: Option<Notice>,
    early: Vec<Candidate>,
    candidates: u32,
}

impl Session {
    /// A session begins with an offer.
    pub fn new(now: Instant, timings: Timings, offer: Offer) -> Self {
        Self {
            state: State::Opening { sdp: offer.sdp, until: now + timings.camera },
            timings,
            camera: CameraState::Idle,
            profile_level: None,
            notice: None,
            told: None,
            early: Vec::new(),
            candidates: 0,
        }
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Opening { .. } | State::Answering | State::Connecting { .. } => Phase::Unfinished,
            State::Connected => Phase::Connected,
            State::Lost { .. } | State::Over => Phase::Lost,
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// When to call [`Self::handle_timeout`].
    pub fn timeout(&self) -> Option<Instant> {
        match self.state {
            State::Opening { until, .. } | State::Connecting { until } | State::Lost { until } => Some(until),
            State::Answering | State::Connected | State::Over => None,
        }
    }

    /// Something took too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Output> {
        if self.timeout().is_none_or(|until| now < until) {
            return Vec::new();
        }
        match self.state {
            State::Opening { .. } => {
                let reason = match &self.camera {
                    CameraState::Failed { reason } => reason.clone(),
                    _ => format!("the camera gave no picture within {} s", self.timings.camera.as_secs()),
                };
                self.fail(ErrorCode::NoCamera, reason)
            }
            _ => self.end(ByeReason::Idle),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Output> {
        if self.is_over() {
            return Vec::new();
        }
        match input {
            Input::Offer(offer) => self.offer(offer),
            Input::Candidate(candidate) => self.candidate(candidate),
            Input::Bye => self.end(ByeReason::Idle),
            Input::End(reason) => self.end(reason),
            Input::CameraWas(state) => self.camera_was(state),
            Input::Camera(state) => self.camera(state),
            Input::Notice(notice) => {
                self.notice = notice;
                self.tell().into_iter().collect()
            }
            Input::CameraEnded => self.end(ByeReason::Camera),
            Input::Answered(answer) => self.answered(now, answer),
            Input::Rtc(event) => self.rtc(now, event),
            Input::ConnectionLost => self.end(ByeReason::Idle),
        }
    }

    fn offer(&mut self, offer: Offer) -> Vec<Output> {
        match &mut self.state {
            State::Opening { sdp, .. } => {
                *sdp = offer.sdp;
                Vec::new()
            }
            State::Over => Vec::new(),
            State::Answering | State::Connecting { .. } | State::Connected | State::Lost { .. } => {
                vec![Output::Renegotiate { sdp: offer.sdp }]
            }
        }
    }

    fn candidate(&mut self, candidate: Option<Candidate>) -> Vec<Output> {
        // The crate needs no end of candidates: it goes on checking until the session gives up.
        let Some(candidate) = candidate else { return Vec::new() };
        if self.candidates >= MAX_CANDIDATES {
            return Vec::new();
        }
        self.candidates += 1;
        match self.state {
            State::Opening { .. } | State::Answering => {
                if self.early.len() < MAX_EARLY {
                    self.early.push(candidate);
                }
                Vec::new()
            }
            _ => vec![Output::AddCandidate(candidate)],
        }
    }

    fn camera_was(&mut self, state: CameraState) -> Vec<Output> {
        match state {
            // Opening it for us may go better. If it does not, this is the reason.
            CameraState::Failed { .. } => {
                self.camera = state;
                Vec::new()
            }
            CameraState::Idle
            | CameraState::Opening
            | CameraState::Streaming { .. }
            | CameraState::NoPicture { .. } => self.camera(state),
        }
    }

    fn camera(&mut self, state: CameraState) -> Vec<Output> {
        self.camera = state;
        if self.has_another_profile() {
            // The viewer's decoder was made for the old one; it connects anew.
            return self.end(ByeReason::Camera);
        }
        match (&mut self.state, &self.camera) {
            // Of a camera that does not work the viewer gets the slate, and the picture in the same session.
            (
                State::Opening { sdp, .. },
                CameraState::Streaming { profile_level, .. } | CameraState::NoPicture { profile_level, .. },
            ) => {
                let answer = Output::Answer { sdp: std::mem::take(sdp), profile_level: *profile_level };
                self.profile_level = Some(*profile_level);
                self.state = State::Answering;
                vec![answer]
            }
            (State::Opening { .. }, CameraState::Failed { reason }) => {
                let reason = reason.clone();
                self.fail(ErrorCode::NoCamera, reason)
            }
            // A camera that is lost is opened again; the viewer keeps its connection meanwhile.
            _ => Vec::new(),
        }
    }

    /// Once there is an answer, each change.
    fn tell(&mut self) -> Option<Output> {
        let answered = !matches!(self.state, State::Opening { .. } | State::Answering | State::Over);
        if !answered || self.told == self.notice {
            return None;
        }
        self.told = self.notice.clone();
        Some(Output::Notify(self.told.clone()))
    }

    fn has_another_profile(&self) -> bool {
        let CameraState::Streaming { profile_level, .. } = &self.camera else { return false };
        self.profile_level.is_some_and(|answered| !codec::plays(answered, *profile_level))
    }

    fn answered(&mut self, now: Instant, answer: Result<String, RtcError>) -> Vec<Output> {
        let until = now + self.timings.connect;
        match (&mut self.state, answer) {
            (State::Answering, Ok(sdp)) => {
                self.state = State::Connecting { until };
                let mut outputs = vec![Output::Reply(ToViewer::Answer { sdp })];
                outputs.extend(self.early.drain(..).map(Output::AddCandidate));
                outputs.extend(self.tell());
                outputs
            }
            (State::Answering, Err(error)) => self.fail(error_code(&error), error.to_string()),
            (state, Ok(sdp)) => {
                match state {
                    State::Connecting { until: deadline } => *deadline = until,
                    State::Lost { until: deadline } => *deadline = now + self.timings.lost,
                    _ => {}
                }
                vec![Output::Reply(ToViewer::Answer { sdp })]
            }
            (_, Err(error)) => {
                let (code, message) = (error_code(&error), error.to_string());
                vec![Output::Reply(ToViewer::Error { code, message })]
            }
        }
    }

    fn rtc(&mut self, now: Instant, event: RtcEvent) -> Vec<Output> {
        match event {
            RtcEvent::Connected => {
                // After an ICE restart it comes again, whether the viewer was lost before or not.
                let again = matches!(self.state, State::Lost { .. } | State::Connected);
                self.state = State::Connected;
                let mut outputs = vec![Output::Play(Playing::On)];
                // At its beginning the hub's cursor asks for one itself, if there is none it can begin with.
                if again {
                    outputs.push(Output::RequestKeyFrame);
                }
                outputs
            }
            RtcEvent::Disconnected if matches!(self.state, State::Connected) => {
                self.state = State::Lost { until: now + self.timings.lost };
                vec![Output::Play(Playing::Paused)]
            }
            RtcEvent::Disconnected | RtcEvent::Loss { .. } => Vec::new(),
            // After a connection it may be a restart by the viewer that brings it back.
            RtcEvent::Failed if matches!(self.state, State::Lost { .. }) => Vec::new(),
            RtcEvent::Failed | RtcEvent::Closed => self.end(ByeReason::Idle),
            RtcEvent::KeyFrameWanted if matches!(self.state, State::Connected) => {
                vec![Output::RequestKeyFrame]
            }
            RtcEvent::KeyFrameWanted => Vec::new(),
            RtcEvent::Estimate { bits_per_second } => vec![Output::Estimate { bits_per_second }],
            RtcEvent::LocalCandidate(candidate) => vec![Output::Reply(ToViewer::Candidate(candidate))],
        }
    }

    fn fail(&mut self, code: ErrorCode, message: String) -> Vec<Output> {
        self.state = State::Over;
        vec![Output::Finish(ToViewer::Error { code, message })]
    }

    fn end(&mut self, reason: ByeReason) -> Vec<Output> {
        self.state = State::Over;
        vec![Output::Finish(ToViewer::Bye { reason })]
    }
}

fn error_code(error: &RtcError) -> ErrorCode {
    match error {
        RtcError::BadOffer(_) | RtcError::BadCandidate(_) => ErrorCode::BadRequest,
        RtcError::NoH264 => ErrorCode::Codec,
        RtcError::NoAddress | RtcError::Internal(_) => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        camera::{FrameRate, PixelFormat, VideoFormat},
        clock,
        pipeline::NoticeCode,
    };

    const CONSTRAINED_BASELINE: [u8; 3] = [0x42, 0xc0, 0x1f];

    fn streaming(profile_level: [u8; 3]) -> CameraState {
        let format = VideoFormat {
            pixel: PixelFormat::I420,
            width: 64,
            height: 64,
            stride: 64,
            rate: FrameRate::new(30),
        };
        CameraState::Streaming { format, profile_level }
    }

    fn offer(sdp: &str) -> Offer {
        Offer { camera: String::new(), sdp: sdp.to_owned(), audio: false, talk: false }
    }

    fn candidate(port: u16) -> Candidate {
        Candidate {
            candidate: format!("candidate:1 1 udp 1 192.0.2.1 {port} typ host"),
            sdp_mid: None,
            sdp_m_line_index: None,
        }
    }

    fn failed(reason: &str) -> CameraState {
        CameraState::Failed { reason: reason.to_owned() }
    }

    fn no_picture(profile_level: [u8; 3]) -> CameraState {
        CameraState::NoPicture { reason: "it was unplugged".to_owned(), profile_level }
    }

    fn bye(reason: ByeReason) -> Vec<Output> {
        vec![Output::Finish(ToViewer::Bye { reason })]
    }

    fn error(code: ErrorCode, message: &str) -> Vec<Output> {
        vec![Output::Finish(ToViewer::Error { code, message: message.to_owned() })]
    }

    struct Bench {
        session: Session,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = clock::now();
            Self { session: Session::new(now, Timings::default(), offer("offer")), now }
        }

        fn connecting() -> Self {
            let mut bench = Self::new();
            bench.put(Input::CameraWas(streaming(CONSTRAINED_BASELINE)));
            bench.put(Input::Answered(Ok("answer".into())));
            bench
        }

        fn connected() -> Self {
            let mut bench = Self::connecting();
            bench.put(Input::Rtc(RtcEvent::Connected));
            bench
        }

        fn put(&mut self, input: Input) -> Vec<Output> {
            self.session.handle(self.now, input)
        }

        fn after(&mut self, ms: u64) -> Vec<Output> {
            self.now += Duration::from_millis(ms);
            self.session.handle_timeout(self.now)
        }
    }

    #[test]
    fn a_session_goes_from_offer_to_picture() {
        let mut bench = Bench::new();
        assert_eq!(bench.put(Input::CameraWas(CameraState::Idle)), []);
        assert_eq!(bench.put(Input::Camera(CameraState::Opening)), []);
        let sdp = "offer".to_owned();
        assert_eq!(
            bench.put(Input::Camera(streaming(CONSTRAINED_BASELINE))),
            [Output::Answer { sdp, profile_level: CONSTRAINED_BASELINE }]
        );
        let answer = ToViewer::Answer { sdp: "answer".into() };
        assert_eq!(bench.put(Input::Answered(Ok("answer".into()))), [Output::Reply(answer)]);
        assert_eq!(bench.session.phase(), Phase::Unfinished);
        assert_eq!(bench.put(Input::Rtc(RtcEvent::Connected)), [Output::Play(Playing::On)]);
        assert_eq!(bench.session.phase(), Phase::Connected);
        assert_eq!(bench.session.timeout(), None);
    }

    #[test]
    fn a_camera_that_fails_is_told_with_its_reason() {
        let mut bench = Bench::new();
        assert_eq!(
            bench.put(Input::Camera(failed("it is in use"))),
            error(ErrorCode::NoCamera, "it is in use")
        );
        assert!(bench.session.is_over());
    }

    #[test]
    fn an_old_failure_of_the_camera_counts_only_when_it_does_not_open_in_time() {
        let mut bench = Bench::new();
        assert_eq!(bench.put(Input::CameraWas(failed("it was unplugged"))), []);
        assert_eq!(bench.after(4900), []);
        assert_eq!(bench.after(100), error(ErrorCode::NoCamera, "it was unplugged"));

        let mut bench = Bench::new();
        bench.put(Input::CameraWas(failed("it was unplugged")));
        bench.put(Input::Camera(CameraState::Opening));
        assert!(matches!(
            bench.put(Input::Camera(streaming(CONSTRAINED_BASELINE)))[..],
            [Output::Answer { .. }]
        ));
    }

    #[test]
    fn a_viewer_that_does_not_connect_is_given_up_ten_seconds_after_the_answer() {
        let mut bench = Bench::connecting();
        assert_eq!(bench.after(9900), []);
        assert_eq!(bench.after(100), bye(ByeReason::Idle));
        assert!(bench.session.is_over());
    }

    #[test]
    fn a_lost_viewer_may_come_back_for_fifteen_seconds() {
        let mut bench = Bench::connected();
        let lost = bench.put(Input::Rtc(RtcEvent::Disconnected));
        assert_eq!(lost, [Output::Play(Playing::Paused)]);
        assert_eq!(bench.session.phase(), Phase::Lost);
        assert_eq!(bench.after(14900), []);
        let back = bench.put(Input::Rtc(RtcEvent::Connected));
        assert_eq!(back, [Output::Play(Playing::On), Output::RequestKeyFrame]);
        bench.put(Input::Rtc(RtcEvent::Disconnected));
        assert_eq!(bench.after(15000), bye(ByeReason::Idle));
    }

    #[test]
    fn the_picture_goes_on_with_a_key_frame_after_a_restart_of_ice() {
        let mut bench = Bench::connected();
        bench.put(Input::Offer(offer("restart")));
        bench.put(Input::Answered(Ok("answer".into())));
        // The player waits for a key frame each time that it is told to play.
        let again = bench.put(Input::Rtc(RtcEvent::Connected));
        assert_eq!(again, [Output::Play(Playing::On), Output::RequestKeyFrame]);
    }

    #[test]
    fn a_further_offer_renegotiates_and_a_bad_one_changes_nothing() {
        let mut bench = Bench::connected();
        let outputs = bench.put(Input::Offer(offer("restart")));
        assert_eq!(outputs, [Output::Renegotiate { sdp: "restart".into() }]);
        let reply = bench.put(Input::Answered(Err(RtcError::NoH264)));
        assert!(matches!(reply[..], [Output::Reply(ToViewer::Error { code: ErrorCode::Codec, .. })]));
        assert_eq!(bench.session.phase(), Phase::Connected);
    }

    #[test]
    fn a_refused_first_offer_ends_the_session() {
        let mut bench = Bench::new();
        bench.put(Input::Camera(streaming(CONSTRAINED_BASELINE)));
        let outputs = bench.put(Input::Answered(Err(RtcError::NoH264)));
        assert!(matches!(outputs[..], [Output::Finish(ToViewer::Error { code: ErrorCode::Codec, .. })]));
        assert!(bench.session.is_over());
    }

    #[test]
    fn candidates_that_come_early_wait_for_the_answer() {
        let mut bench = Bench::new();
        assert_eq!(bench.put(Input::Candidate(Some(candidate(1)))), []);
        bench.put(Input::Camera(streaming(CONSTRAINED_BASELINE)));
        assert_eq!(bench.put(Input::Candidate(Some(candidate(2)))), []);
        let outputs = bench.put(Input::Answered(Ok("answer".into())));
        assert_eq!(outputs[1..], [Output::AddCandidate(candidate(1)), Output::AddCandidate(candidate(2))]);
        assert_eq!(bench.put(Input::Candidate(Some(candidate(3)))), [Output::AddCandidate(candidate(3))]);
    }

    #[test]
    fn candidates_are_bounded() {
        let mut bench = Bench::connecting();
        let taken = (0..500).flat_map(|port| bench.put(Input::Candidate(Some(candidate(port))))).count();
        assert_eq!(taken, MAX_CANDIDATES as usize);
    }

    #[test]
    fn key_frames_are_asked_for_only_by_those_who_see() {
        let mut bench = Bench::connecting();
        assert_eq!(bench.put(Input::Rtc(RtcEvent::KeyFrameWanted)), []);
        let mut bench = Bench::connected();
        assert_eq!(bench.put(Input::Rtc(RtcEvent::KeyFrameWanted)), [Output::RequestKeyFrame]);
    }

    #[test]
    fn a_viewer_of_a_camera_without_a_picture_gets_an_answer_and_keeps_its_session_when_the_picture_comes() {
        let mut bench = Bench::new();
        let outputs = bench.put(Input::CameraWas(no_picture(CONSTRAINED_BASELINE)));
        assert_eq!(
            outputs,
            [Output::Answer { sdp: "offer".to_owned(), profile_level: CONSTRAINED_BASELINE }]
        );
        bench.put(Input::Answered(Ok("answer".into())));
        bench.put(Input::Rtc(RtcEvent::Connected));
        assert_eq!(bench.put(Input::Camera(streaming([0x42, 0xc0, 0x28]))), []);
        assert_eq!(bench.put(Input::Camera(no_picture(CONSTRAINED_BASELINE))), []);
        assert_eq!(bench.session.phase(), Phase::Connected);
    }

    #[test]
    fn a_viewer_is_told_what_holds_with_its_answer_and_then_each_change_once() {
        let notice = |message: &str| Some(Notice { code: NoticeCode::Slowed, message: message.to_owned() });
        let mut bench = Bench::new();
        assert_eq!(bench.put(Input::Notice(notice("slower"))), []);
        bench.put(Input::CameraWas(streaming(CONSTRAINED_BASELINE)));
        let outputs = bench.put(Input::Answered(Ok("answer".into())));
        assert_eq!(outputs[1..], [Output::Notify(notice("slower"))]);
        assert_eq!(bench.put(Input::Notice(notice("slower"))), []);
        assert_eq!(
            bench.put(Input::Notice(notice("still slower"))),
            [Output::Notify(notice("still slower"))]
        );
        assert_eq!(bench.put(Input::Notice(None)), [Output::Notify(None)]);
        assert_eq!(bench.put(Input::Notice(None)), []);
    }

    #[test]
    fn a_camera_that_comes_back_with_a_profile_the_viewer_cannot_play_ends_the_session() {
        let mut bench = Bench::connected();
        assert_eq!(bench.put(Input::Camera(no_picture(CONSTRAINED_BASELINE))), []);
        assert_eq!(bench.put(Input::Camera(streaming([0x42, 0xc0, 0x28]))), []);
        assert_eq!(bench.put(Input::Camera(streaming([0x64, 0x00, 0x28]))), bye(ByeReason::Camera));
    }

    #[test]
    fn a_camera_that_comes_back_with_a_lesser_profile_keeps_the_session() {
        let mut bench = Bench::new();
        bench.put(Input::CameraWas(streaming([0x64, 0x00, 0x28])));
        assert_eq!(bench.put(Input::Camera(streaming(CONSTRAINED_BASELINE))), []);
        assert!(!bench.session.is_over());
    }

    #[test]
    fn any_order_of_events_keeps_the_invariants() {
        let mut seed = 0x2545_f491_u32;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed
        };
        for _ in 0..2000 {
            let mut bench = Bench::new();
            let (mut answers, mut finishes) = (0, 0);
            for _ in 0..40 {
                let input = match random() % 16 {
                    0 => Input::Offer(offer("again")),
                    1 => Input::Candidate(Some(candidate(1))),
                    2 => Input::Candidate(None),
                    3 => Input::Bye,
                    4 => Input::End(ByeReason::Revoked),
                    5 => Input::Camera(CameraState::Opening),
                    6 | 7 => Input::Camera(streaming(CONSTRAINED_BASELINE)),
                    8 if random() % 2 == 0 => Input::Camera(failed("gone")),
                    8 => Input::Camera(no_picture(CONSTRAINED_BASELINE)),
                    9 => Input::Answered(Ok("answer".into())),
                    10 => Input::Answered(Err(RtcError::NoH264)),
                    11 => Input::Rtc(RtcEvent::Connected),
                    12 => Input::Rtc(RtcEvent::Disconnected),
                    13 => Input::Rtc(RtcEvent::KeyFrameWanted),
                    14 => Input::ConnectionLost,
                    _ => Input::CameraWas(CameraState::Idle),
                };
                let was_over = bench.session.is_over();
                let mut outputs = bench.put(input);
                outputs.extend(bench.after(u64::from(random() % 4000)));
                assert!(!was_over || outputs.is_empty(), "nothing is done after the end");
                for output in &outputs {
                    match output {
                        Output::Answer { .. } => answers += 1,
                        Output::Finish(_) => finishes += 1,
                        _ => {}
                    }
                }
                assert!(answers <= 1 && finishes <= 1);
                assert_eq!(finishes == 1, bench.session.is_over());
                assert!(bench.session.early.len() <= MAX_EARLY);
            }
        }
    }
}
