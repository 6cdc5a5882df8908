//! One viewer's WebRTC connection: offer in, answer out, H.264 on its way, events back. With its own files below it
//! and `guard`, the only place that names the WebRTC crate, so that another could take its place. Not here: when to
//! connect, to give up and to close (`session`).
//!
//! Left out on purpose: the playout-delay extension (0/0 freezes Firefox), transport-cc (a viewer that is answered
//! with it sends no REMB), and the crate's bandwidth estimator and pacer, which starve a stream at 5 % loss.
//! Taken where it is offered: video-orientation (3GPP TS 26.114, section 7.4.5), for cameras that do not stand upright.

mod events;
mod feedback;
mod writer;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};
use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::{NackResponderBuilder, Registry, SenderReportBuilder, Slot},
    media_stream::MediaStreamTrack,
    peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_RTX, MediaEngine},
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
        RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
    },
};
use tokio::sync::mpsc;
use webrtc::{
    media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, RTCConfigurationBuilder, RTCIceCandidateInit, RTCIceServer,
        RTCSessionDescription, SettingEngineBuilder,
    },
};

pub use self::writer::FrameWriter;
use self::{
    events::{Events, Handler},
    feedback::Feedback,
};
use super::{
    Signaling, addresses,
    codec::{self, H264Format},
    guard::{Guard, core::Counts},
    sdp::{self, Offer, SdpError},
    servers::{Kind, Server},
};
use crate::{
    clock,
    signal::message::{Candidate, IceServer},
    tasks,
};

/// The crate's own 200 ms cost a viewer a fifth of a second before the first picture.
const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Host candidates take about a millisecond; whatever comes later is trickled.
const GATHERING_TIMEOUT: Duration = Duration::from_millis(100);
/// The same for an answer that must hold them all, those of STUN and TURN servers included. Below `STACK_TIMEOUT`.
const WHOLE_GATHERING_TIMEOUT: Duration = Duration::from_secs(2);
/// Between the checks of each candidate while an answer is carried by hand. They keep open what our router has opened
/// for them; fewer would do, but the crate makes none that are rarer.
const WAITING_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Candidates of a viewer that is answered by hand: the checks to them go on for up to an hour, wherever they lead.
const WAITING_CANDIDATES: usize = 12;
/// Packets kept for re-sending: more than a second at 4 Mbit/s, at most 600 KiB a viewer. A power of two.
const RESEND_BUFFER: u16 = 512;
/// Closer to the wire than the crate's NACK responder (4000), so that `Feedback` cuts NACKs down before it.
const FEEDBACK_SLOT: usize = 500;
const STREAM_ID: &str = "pinhole";
const TRACK_ID: &str = "video";

/// How the agent connects to viewers.
#[derive(Debug, Clone, Default)]
pub struct RtcSettings {
    /// STUN and TURN servers, for viewers and for the agent.
    pub ice_servers: Vec<IceServer>,
    /// The agent's own addresses to offer; `None`: all usable ones.
    pub addresses: Option<Vec<IpAddr>>,
}

/// What happens on a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum RtcEvent {
    /// The handshake is done, or the viewer is back.
    Connected,
    /// Nothing was heard of the viewer for 5 s; it may come back.
    Disconnected,
    /// It will not come back.
    Failed,
    /// The viewer has closed the connection.
    Closed,
    /// The viewer cannot decode without a key frame (PLI or FIR).
    KeyFrameWanted,
    /// What the viewer believes that its path carries (REMB).
    Estimate { bits_per_second: u64 },
    /// The part of the packets lost since the viewer's last report, 0 to 1.
    Loss { fraction: f32 },
    /// A candidate of ours that is not in the answer; `None` ends them.
    LocalCandidate(Option<Candidate>),
}

/// Why there is no connection. The first two are the viewer's to mend.
#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    #[error(transparent)]
    BadOffer(#[from] SdpError),
    #[error("this browser offers no H.264 decoder that plays the camera's stream; use another browser")]
    NoH264,
    #[error("the candidate cannot be read: {0}")]
    BadCandidate(String),
    #[error("this machine has no network address to offer; connect it to a network")]
    NoAddress,
    #[error("the WebRTC stack failed: {0}")]
    Internal(String),
}

