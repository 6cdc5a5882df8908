//! A camera that turns its own pictures, by its controls for flips and rotation: that costs nothing. The values are
//! read back, for a driver may take a value and keep another. Used on the camera's pipeline thread. Not here: what the
//! camera leaves to others (`pipeline::turning`).

use std::io;

use v4l::{Control, Device, control::Value, v4l_sys};

use crate::camera::orientation::{Flip, Mirror, Orientation};

/// What a device has controls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Abilities {
    horizontal: Ability,
    vertical: Ability,
    /// `V4L2_CID_ROTATE`, for half turns only: with quarter turns drivers differ in whether the format's width and
    /// height are those before or after, and some scale the picture.
    half_turn: Ability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ability {
    Has,
    Lacks,
}

impl Abilities {
    fn of(device: &Device) -> Self {
        let ability = |id| if read(device, id).is_ok() { Ability::Has } else { Ability::Lacks };
        Self {
            horizontal: ability(v4l_sys::V4L2_CID_HFLIP),
            vertical: ability(v4l_sys::V4L2_CID_VFLIP),
            half_turn: ability(v4l_sys::V4L2_CID_ROTATE),
        }
    }

    fn can(&self, flip: Flip) -> bool {
        let (horizontal, vertical) = (self.horizontal == Ability::Has, self.vertical == Ability::Has);
        match flip {
            Flip::None => true,
            Flip::Horizontal => horizontal,
            Flip::Vertical => vertical,
            Flip::Both => (horizontal && vertical) || self.half_turn == Ability::Has,
        }
    }

    /// The flip that leaves the least for others to do. A rotation costs less than a mirror image, for viewers can do
    /// that.
    fn choose(&self, wanted: Orientation) -> Flip {
        let cost = |flip: &Flip| {
            let left = wanted.after(Orientation::of_flip(*flip));
            match left.mirror {
                Mirror::No if left == Orientation::UPRIGHT => 0,
                Mirror::No => 1,
                Mirror::Yes => 2,
            }
        };
        [Flip::None, Flip::Both, Flip::Horizontal, Flip::Vertical]
            .into_iter()
            .filter(|flip| self.can(*flip))
            .min_by_key(cost)
            .unwrap_or_default()
    }
}

/// What the controls were before, each with its id.
pub(super) type Before = Vec<(u32, i64)>;

/// Has the device turn its pictures as far as it can, and gives what it does; what was there before is put into `before`.
/// A device that nothing is wanted of keeps what others have set.
pub(super) fn turn(device: &Device, name: &str, wanted: Orientation, before: &mut Before) -> Orientation {
    if wanted == Orientation::UPRIGHT {
        return wanted;
    }
    let abilities = Abilities::of(device);
    let flip = abilities.choose(wanted);
    let two_flips = abilities.horizontal == Ability::Has && abilities.vertical == Ability::Has;
    let both = flip == Flip::Both;
    let settings = [
        (abilities.horizontal, v4l_sys::V4L2_CID_HFLIP, flip == Flip::Horizontal || (both && two_flips), 1),
        (abilities.vertical, v4l_sys::V4L2_CID_VFLIP, flip == Flip::Vertical || (both && two_flips), 1),
        (abilities.half_turn, v4l_sys::V4L2_CID_ROTATE, both && !two_flips, 180),
    ];
    for (_, id, on, value) in settings.into_iter().filter(|(ability, ..)| *ability == Ability::Has) {
        before.extend(read(device, id).ok().map(|value| (id, value)));
        if let Err(reason) = write(device, id, if on { value } else { 0 }) {
            tracing::debug!(device = %name, %reason, "the camera does not turn its pictures");
        }
    }
    does(device)
}

/// Leaves the device as it was found, for the next program, and for the setting that asks for no turn any more.
pub(super) fn restore(device: &Device, before: &Before) {
    for (id, value) in before {
        // One that was unplugged needs none of that.
        let _ = write(device, *id, *value);
    }
}

/// What the controls say now. (A quarter turn by another program is none of ours, and shows in the picture.)
fn does(device: &Device) -> Orientation {
    let is = |id, value| read(device, id).is_ok_and(|now| now == value);
    let flips = match (is(v4l_sys::V4L2_CID_HFLIP, 1), is(v4l_sys::V4L2_CID_VFLIP, 1)) {
        (false, false) => Flip::None,
        (true, false) => Flip::Horizontal,
        (false, true) => Flip::Vertical,
        (true, true) => Flip::Both,
    };
    let turned = if is(v4l_sys::V4L2_CID_ROTATE, 180) { Flip::Both } else { Flip::None };
    Orientation::of_flip(flips).then(Orientation::of_flip(turned))
}

fn read(device: &Device, id: u32) -> io::Result<i64> {
    match device.control(id)?.value {
        Value::Integer(value) => Ok(value),
        Value::Boolean(on) => Ok(i64::from(on)),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

fn write(device: &Device, id: u32, value: i64) -> io::Result<()> {
    if read(device, id)? == value {
        return Ok(());
    }
    device.set_control(Control { id, value: Value::Integer(value) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::orientation::Rotation;

    const NOTHING: Abilities =
        Abilities { horizontal: Ability::Lacks, vertical: Ability::Lacks, half_turn: Ability::Lacks };
    const FLIPS: Abilities =
        Abilities { horizontal: Ability::Has, vertical: Ability::Has, half_turn: Ability::Lacks };

    #[test]
    fn camera_does_what_it_can_and_leaves_a_rotation_rather_than_a_mirror_image() {
        let quarter = |flip| Orientation::new(Rotation::Quarter, flip);
        let half_only = Abilities { half_turn: Ability::Has, ..NOTHING };
        let horizontal_only = Abilities { horizontal: Ability::Has, ..NOTHING };
        for (abilities, wanted, flip, left) in [
            (NOTHING, Orientation::of_flip(Flip::Both), Flip::None, Orientation::of_flip(Flip::Both)),
            (FLIPS, Orientation::of_flip(Flip::Both), Flip::Both, Orientation::UPRIGHT),
            (FLIPS, Orientation::of_flip(Flip::Vertical), Flip::Vertical, Orientation::UPRIGHT),
            (FLIPS, quarter(Flip::None), Flip::None, quarter(Flip::None)),
            (half_only, Orientation::of_flip(Flip::Both), Flip::Both, Orientation::UPRIGHT),
            (
                horizontal_only,
                Orientation::of_flip(Flip::Vertical),
                Flip::Horizontal,
                Orientation::of_flip(Flip::Both),
            ),
        ] {
            assert_eq!(abilities.choose(wanted), flip, "{abilities:?}, {wanted}");
            assert_eq!(wanted.after(Orientation::of_flip(flip)), left, "{abilities:?}, {wanted}");
        }
        let mirrored = quarter(Flip::Horizontal);
        let left = mirrored.after(Orientation::of_flip(FLIPS.choose(mirrored)));
        assert_eq!(left.mirror, Mirror::No, "viewers can do the rest");
    }
}
