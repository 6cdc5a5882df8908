//! Which of the H.264 formats that a viewer offers shall carry a stream (RFC 6184, 8.1 and 8.2.2). A decoder
//! believes the answer: Safari stays black when the stream is High and the answer says Baseline. So the answer
//! names the profile of the stream itself, or the nearest one whose decoder plays it. Pure.

/// An H.264 payload type as offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct H264Format {
    pub payload_type: u8,
    /// `profile-level-id`: profile_idc, constraint flags, level_idc.
    pub profile_level: [u8; 3],
    /// Whether a NAL unit may be split over packets.
    pub packetization: Packetization,
    /// The offered parameters, as they go into the answer.
    pub parameters: String,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// Offered `rtcp-fb` values: `nack`, `nack pli`, …
    pub feedback: Vec<String>,
}

/// `packetization-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packetization {
    /// Mode 1: single NAL units, STAP-A, FU-A.
    NonInterleaved,
    /// Mode 0 forbids splitting, but no receiver is known that refuses FU-A; used when nothing else is offered.
    SingleNal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    High444,
    Other,
}

impl Profile {
    /// RFC 6184, 8.1, table 5, for what occurs in practice.
    fn of([idc, flags, _]: [u8; 3]) -> Self {
        let set = |bit: u8| flags & (0x80 >> bit) != 0;
        match idc {
            0x42 if set(1) => Self::ConstrainedBaseline,
            0x42 => Self::Baseline,
            0x4d if set(0) => Self::ConstrainedBaseline,
            0x4d => Self::Main,
            0x58 if set(0) && set(1) => Self::ConstrainedBaseline,
            0x64 if set(4) && set(5) => Self::ConstrainedHigh,
            0x64 => Self::High,
            0xf4 => Self::High444,
            _ => Self::Other,
        }
    }

    /// The profiles whose decoders play a stream of this one, the best first. A Baseline stream with the tools
    /// that only Baseline has (FMO, ASO) comes from no camera, so it counts as constrained.
    fn players(self) -> &'static [Profile] {
        use Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, High444, Main};
        match self {
            ConstrainedBaseline => &[ConstrainedBaseline, Baseline, Main, ConstrainedHigh, High, High444],
            Baseline => &[Baseline, ConstrainedBaseline, Main, ConstrainedHigh, High, High444],
            Main => &[Main, High, ConstrainedHigh, High444],
            ConstrainedHigh | High => &[High, ConstrainedHigh, High444],
            High444 => &[High444],
            Profile::Other => &[],
        }
    }
}

/// Whether a decoder that was made for the one stream plays the other, by what their SPS begin with.
pub fn plays(made_for: [u8; 3], stream: [u8; 3]) -> bool {
    made_for[..2] == stream[..2] || Profile::of(stream).players().contains(&Profile::of(made_for))
}

/// Picks the format for a stream, whose SPS begins with `profile_level`. `None`: no offered decoder plays it.
pub fn choose(offered: &[H264Format], profile_level: [u8; 3]) -> Option<&H264Format> {
    let players = Profile::of(profile_level).players();
    offered
        .iter()
        .filter_map(|format| {
            let profile = Profile::of(format.profile_level);
            let rank = players.iter().position(|player| *player == profile)?;
            let idc_differs = format.profile_level[0] != profile_level[0];
            Some(((rank, idc_differs, format.packetization), format))
        })
        // The first of equals: a viewer lists what it prefers first.
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(payload_type: u8, profile: u16, packetization: Packetization) -> H264Format {
        let [idc, flags] = profile.to_be_bytes();
        H264Format {
            payload_type,
            profile_level: [idc, flags, 0x1f],
            packetization,
            parameters: String::new(),
            rtx: None,
            feedback: Vec::new(),
        }
    }

    /// What Chromium offers.
    fn chromium() -> Vec<H264Format> {
        use Packetization::{NonInterleaved, SingleNal};
        vec![
            format(103, 0x4200, NonInterleaved),
            format(107, 0x4200, SingleNal),
            format(109, 0x42e0, NonInterleaved),
            format(115, 0x42e0, SingleNal),
            format(117, 0x4d00, NonInterleaved),
            format(119, 0x4d00, SingleNal),
            format(121, 0xf400, NonInterleaved),
        ]
    }

    fn chosen(offered: &[H264Format], profile_level: [u8; 3]) -> Option<u8> {
        choose(offered, profile_level).map(|format| format.payload_type)
    }

    #[test]
    fn a_stream_gets_its_own_profile() {
        for (profile_level, payload_type) in [
            ([0x42, 0xc0, 0x1f], 109),
            ([0x42, 0xe0, 0x1f], 109),
            ([0x42, 0x00, 0x1f], 103),
            ([0x4d, 0x00, 0x28], 117),
            ([0x4d, 0x40, 0x28], 117),
        ] {
            assert_eq!(chosen(&chromium(), profile_level), Some(payload_type), "{profile_level:x?}");
        }
    }

    #[test]
    fn a_high_stream_gets_the_nearest_that_plays_it_and_never_baseline() {
        assert_eq!(chosen(&chromium(), [0x64, 0, 0x28]), Some(121));
        let safari = [
            format(96, 0x640c, Packetization::NonInterleaved),
            format(98, 0x42e0, Packetization::NonInterleaved),
        ];
        assert_eq!(chosen(&safari, [0x64, 0, 0x28]), Some(96));
        assert_eq!(chosen(&safari[1..], [0x64, 0, 0x28]), None);
    }

    #[test]
    fn a_decoder_plays_its_own_profile_and_those_that_are_part_of_it() {
        let [baseline, main, high] = [[0x42, 0xc0, 0x1f], [0x4d, 0x40, 0x28], [0x64, 0, 0x28]];
        for (made_for, stream, plays) in [
            (baseline, [0x42, 0xc0, 0x33], true),
            (baseline, main, false),
            (baseline, high, false),
            (main, baseline, true),
            (high, baseline, true),
            (high, main, true),
            (main, high, false),
            ([0x12, 0x34, 0], [0x12, 0x34, 0], true),
        ] {
            assert_eq!(super::plays(made_for, stream), plays, "{made_for:x?} {stream:x?}");
        }
    }

    #[test]
    fn splitting_is_preferred_but_a_profile_comes_first() {
        let offered = [
            format(1, 0x42e0, Packetization::SingleNal),
            format(2, 0x42e0, Packetization::NonInterleaved),
            format(3, 0x4d00, Packetization::NonInterleaved),
        ];
        assert_eq!(chosen(&offered, [0x42, 0xc0, 0x1f]), Some(2));
        assert_eq!(chosen(&offered[..1], [0x42, 0xc0, 0x1f]), Some(1));
    }

    #[test]
    fn of_equals_the_first_offered_is_taken() {
        let offered = [
            format(7, 0x42e0, Packetization::NonInterleaved),
            format(8, 0x42e0, Packetization::NonInterleaved),
        ];
        assert_eq!(chosen(&offered, [0x42, 0xc0, 0x1f]), Some(7));
        assert_eq!(chosen(&[], [0x42, 0xc0, 0x1f]), None);
    }
}