impl RtcError {
    fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

/// An answered offer.
#[derive(Debug)]
pub struct Answered {
    pub connection: Connection,
    /// Takes frames once the connection is up.
    pub writer: FrameWriter,
    /// The answer for the viewer.
    pub sdp: String,
    pub events: mpsc::Receiver<RtcEvent>,
}

/// A viewer's connection. Dropping it closes it, in the background; the crate itself would leak its sockets.
#[derive(Debug)]
pub struct Connection {
    peer: ClosingPeer,
    handler: Arc<Handler>,
    events: Events,
    format: H264Format,
    mid: String,
    /// Host candidates to expect.
    sockets: usize,
    signaling: Signaling,
}

impl Connection {
    /// Answers a viewer's offer for a stream whose SPS begins with `profile_level`. `servers`: the STUN and TURN
    /// servers with their addresses.
    ///
    /// # Errors
    /// See [`RtcError`]. Nothing is left open.
    pub async fn answer(
        settings: &RtcSettings,
        servers: &[Server],
        offer: &str,
        profile_level: [u8; 3],
        signaling: Signaling,
    ) -> Result<Answered, RtcError> {
        let offer = match signaling {
            Signaling::Live => Offer::parse(offer)?,
            Signaling::ByHand { .. } => Offer::parse(offer)?.with_candidates(WAITING_CANDIDATES),
        };
        let format = codec::choose(offer.formats(), profile_level).ok_or(RtcError::NoH264)?.clone();
        let addresses = addresses::present(settings.addresses.as_deref());
        if addresses.is_empty() {
            return Err(RtcError::NoAddress);
        }
        let random = Random::draw()?;
        let (events, receiver) = Events::new();
        let guard = Guard::new(relays(servers));
        let handler = Arc::new(Handler::new(events.clone(), guard.clone()));
        let plan = Plan { addresses: &addresses, servers, format: &format, signaling };
        let peer = build(plan, &random, &guard, &handler, &events).await?;
        let peer = ClosingPeer { peer: Some(peer), guard };
        let track = Arc::new(TrackLocalStaticRTP::new(track(&format, &random)));
        let local = Arc::clone(&track) as Arc<dyn TrackLocal>;
        peer.get()?.add_track(local).await.map_err(RtcError::internal)?;
        let writer =
            FrameWriter::new(track, format.payload_type, offer.orientation_id(), random.ssrc, random.start);
        let sockets = addresses.len();
        let mid = offer.mid().to_owned();
        let connection = Self { peer, handler, events, format, mid, sockets, signaling };
        let sdp = connection.negotiate(&offer).await?;
        Ok(Answered { connection, writer, sdp, events: receiver })
    }

    /// Answers a further offer of the same viewer: an ICE restart.
    ///
    /// # Errors
    /// The connection goes on as it was.
    pub async fn renegotiate(&self, offer: &str) -> Result<String, RtcError> {
        let offer = Offer::parse(offer)?;
        let same = |format: &&H264Format| {
            format.payload_type == self.format.payload_type && format.parameters == self.format.parameters
        };
        if offer.mid() != self.mid || !offer.formats().iter().any(|format| same(&format)) {
            return Err(SdpError::Malformed("it does not go on with the video of this session").into());
        }
        self.negotiate(&offer).await
    }

    async fn negotiate(&self, offer: &Offer) -> Result<String, RtcError> {
        let peer = self.peer.get()?;
        self.handler.hold(offer.mid(), offer.index());
        let remote = RTCSessionDescription::offer(offer.narrowed(&self.format)).map_err(bad_offer)?;
        peer.set_remote_description(remote).await.map_err(bad_offer)?;
        let answer = peer.create_answer(None).await.map_err(RtcError::internal)?;
        // Before any check of the viewer's can arrive.
        if let Some((ufrag, password)) = sdp::ice_credentials(&answer.sdp) {
            self.peer.guard.learn(ufrag, password);
        }
        peer.set_local_description(answer).await.map_err(RtcError::internal)?;
        let (candidates, patience) = match self.signaling {
            Signaling::Live => (self.sockets, GATHERING_TIMEOUT),
            Signaling::ByHand { .. } => (usize::MAX, WHOLE_GATHERING_TIMEOUT),
        };
        tokio::select! {
            biased;
            () = self.handler.wait_for(candidates) => {}
            () = clock::sleep(patience) => {}
        }
        let answer = peer.local_description().await.ok_or_else(|| RtcError::internal("no description"))?;
        let answer = offer.complete(&answer.sdp)?;
        self.handler.release(&answer);
        Ok(answer)
    }

