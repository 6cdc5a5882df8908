//! From an access unit to RTP packets (RFC 6184) on one viewer's track. Runs on the viewer's writing task.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use rtc::rtp::{self, codec::h264::H264Payloader, packetizer::Payloader};
use webrtc::media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP};

use super::RtcError;
use crate::{camera::orientation::Rotation, encode::EncodedFrame};

/// Bytes of a packet's payload. 1200 with the RTP header is what WebRTC stacks assume to pass everywhere.
const MAX_PAYLOAD_LEN: usize = 1200 - 12;
/// Ticks of the RTP clock in a millisecond.
const TICKS_PER_MS: u128 = 90;

/// Writes frames to one viewer's track.
pub struct FrameWriter {
    track: Arc<TrackLocalStaticRTP>,
    payloader: H264Payloader,
    clock: RtpClock,
    header: rtp::header::Header,
    /// The id of the video-orientation header extension, where the viewer has it.
    orientation_id: Option<u8>,
    /// Whether a turned frame was sent: from then on each says how it is turned, as receivers may keep the last value.
    turned: bool,
}

impl FrameWriter {
    pub(super) fn new(
        track: Arc<TrackLocalStaticRTP>,
        payload_type: u8,
        orientation_id: Option<u8>,
        ssrc: u32,
        random: u64,
    ) -> Self {
        let header = rtp::header::Header {
            version: 2,
            payload_type,
            ssrc,
            // RFC 3550, 5.1: the first sequence number and timestamp are random.
            sequence_number: random as u16,
            ..Default::default()
        };
        let clock = RtpClock { start: None, offset: (random >> 32) as u32 };
        Self { track, payloader: H264Payloader::default(), clock, header, orientation_id, turned: false }
    }

    /// Whether the viewer turns pictures as [`EncodedFrame::rotation`] says.
    pub fn viewer_turns(&self) -> bool {
        self.orientation_id.is_some()
    }

    /// Sends one access unit. Waits while the connection's queue is full.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn write(&mut self, frame: &EncodedFrame) -> Result<(), RtcError> {
        let payloads = self.payloader.payload(MAX_PAYLOAD_LEN, &frame.data).map_err(RtcError::internal)?;
        self.header.timestamp = self.clock.timestamp(frame.captured);
        let last = payloads.len().saturating_sub(1);
        self.turned |= frame.rotation != Rotation::None;
        for (index, payload) in payloads.into_iter().enumerate() {
            self.header.marker = index == last;
            let mut packet = rtp::Packet { header: self.header.clone(), payload };
            // Receivers take the turn of a frame from its last packet.
            if let Some(id) = self.orientation_id
                && index == last
                && self.turned
            {
                let value = Bytes::copy_from_slice(&[frame.rotation.quarters() as u8]);
                packet.header.set_extension(id, value).map_err(RtcError::internal)?;
            }
            self.header.sequence_number = self.header.sequence_number.wrapping_add(1);
            self.track.write_rtp(packet).await.map_err(RtcError::internal)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameWriter").field("header", &self.header).finish_non_exhaustive()
    }
}

/// 90 kHz, from the time of capture.
#[derive(Debug)]
struct RtpClock {
    start: Option<Instant>,
    offset: u32,
}

impl RtpClock {
    fn timestamp(&mut self, captured: Instant) -> u32 {
        let start = *self.start.get_or_insert(captured);
        // Wraps around after 13 hours, as RTP timestamps do.
        let ticks = |from: Instant, to: Instant| {
            (to.saturating_duration_since(from).as_nanos() * TICKS_PER_MS / 1_000_000) as u32
        };
        self.offset.wrapping_add(ticks(start, captured)).wrapping_sub(ticks(captured, start))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamps_follow_the_capture_at_90_khz() {
        let start = crate::clock::now() + Duration::from_secs(10);
        let mut clock = RtpClock { start: None, offset: u32::MAX - 10 };
        assert_eq!(clock.timestamp(start), u32::MAX - 10);
        assert_eq!(clock.timestamp(start + Duration::from_secs(1)), 89_989);
        assert_eq!(clock.timestamp(start + Duration::from_micros(100)), (u32::MAX - 10).wrapping_add(9));
        assert_eq!(clock.timestamp(start - Duration::from_secs(1)), (u32::MAX - 10).wrapping_sub(90_000));
        let days = Duration::from_secs(3 * 24 * 3600);
        assert_eq!(
            clock.timestamp(start + days),
            (u32::MAX - 10).wrapping_add((days.as_secs() * 90_000) as u32)
        );
    }
}
