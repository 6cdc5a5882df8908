//! The encoder that does nothing: for cameras that deliver H.264 themselves. It only sees to it that the stream
//! begins, and after a gap goes on, at a key frame. Runs on the camera's pipeline thread. Not here: finding access
//! units in a byte stream, and SPS and PPS before each IDR, which the camera has done (`h264`).

use bytes::Bytes;

use super::{Bitrate, EncodeError, Encoder, FrameKind, Output, Request};
use crate::camera::Frame;

/// `nal_unit_type` of a slice of an IDR picture (ITU-T H.264, table 7-1).
const IDR_SLICE: u8 = 5;
/// `nal_unit_type` of a slice of another picture.
const SLICE: u8 = 1;
/// `nal_unit_type` of a sequence parameter set.
const SPS: u8 = 7;

/// Hands H.264 access units on as they are.
#[derive(Debug, Default)]
pub struct Passthrough {
    /// Whether the frames handed on so far can be decoded up to the next.
    continuous: bool,
}

impl Passthrough {
    /// Nothing seen yet: the first frame handed on is a key frame.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Encoder for Passthrough {
    /// A request is not for it to fulfil: the pipeline asks the camera.
    fn encode(&mut self, frame: &Frame<'_>, _request: Request) -> Result<Option<Output>, EncodeError> {
        // A frame that is missing is what the next one refers to.
        if frame.skipped > 0 {
            self.continuous = false;
        }
        let kind = match nal_units(frame.data).map(nal_type).find(|kind| matches!(*kind, IDR_SLICE | SLICE)) {
            Some(IDR_SLICE) => FrameKind::Key,
            Some(_) => FrameKind::Delta,
            // No picture in it.
            None => return Ok(None),
        };
        self.continuous |= kind == FrameKind::Key;
        let captured = frame.captured;
        Ok(self.continuous.then(|| Output { data: Bytes::copy_from_slice(frame.data), kind, captured }))
    }

    /// The camera's rate is the camera's.
    fn set_bitrate(&mut self, _bitrate: Bitrate) -> Result<(), EncodeError> {
        Ok(())
    }

    /// The camera's SPS says so, when it comes.
    fn profile_level(&self) -> Option<[u8; 3]> {
        None
    }
}

/// `profile_idc`, constraint flags and `level_idc` of the first SPS in an access unit.
pub fn profile_level(access_unit: &[u8]) -> Option<[u8; 3]> {
    let sps = nal_units(access_unit).find(|nal| nal_type(nal) == SPS)?;
    sps.get(1..4)?.try_into().ok()
}

fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// The NAL units of an Annex B access unit, each from its header on (and up to the end of the data, which is
/// enough for who reads only headers: nothing is scanned further than asked for).
fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let at = rest.windows(3).position(|window| window == [0, 0, 1])?;
        rest = &rest[at + 3..];
        Some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const KEY: &[u8] = &[
        0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0x8c, // SPS
        0, 0, 0, 1, 0x68, 0xce, // PPS
        0, 0, 1, 0x06, 0x05, // SEI
        0, 0, 0, 1, 0x65, 0x88, 0x80,
    ];
    const DELTA: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x01];
    const NO_PICTURE: &[u8] = &[0, 0, 0, 1, 0x06, 0x05, 0x01];

    fn pass(passthrough: &mut Passthrough, data: &[u8], skipped: u32) -> Option<FrameKind> {
        let frame = Frame { data, captured: clock::now(), dmabuf: None, skipped };
        let encoded = passthrough.encode(&frame, Request::Any).unwrap()?;
        assert_eq!(encoded.data, data);
        Some(encoded.kind)
    }

    #[test]
    fn stream_begins_at_a_key_frame() {
        let mut passthrough = Passthrough::new();
        assert_eq!(pass(&mut passthrough, DELTA, 0), None);
        assert_eq!(pass(&mut passthrough, KEY, 0), Some(FrameKind::Key));
        assert_eq!(pass(&mut passthrough, DELTA, 0), Some(FrameKind::Delta));
    }

    #[test]
    fn after_a_gap_it_waits_for_a_key_frame() {
        let mut passthrough = Passthrough::new();
        pass(&mut passthrough, KEY, 0);
        assert_eq!(pass(&mut passthrough, DELTA, 1), None);
        assert_eq!(pass(&mut passthrough, DELTA, 0), None);
        assert_eq!(pass(&mut passthrough, KEY, 0), Some(FrameKind::Key));
        assert_eq!(pass(&mut passthrough, KEY, 3), Some(FrameKind::Key), "a key frame needs none before it");
    }

    #[test]
    fn what_holds_no_picture_is_not_a_frame() {
        let mut passthrough = Passthrough::new();
        pass(&mut passthrough, KEY, 0);
        for data in [NO_PICTURE, &[], &[0, 0, 1], &[1, 2, 3]] {
            assert_eq!(pass(&mut passthrough, data, 0), None);
        }
        assert_eq!(pass(&mut passthrough, DELTA, 0), Some(FrameKind::Delta));
    }

    #[test]
    fn profile_and_level_are_read_from_the_sps() {
        assert_eq!(profile_level(KEY), Some([0x42, 0xc0, 0x1f]));
        assert_eq!(profile_level(DELTA), None);
        assert_eq!(profile_level(&[0, 0, 1, 0x67, 0x42]), None);
    }
}