    /// Adds a candidate of the viewer's. One that cannot be used here (TCP, a name, another section) is passed
    /// over.
    ///
    /// # Errors
    /// [`RtcError::BadCandidate`].
    pub async fn add_candidate(&self, candidate: &Candidate) -> Result<(), RtcError> {
        let ours = candidate.sdp_mid.as_ref().is_none_or(|mid| *mid == self.mid);
        if !ours || !sdp::is_usable_candidate(&candidate.candidate) {
            return Ok(());
        }
        let init = RTCIceCandidateInit { candidate: candidate.candidate.clone(), ..Default::default() };
        self.peer.get()?.add_ice_candidate(init).await.map_err(|e| RtcError::BadCandidate(e.to_string()))
    }

    /// What the guard has done on this connection, and how many events were lost for a session that was behind.
    pub fn counts(&self) -> (Counts, u64) {
        (self.peer.guard.counts(), self.events.dropped())
    }

    /// Tells the viewer, and frees the sockets. Takes 100 ms at most.
    pub async fn close(mut self) {
        self.peer.close().await;
    }
}

/// Closes the crate's connection whatever happens.
struct ClosingPeer {
    peer: Option<Arc<dyn PeerConnection>>,
    guard: Guard,
}

impl ClosingPeer {
    fn get(&self) -> Result<&Arc<dyn PeerConnection>, RtcError> {
        self.peer.as_ref().ok_or_else(|| RtcError::internal("the connection is closed"))
    }

    async fn close(&mut self) {
        self.guard.end();
        if let Some(peer) = self.peer.take()
            && let Err(error) = peer.close().await
        {
            tracing::debug!(%error, "a connection was not closed in order");
        }
    }
}

impl Drop for ClosingPeer {
    fn drop(&mut self) {
        self.guard.end();
        let Some(peer) = self.peer.take() else { return };
        // Without a runtime the process is ending, and its sockets with it.
        if tokio::runtime::Handle::try_current().is_ok() {
            tasks::spawn("close", async move { peer.close().await });
        }
    }
}

impl std::fmt::Debug for ClosingPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClosingPeer").field("open", &self.peer.is_some()).finish_non_exhaustive()
    }
}

fn bad_offer(error: impl std::fmt::Display) -> RtcError {
    tracing::debug!(%error, "an offer was refused by the WebRTC stack");
    SdpError::Malformed("the WebRTC stack cannot use it").into()
}

fn relays(servers: &[Server]) -> Vec<SocketAddr> {
    let turn = |server: &&Server| matches!(server.kind, Kind::Turn { .. });
    servers.iter().filter(turn).map(|server| server.address).collect()
}

/// What a connection is made for.
struct Plan<'a> {
    addresses: &'a [IpAddr],
    servers: &'a [Server],
    format: &'a H264Format,
    signaling: Signaling,
}

/// How long ICE tries.
fn checks(settings: SettingEngineBuilder, signaling: Signaling) -> SettingEngineBuilder {
    let Signaling::ByHand { wait } = signaling else {
        return settings.with_ice_connection_attempts(Some(ICE_CHECK_INTERVAL), None);
    };
    // By itself the crate gives up after 30 s, and on each pair after seven checks. When to give up is the session's to say.
    let attempts = wait.as_millis() / WAITING_CHECK_INTERVAL.as_millis() + 1;
    settings.with_ice_timeouts(None, Some(wait), None).with_ice_connection_attempts(
        Some(WAITING_CHECK_INTERVAL),
        Some(attempts.try_into().unwrap_or(u16::MAX)),
    )
}

