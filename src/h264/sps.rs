//! The sequence parameter set (H.264 7.3.2.1.1 and annex E): profile and level for the SDP, the picture's size,
//! the frame rate where it is given. Pure; any bytes give a result or `None`. Not here: picture parameter sets.

use std::fmt;

use super::{NalKind, annexb, bits::Bits};
use crate::camera::FrameRate;

/// `profile_idc`, the constraint flags, `level_idc`: what SDP calls `profile-level-id` (RFC 6184 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileLevel(pub [u8; 3]);

impl ProfileLevel {
    /// From a sequence parameter set that begins with its NAL unit header.
    pub fn from_sps(nal: &[u8]) -> Option<Self> {
        match (NalKind::of(nal), nal) {
            (NalKind::Sps, [_, profile, constraints, level, ..]) => {
                Some(Self([*profile, *constraints, *level]))
            }
            _ => None,
        }
    }
}

/// As in SDP: `42e01f`.
impl fmt::Display for ProfileLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [profile, constraints, level] = self.0;
        write!(f, "{profile:02x}{constraints:02x}{level:02x}")
    }
}

/// What a sequence parameter set says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u32,
    pub profile_level: ProfileLevel,
    /// Pixels, cropped.
    pub width: u32,
    /// Pixels, cropped.
    pub height: u32,
    /// From the VUI; absent where it is not given or makes no sense.
    pub rate: Option<FrameRate>,
}

/// No level allows a wider or higher picture (annex A: at most 139264 macroblocks, √(8 × that) to a side).
const MAX_SIDE: u32 = 16_896;

impl Sps {
    /// Reads a NAL unit that begins with its header. `None`: not a sequence parameter set, or a broken one.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let profile_level = ProfileLevel::from_sps(nal)?;
        let mut bits = Bits::of(nal);
        bits.number(24)?;
        let id = bits.unsigned().filter(|id| *id <= 31)?;
        let chroma = chroma_format(&mut bits, profile_level.0[0])?;
        skip_frame_order(&mut bits)?;
        let (width, height) = picture_size(&mut bits, chroma)?;
        let rate = if bits.bit()? { vui_rate(&mut bits) } else { None };
        Some(Self { id, profile_level, width, height, rate })
    }

    /// Reads the first one in an access unit.
    pub fn of_access_unit(data: &[u8]) -> Option<Self> {
        annexb::nal_units(data).find(|nal| NalKind::of(nal) == NalKind::Sps).and_then(Self::parse)
    }
}

/// `chroma_format_idc`, which only the high profiles write, along with depths and scaling lists.
fn chroma_format(bits: &mut Bits, profile: u8) -> Option<u32> {
    if !matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        return Some(1);
    }
    let chroma = bits.unsigned().filter(|chroma| *chroma <= 3)?;
    if chroma == 3 {
        bits.bit()?; // separate_colour_plane_flag
    }
    bits.unsigned()?; // bit_depth_luma_minus8
    bits.unsigned()?; // bit_depth_chroma_minus8
    bits.bit()?; // qpprime_y_zero_transform_bypass_flag
    if bits.bit()? {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.bit()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(chroma)
}

/// 7.3.2.1.1.1
fn skip_scaling_list(bits: &mut Bits, size: u32) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// From `log2_max_frame_num_minus4` to `gaps_in_frame_num_value_allowed_flag`.
fn skip_frame_order(bits: &mut Bits) -> Option<()> {
    bits.unsigned()?; // log2_max_frame_num_minus4
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.bit()?; // delta_pic_order_always_zero_flag
            bits.signed()?; // offset_for_non_ref_pic
            bits.signed()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.unsigned().filter(|count| *count <= 255)? {
                bits.signed()?; // offset_for_ref_frame
            }
        }
        2 => {}
        _ => return None,
    }
    bits.unsigned()?; // max_num_ref_frames
    bits.bit()?; // gaps_in_frame_num_value_allowed_flag
    Some(())
}

