//! Counts what a viewer was sent, packet by packet and frame by frame: a packet that is missing shows in the RTP sequence
//! numbers, a frame that was never sent in `frame_num` of the slices (H.264, 7.4.3), which rises by one with each frame.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pinhole::{clock, tasks};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{broker_support::PATIENCE, peer::viewer::Viewer};

/// What came, and what did not.
#[derive(Debug, Default)]
pub struct Seen {
    pub packets: usize,
    pub frames: usize,
    /// Sequence numbers between the first and the last that never came.
    pub missing_packets: u64,
    /// Frames that the encoder made and that never came.
    pub missing_frames: u32,
    /// After the first.
    pub key_frames: usize,
    /// From one frame to the next, as they came.
    pub longest_gap: Duration,
}

/// A viewer that goes on watching in a task of its own.
pub struct Watcher {
    frames: watch::Receiver<usize>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Log>,
}

impl Watcher {
    pub fn new(mut viewer: Viewer) -> Self {
        let (count, frames) = watch::channel(0);
        let (stop, mut stopped) = oneshot::channel();
        let task = tasks::spawn("watcher", async move {
            let mut log = Log::default();
            loop {
                tokio::select! {
                    biased;
                    _ = &mut stopped => break,
                    packet = viewer.packet() => log.take(&packet, clock::now()),
                }
                count.send_replace(log.frames);
            }
            viewer.close().await;
            log
        });
        Self { frames, stop, task }
    }

    /// Waits for so many more frames.
    pub async fn more(&mut self, frames: usize) {
        let wanted = *self.frames.borrow() + frames;
        let came = self.frames.wait_for(|count| *count >= wanted);
        timeout(PATIENCE, came).await.expect("frames in time").expect("the watcher goes on");
    }

    pub async fn stop(self) -> Seen {
        let _ = self.stop.send(());
        timeout(PATIENCE, self.task).await.expect("it ends in time").expect("it does not panic").seen()
    }
}

/// One slice that begins a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    Key,
    Other { frame_num: u32 },
}

#[derive(Default)]
struct Log {
    /// By extended sequence number: with the picture that begins in the packet, if one does.
    packets: BTreeMap<u64, Option<Slice>>,
    newest: u64,
    /// Bits of `frame_num`.
    frame_num_bits: Option<u32>,
    frames: usize,
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Log {
    fn take(&mut self, packet: &rtc::rtp::Packet, now: Instant) {
        let number = packet.header.sequence_number;
        if self.packets.is_empty() {
            // Room below, should the first come late.
            self.newest = u64::from(number) + (1 << 16);
        }
        let ahead = number.wrapping_sub(self.newest as u16) as i16;
        let extended = self.newest.saturating_add_signed(i64::from(ahead));
        self.newest = self.newest.max(extended);
        let slice = self.slice(&packet.payload);
        if self.packets.insert(extended, slice).is_none() && packet.header.marker {
            self.frames += 1;
            if let Some(last) = self.last.replace(now) {
                self.longest_gap = self.longest_gap.max(now.saturating_duration_since(last));
            }
        }
    }

    /// The picture that begins in a payload (RFC 6184: single NAL units, STAP-A, FU-A).
    fn slice(&mut self, payload: &[u8]) -> Option<Slice> {
        match payload.first()? & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                let mut found = None;
                while let Some((size, after)) = rest.split_first_chunk::<2>() {
                    let (nal, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
                    found = found.or(self.nal(nal));
                    rest = after;
                }
                found
            }
            28 if payload[1] & 0x80 != 0 => {
                let header = payload[0] & 0xe0 | payload[1] & 0x1f;
                self.nal(&[&[header], &payload[2..]].concat())
            }
            28 => None,
            _ => self.nal(payload),
        }
    }