async fn build(
    Plan { addresses, servers, format, signaling }: Plan<'_>,
    random: &Random,
    guard: &Guard,
    handler: &Arc<Handler>,
    events: &Events,
) -> Result<Arc<dyn PeerConnection>, RtcError> {
    // With it, building fails where there is no multicast route; viewers' `.local` names are found as
    // peer-reflexive candidates without.
    let settings = SettingEngineBuilder::new().with_multicast_dns_mode(MulticastDnsMode::Disabled);
    let settings = checks(settings, signaling).build();
    let configuration =
        RTCConfigurationBuilder::default().with_ice_servers(servers.iter().map(ice_server).collect()).build();
    let interceptors = Registry::new()
        .with(Slot::from(FEEDBACK_SLOT), Feedback::new(events.clone(), random.ssrc))
        .with(Slot::NackResponder, NackResponderBuilder::new().with_size(RESEND_BUFFER).build())
        .with(Slot::SenderReport, SenderReportBuilder::new().build());
    let peer = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_setting_engine(settings)
        .with_media_engine(media_engine(format)?)
        .with_interceptor_registry(interceptors)
        .with_runtime(guard.runtime())
        .with_handler(Arc::clone(handler) as _)
        .with_udp_addrs(addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect())
        .build()
        .await
        .map_err(RtcError::internal)?;
    Ok(Arc::new(peer))
}

fn ice_server(server: &Server) -> RTCIceServer {
    let (username, credential) = match &server.kind {
        Kind::Stun => Default::default(),
        Kind::Turn { username, credential } => (username.clone(), credential.clone()),
    };
    RTCIceServer { urls: vec![server.url()], username, credential }
}

fn media_engine(format: &H264Format) -> Result<MediaEngine, RtcError> {
    let mut engine = MediaEngine::default();
    let h264 = RTCRtpCodecParameters { rtp_codec: h264(format), payload_type: format.payload_type };
    engine.register_codec(h264, RtpCodecKind::Video).map_err(RtcError::internal)?;
    if let Some(payload_type) = format.rtx {
        let rtp_codec = RTCRtpCodec {
            mime_type: MIME_TYPE_RTX.to_owned(),
            clock_rate: 90_000,
            sdp_fmtp_line: format!("apt={}", format.payload_type),
            ..Default::default()
        };
        let rtx = RTCRtpCodecParameters { rtp_codec, payload_type };
        engine.register_codec(rtx, RtpCodecKind::Video).map_err(RtcError::internal)?;
    }
    let orientation = RTCRtpHeaderExtensionCapability { uri: sdp::VIDEO_ORIENTATION.to_owned() };
    engine.register_header_extension(orientation, RtpCodecKind::Video, None).map_err(RtcError::internal)?;
    Ok(engine)
}

fn h264(format: &H264Format) -> RTCRtpCodec {
    let feedback = |text: &String| {
        let (typ, parameter) = text.split_once(' ').unwrap_or((text, ""));
        RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
    };
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: 90_000,
        sdp_fmtp_line: format.parameters.clone(),
        rtcp_feedback: format.feedback.iter().map(feedback).collect(),
        ..Default::default()
    }
}

fn track(format: &H264Format, random: &Random) -> MediaStreamTrack {
    let rtp_coding_parameters = RTCRtpCodingParameters {
        ssrc: Some(random.ssrc),
        rtx: format.rtx.map(|_| RTCRtpRtxParameters { ssrc: random.rtx_ssrc }),
        ..Default::default()
    };
    let encoding =
        RTCRtpEncodingParameters { rtp_coding_parameters, codec: h264(format), ..Default::default() };
    // Chromium refuses an `a=msid` without a stream.
    MediaStreamTrack::new(
        STREAM_ID.to_owned(),
        TRACK_ID.to_owned(),
        TRACK_ID.to_owned(),
        RtpCodecKind::Video,
        vec![encoding],
    )
}

/// What must not be guessed or collide (RFC 3550, 5.1 and 8.1).
#[derive(Debug)]
struct Random {
    ssrc: u32,
    rtx_ssrc: u32,
    /// The first sequence number and timestamp.
    start: u64,
}

impl Random {
    fn draw() -> Result<Self, RtcError> {
        let mut bytes = [0; 16];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| RtcError::internal("the system gives no random numbers"))?;
        let bits = u128::from_ne_bytes(bytes);
        let ssrc = (bits as u32).max(1);
        // Different by the last bit at least.
        let rtx_ssrc = ((bits >> 32) as u32 & !1) | (!ssrc & 1);
        Ok(Self { ssrc, rtx_ssrc: rtx_ssrc.max(2), start: (bits >> 64) as u64 })
    }
}
