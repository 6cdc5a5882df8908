//! Who turns a camera's picture upright, of those who can after the camera itself, the cheapest first: the viewers, told
//! by a header extension (3GPP TS 26.114, section 7.4.5), or the agent, by conversion. Pure. Not here: putting
//! orientations together (`camera::orientation`), moving pixels (`encode::orient`).

use crate::camera::{
    PixelFormat,
    orientation::{Mirror, Orientation, Rotation},
};

/// What becomes of a camera's frames on their way to the viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Done before they are encoded.
    pub(super) convert: Orientation,
    /// How far viewers are to turn them.
    pub(super) show: Rotation,
    /// What viewers should do and some or all cannot.
    pub(super) lacks: Lack,
}

/// What of a camera's own H.264 is shown wrongly, as nobody can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    Nothing,
    /// Viewers without the extension see it unturned.
    Turn,
    /// The extension knows no mirror image.
    Mirror,
}

/// The plan for what a camera has left to do, with so many viewers who do not turn pictures.
pub(super) fn plan(left: Orientation, pixel: PixelFormat, rigid_viewers: u64) -> Plan {
    let Orientation { mirror, rotation } = left;
    let by_viewers = Plan { convert: Orientation::UPRIGHT, show: rotation, lacks: Lack::Nothing };
    match (pixel, mirror) {
        (PixelFormat::H264, Mirror::Yes) => Plan { lacks: Lack::Mirror, ..by_viewers },
        (PixelFormat::H264, Mirror::No) if rotation != Rotation::None && rigid_viewers > 0 => {
            Plan { lacks: Lack::Turn, ..by_viewers }
        }
        (PixelFormat::H264, Mirror::No) => by_viewers,
        (_, Mirror::No) if rigid_viewers == 0 => by_viewers,
        (_, _) => Plan { convert: left, show: Rotation::None, lacks: Lack::Nothing },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::orientation::Flip;

    const RAW: PixelFormat = PixelFormat::Yuyv;

    fn turned(rotation: Rotation) -> Orientation {
        Orientation::new(rotation, Flip::None)
    }

    #[test]
    fn upright_picture_is_left_alone() {
        for (pixel, rigid) in [(RAW, 0), (RAW, 3), (PixelFormat::H264, 0), (PixelFormat::H264, 3)] {
            let plan = plan(Orientation::UPRIGHT, pixel, rigid);
            assert_eq!((plan.convert, plan.show), (Orientation::UPRIGHT, Rotation::None));
            assert_eq!(plan.lacks, Lack::Nothing);
        }
    }

    #[test]
    fn viewers_turn_if_all_can_and_else_it_is_converted() {
        let quarter = turned(Rotation::Quarter);
        let all_can = plan(quarter, RAW, 0);
        assert_eq!((all_can.convert, all_can.show), (Orientation::UPRIGHT, Rotation::Quarter));
        let one_cannot = plan(quarter, RAW, 1);
        assert_eq!((one_cannot.convert, one_cannot.show), (quarter, Rotation::None));
    }

    #[test]
    fn mirror_image_is_converted_whoever_watches() {
        let mirrored = Orientation::new(Rotation::Quarter, Flip::Horizontal);
        for rigid in [0, 1] {
            let plan = plan(mirrored, RAW, rigid);
            assert_eq!((plan.convert, plan.show), (mirrored, Rotation::None));
        }
    }

    #[test]
    fn h264_is_never_converted_and_what_is_wrong_is_said() {
        let quarter = turned(Rotation::Quarter);
        let mirrored = Orientation::of_flip(Flip::Vertical);
        for (left, rigid, lacks) in [
            (quarter, 0, Lack::Nothing),
            (quarter, 1, Lack::Turn),
            (mirrored, 0, Lack::Mirror),
            (Orientation::UPRIGHT, 1, Lack::Nothing),
        ] {
            let plan = plan(left, PixelFormat::H264, rigid);
            assert_eq!((plan.convert, plan.show), (Orientation::UPRIGHT, left.rotation));
            assert_eq!(plan.lacks, lacks, "{left}");
        }
    }
}
