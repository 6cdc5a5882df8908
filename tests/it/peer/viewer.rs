//! A viewer for tests: receives H.264 over WebRTC and takes it apart.

use std::{sync::Arc, time::Duration};

use pinhole::{
    peer::{guard::Guard, sdp::ice_credentials},
    tasks,
};
use rtc::{
    ice::mdns::MulticastDnsMode,
    peer_connection::configuration::RTCOfferOptions,
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
    rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit, rtp_sender::RtpCodecKind},
};
use tokio::sync::{mpsc, watch};
use webrtc::{
    media_stream::track_remote::{TrackRemote, TrackRemoteEvent},
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit,
        RTCIceGatheringState, RTCSessionDescription, Registry, SettingEngineBuilder,
        register_default_interceptors,
    },
};

/// One access unit as it arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessUnit {
    pub timestamp: u32,
    /// `nal_unit_type` of each NAL unit, in order.
    pub nal_types: Vec<u8>,
    /// Bytes of the longest NAL unit.
    pub longest: usize,
    /// The NAL units with four-byte start codes, for a decoder. Packets must come in order and whole.
    pub annex_b: Vec<u8>,
}

const START_CODE: [u8; 4] = [0, 0, 0, 1];

pub struct Viewer {
    peer: Arc<dyn PeerConnection>,
    packets: mpsc::UnboundedReceiver<rtc::rtp::Packet>,
    track: watch::Receiver<Option<Arc<dyn TrackRemote>>>,
    gathered: watch::Receiver<bool>,
    guard: Option<Guard>,
}

struct Handler {
    packets: mpsc::UnboundedSender<rtc::rtp::Packet>,
    track: watch::Sender<Option<Arc<dyn TrackRemote>>>,
    gathered: watch::Sender<bool>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.track.send_replace(Some(Arc::clone(&track)));
        let packets = self.packets.clone();
        tasks::spawn("viewer", async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let _ = packets.send(packet);
                }
            }
        });
    }
}

impl Viewer {
    /// A viewer on loopback, on the crate's plain sockets.
    pub async fn new() -> Self {
        Self::make("127.0.0.1", None).await
    }

    /// A viewer whose DTLS survives loss, as a browser's does and the crate's does not.
    pub async fn guarded(address: &str) -> Self {
        Self::make(address, Some(Guard::new(Vec::new()))).await
    }

    async fn make(address: &str, guard: Option<Guard>) -> Self {
        let mut media = MediaEngine::default();
        media.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut media).unwrap();
        let settings =
            SettingEngineBuilder::new().with_multicast_dns_mode(MulticastDnsMode::Disabled).build();
        let (packets, packets_out) = mpsc::unbounded_channel();
        let (track, track_out) = watch::channel(None);
        let (gathered, gathered_out) = watch::channel(false);
        let mut builder = PeerConnectionBuilder::new();
        if let Some(guard) = &guard {
            builder = builder.with_runtime(guard.runtime());
        }
        let peer = builder
            .with_setting_engine(settings)
            .with_media_engine(media)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Handler { packets, track, gathered }))
            .with_udp_addrs(vec![format!("{address}:0")])
            .build()
            .await
            .unwrap();
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        };
        peer.add_transceiver_from_kind(RtpCodecKind::Video, Some(init)).await.unwrap();
        Self { peer: Arc::new(peer), packets: packets_out, track: track_out, gathered: gathered_out, guard }
    }

    /// An offer with all candidates.
    pub async fn offer(&self) -> String {
        self.describe(None).await
    }

    /// An offer that restarts ICE.
    pub async fn restart_offer(&self) -> String {
        self.describe(Some(RTCOfferOptions { ice_restart: true })).await
    }

    async fn describe(&self, options: Option<RTCOfferOptions>) -> String {
        let mut gathered = self.gathered.clone();
        gathered.mark_unchanged();
        let offer = self.peer.create_offer(options).await.unwrap();
        if let Some(guard) = &self.guard {
            let (ufrag, password) = ice_credentials(&offer.sdp).unwrap();
            guard.learn(ufrag, password);
        }
        self.peer.set_local_description(offer).await.unwrap();
        let done = gathered.wait_for(|complete| *complete);
        tokio::time::timeout(Duration::from_secs(5), done).await.unwrap().unwrap();
        self.peer.local_description().await.unwrap().sdp
    }

    pub async fn take(&self, answer: &str) {
        let answer = RTCSessionDescription::answer(answer.to_owned()).unwrap();
        self.peer.set_remote_description(answer).await.unwrap();
    }

    /// Its own description and the device's.
    pub async fn descriptions(&self) -> [String; 2] {
        let (own, other) = (self.peer.local_description().await, self.peer.remote_description().await);
        [own.unwrap().sdp, other.unwrap().sdp]
    }

    /// Adds a candidate of the device's that came after its answer.
    pub async fn add_candidate(&self, candidate: &str) {
        let init = RTCIceCandidateInit { candidate: candidate.to_owned(), ..Default::default() };
        self.peer.add_ice_candidate(init).await.unwrap();
    }

    /// The next packet as it came, the oldest not yet taken first.
    pub async fn packet(&mut self) -> rtc::rtp::Packet {
        self.packets.recv().await.expect("the track goes on")
    }

    /// Waits for so many access units, the oldest not yet taken first.
    pub async fn access_units(&mut self, count: usize) -> Vec<AccessUnit> {
        let mut units = Vec::new();
        let mut unit = AccessUnit::default();
        let mut fragmented = 0;
        while units.len() < count {
            let packet = self.packets.recv().await.expect("the track goes on");
            let payload = &packet.payload;
            unit.timestamp = packet.header.timestamp;
            match payload[0] & 0x1f {
                24 => read_aggregate(&payload[1..], &mut unit),
                28 => {
                    if payload[1] & 0x80 != 0 {
                        fragmented = 1;
                        unit.nal_types.push(payload[1] & 0x1f);
                        unit.annex_b.extend(START_CODE);
                        unit.annex_b.push(payload[0] & 0xe0 | payload[1] & 0x1f);
                    }
                    unit.annex_b.extend(&payload[2..]);
                    fragmented += payload.len() - 2;
                    unit.longest = unit.longest.max(fragmented);
                }
                kind => {
                    unit.nal_types.push(kind);
                    unit.annex_b.extend(START_CODE);
                    unit.annex_b.extend(payload);
                    unit.longest = unit.longest.max(payload.len());
                }
            }
            if packet.header.marker {
                units.push(std::mem::take(&mut unit));
            }
        }
        units
    }

    pub async fn send_pli(&self) {
        let track = self.track.borrow().clone().expect("a frame came before");
        let media_ssrc = track.ssrcs().await[0];
        let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc };
        track.write_rtcp(vec![Box::new(pli)]).await.unwrap();
    }

    pub async fn close(self) {
        self.peer.close().await.unwrap();
    }
}

fn read_aggregate(mut rest: &[u8], unit: &mut AccessUnit) {
    while rest.len() > 2 {
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        unit.nal_types.push(rest[2] & 0x1f);
        unit.annex_b.extend(START_CODE);
        unit.annex_b.extend(&rest[2..2 + length]);
        unit.longest = unit.longest.max(length);
        rest = &rest[2 + length..];
    }
}

/// A ClientHello that a DTLS server answers.
pub fn client_hello() -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([7; 32]);
    body.extend([0, 0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3, 0, 23, 0, 0];
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let length = body.len() as u8;
    let mut message = vec![1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length];
    message.extend(body);
    let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}