/// From `pic_width_in_mbs_minus1` to the cropping (equations 7-13 to 7-22), in pixels.
fn picture_size(bits: &mut Bits, chroma: u32) -> Option<(u32, u32)> {
    let columns = bits.unsigned()?.checked_add(1)?;
    let map_rows = bits.unsigned()?.checked_add(1)?;
    // Of interlaced video a row of map units is two rows of macroblocks.
    let rows_per_map_row = if bits.bit()? { 1 } else { 2 };
    if rows_per_map_row == 2 {
        bits.bit()?; // mb_adaptive_frame_field_flag
    }
    bits.bit()?; // direct_8x8_inference_flag
    let mut crop = [0; 4];
    if bits.bit()? {
        for side in &mut crop {
            *side = bits.unsigned()?;
        }
    }
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 } * rows_per_map_row;
    let cropped = |coded: Option<u32>, unit: u32, before: u32, after: u32| {
        let crop = before.checked_add(after)?.checked_mul(unit)?;
        coded?.checked_sub(crop).filter(|pixels| (1..=MAX_SIDE).contains(pixels))
    };
    let [left, right, top, bottom] = crop;
    let width = cropped(columns.checked_mul(16), unit_x, left, right)?;
    let height = cropped(map_rows.checked_mul(16 * rows_per_map_row), unit_y, top, bottom)?;
    Some((width, height))
}

/// E.1.1, to the frame rate.
fn vui_rate(bits: &mut Bits) -> Option<FrameRate> {
    const EXTENDED_ASPECT_RATIO: u8 = 255;
    if bits.bit()? && bits.byte()? == EXTENDED_ASPECT_RATIO {
        bits.number(32)?; // sar_width, sar_height
    }
    if bits.bit()? {
        bits.bit()?; // overscan_appropriate_flag
    }
    if bits.bit()? {
        bits.number(4)?; // video_format, video_full_range_flag
        if bits.bit()? {
            bits.number(24)?; // colour_primaries, transfer_characteristics, matrix_coefficients
        }
    }
    if bits.bit()? {
        bits.unsigned()?; // chroma_sample_loc_type_top_field
        bits.unsigned()?; // chroma_sample_loc_type_bottom_field
    }
    if !bits.bit()? {
        return None;
    }
    let units_in_tick = bits.number(32)?;
    let time_scale = bits.number(32)?;
    // A tick is a field's time: two make a frame (E.2.1).
    let rate = FrameRate { numerator: time_scale, denominator: units_in_tick.checked_mul(2)? };
    let rate = reduced(rate)?;
    (1.0..=240.0).contains(&rate.per_second()).then_some(rate)
}