    fn nal(&mut self, nal: &[u8]) -> Option<Slice> {
        match nal.first()? & 0x1f {
            7 => {
                // The profiles below High have nothing between the id and this (7.3.2.1.1).
                assert!(matches!(nal[1], 66 | 77 | 88), "a profile that browsers take: {}", nal[1]);
                let mut bits = Bits::of(&nal[4..]);
                let _id = bits.unsigned()?;
                self.frame_num_bits = Some(bits.unsigned()? + 4);
                None
            }
            kind @ (1 | 5) => {
                let mut bits = Bits::of(&nal[1..]);
                let (first, _kind, _pps) = (bits.unsigned()?, bits.unsigned()?, bits.unsigned()?);
                let frame_num = bits.take(self.frame_num_bits?)?;
                let slice = if kind == 5 { Slice::Key } else { Slice::Other { frame_num } };
                (first == 0).then_some(slice)
            }
            _ => None,
        }
    }

    fn seen(&self) -> Seen {
        let (Some((first, _)), Some((last, _))) =
            (self.packets.first_key_value(), self.packets.last_key_value())
        else {
            return Seen::default();
        };
        let modulus = 1_u32 << self.frame_num_bits.unwrap_or(4);
        let mut seen = Seen {
            packets: self.packets.len(),
            frames: self.frames,
            missing_packets: last - first + 1 - self.packets.len() as u64,
            longest_gap: self.longest_gap,
            ..Seen::default()
        };
        let mut before = None;
        for slice in self.packets.values().flatten() {
            match (before, *slice) {
                (None, _) => {}
                (Some(_), Slice::Key) => seen.key_frames += 1,
                (Some(before), Slice::Other { frame_num }) => {
                    let step = (frame_num + modulus - before) % modulus;
                    seen.missing_frames += (step + modulus - 1) % modulus;
                }
            }
            before = Some(match *slice {
                Slice::Key => 0,
                Slice::Other { frame_num } => frame_num,
            });
        }
        seen
    }
}

/// Reads bits, over the bytes that keep start codes out (H.264, 7.4.1).
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn of(nal: &[u8]) -> Self {
        let mut bytes: Vec<u8> = Vec::new();
        for &byte in nal.iter().take(64) {
            if byte != 3 || !bytes.ends_with(&[0, 0]) {
                bytes.push(byte);
            }
        }
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }

    /// Exp-Golomb (9.1).
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }
}

mod tests {
    use super::*;

    /// A slice with that `frame_num` of four bits: first macroblock 0, type 5, parameter set 0.
    fn packet(number: u16, frame_num: u8) -> rtc::rtp::Packet {
        let mut packet = rtc::rtp::Packet::default();
        packet.header.sequence_number = number;
        packet.header.marker = true;
        let bits = 0b1001_1010_0000_0000_u16 | u16::from(frame_num) << 5;
        packet.payload = [&[0x41][..], &bits.to_be_bytes()].concat().into();
        packet
    }

    fn seen(packets: &[(u16, u8)]) -> Seen {
        let mut log = Log { frame_num_bits: Some(4), ..Log::default() };
        let now = clock::now();
        packets.iter().for_each(|(number, frame_num)| log.take(&packet(*number, *frame_num), now));
        log.seen()
    }

    #[test]
    fn what_is_missing_is_seen() {
        let whole = seen(&[(65534, 14), (65535, 15), (0, 0), (1, 1)]);
        assert_eq!((whole.frames, whole.missing_packets, whole.missing_frames), (4, 0, 0));
        let late = seen(&[(65534, 14), (0, 0), (65535, 15), (1, 1), (1, 1)]);
        assert_eq!((late.frames, late.missing_packets, late.missing_frames), (4, 0, 0));
        let lost = seen(&[(65534, 14), (1, 1)]);
        assert_eq!((lost.frames, lost.missing_packets, lost.missing_frames), (2, 2, 2));
        let skipped = seen(&[(7, 3), (8, 6)]);
        assert_eq!((skipped.missing_packets, skipped.missing_frames), (0, 2));
    }
}