fn reduced(rate: FrameRate) -> Option<FrameRate> {
    let (mut a, mut b) = (rate.numerator, rate.denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let (numerator, denominator) = (rate.numerator.checked_div(a)?, rate.denominator.checked_div(a)?);
    (denominator != 0).then_some(FrameRate { numerator, denominator })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::random::Random;

    const CLIP: &[u8] = include_bytes!("../../tests/fixtures/h264/bars-160x120-25fps.h264");
    const HIGH: &[u8] = include_bytes!("../../tests/fixtures/h264/sps-high-720p-ntsc.bin");
    const CROPPED: &[u8] = include_bytes!("../../tests/fixtures/h264/sps-main-1080p.bin");
    const INTERLACED: &[u8] = include_bytes!("../../tests/fixtures/h264/sps-interlaced-576i.bin");

    #[test]
    fn reads_a_baseline_stream() {
        let sps = Sps::of_access_unit(CLIP).unwrap();
        assert_eq!((sps.width, sps.height, sps.rate), (160, 120, Some(FrameRate::new(25))));
        assert_eq!(sps.profile_level.to_string(), "42c00b");
    }

    #[test]
    fn reads_high_profile() {
        let sps = Sps::parse(HIGH).unwrap();
        assert_eq!((sps.width, sps.height), (1280, 720));
        assert_eq!(sps.rate, Some(FrameRate { numerator: 30000, denominator: 1001 }));
        assert_eq!(sps.profile_level.0[0], 100);
    }

    #[test]
    fn skips_scaling_lists() {
        let bits: String = HIGH.iter().map(|byte| format!("{byte:08b}")).collect();
        // header and profile, id 0, chroma 1, two depths of 8, no bypass; then seq_scaling_matrix_present_flag
        let (before, after) = bits.split_at(32 + "1 010 1 1 0".replace(' ', "").len());
        let after = after.strip_prefix('0').expect("the fixture has no scaling matrix");
        let all_flat = "1".repeat(16);
        // A first delta of -8 makes the next scale 0: the list ends there (7-73).
        let ends_at_once = "000010001";
        let lists = format!("1{all_flat} 0 0 1{ends_at_once} 0 0 1{} 0", "1".repeat(64)).replace(' ', "");
        let bits = format!("{before}1{lists}{after}");
        let with_lists: Vec<u8> =
            (0..bits.len() / 8).map(|at| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2).unwrap()).collect();
        let (plain, with_lists) = (Sps::parse(HIGH).unwrap(), Sps::parse(&with_lists).unwrap());
        assert_eq!((with_lists.width, with_lists.height), (plain.width, plain.height));
    }

    #[test]
    fn crops_to_the_picture() {
        let sps = Sps::parse(CROPPED).unwrap();
        assert_eq!((sps.width, sps.height), (1920, 1080));
    }

    #[test]
    fn counts_both_fields_of_interlaced_video() {
        let sps = Sps::parse(INTERLACED).unwrap();
        assert_eq!((sps.width, sps.height, sps.rate), (720, 576, Some(FrameRate::new(25))));
    }

    #[test]
    fn a_cut_set_is_refused_and_a_cut_vui_costs_only_the_rate() {
        let whole = Sps::parse(HIGH).unwrap();
        let mut sized = 0;
        for length in 0..HIGH.len() {
            match Sps::parse(&HIGH[..length]) {
                Some(sps) => {
                    assert_eq!((sps.width, sps.height), (whole.width, whole.height));
                    sized += 1;
                }
                None => assert_eq!(sized, 0, "no cut after a readable one is unreadable"),
            }
        }
        assert!(sized > 0);
    }

    #[test]
    fn other_nal_units_are_no_sps() {
        assert_eq!(Sps::parse(&[]), None);
        assert_eq!(Sps::parse(&[0x68, 0x42, 0xe0, 0x1f, 0xff, 0xff]), None);
        assert_eq!(ProfileLevel::from_sps(&[0x67, 0x42, 0xe0]), None);
        assert_eq!(ProfileLevel::from_sps(&[0x67, 0x42, 0xe0, 0x1f]).unwrap().to_string(), "42e01f");
    }

    #[test]
    fn random_and_mutated_sets_do_no_harm() {
        let mut random = Random(11);
        let mut read = 0;
        for _ in 0..20_000 {
            let mut nal = if random.below(2) == 0 {
                let length = random.below(60);
                random.bytes(length)
            } else {
                HIGH.to_vec()
            };
            for _ in 0..random.below(4) {
                let at = random.below(nal.len().max(1));
                if let Some(byte) = nal.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
            if let Some(header) = nal.first_mut() {
                *header = 0x67;
            }
            if let Some(sps) = Sps::parse(&nal) {
                assert!((1..=MAX_SIDE).contains(&sps.width) && (1..=MAX_SIDE).contains(&sps.height));
                assert!(sps.rate.is_none_or(|rate| rate.denominator != 0));
                read += 1;
            }
        }
        assert!(read > 1000, "mutations must reach the end of the parser");
    }
}
