//! How a picture must be turned and mirrored to be upright: the eight symmetries of a rectangle, and how they are put
//! together. Pure. Not here: who does it (the camera by its controls, the viewer by a header extension, the agent by
//! conversion: `pipeline::turning`), and moving pixels (`encode::orient`).

/// By how much a picture is turned, clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rotation {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Rotation {
    pub const ALL: [Self; 4] = [Self::None, Self::Quarter, Self::Half, Self::ThreeQuarters];

    /// From degrees clockwise: 0, 90, 180 or 270.
    pub const fn from_degrees(degrees: u32) -> Option<Self> {
        match degrees {
            0 => Some(Self::None),
            90 => Some(Self::Quarter),
            180 => Some(Self::Half),
            270 => Some(Self::ThreeQuarters),
            _ => None,
        }
    }

    /// Clockwise.
    pub const fn degrees(self) -> u32 {
        self.quarters() * 90
    }

    /// Quarters of a turn; what 3GPP TS 26.114, section 7.4.5 calls R1 R0.
    pub const fn quarters(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Quarter => 1,
            Self::Half => 2,
            Self::ThreeQuarters => 3,
        }
    }

    const fn of_quarters(quarters: u32) -> Self {
        match quarters % 4 {
            0 => Self::None,
            1 => Self::Quarter,
            2 => Self::Half,
            _ => Self::ThreeQuarters,
        }
    }

    const fn back(self) -> Self {
        Self::of_quarters(4 - self.quarters())
    }

    const fn then(self, next: Self) -> Self {
        Self::of_quarters(self.quarters() + next.quarters())
    }
}

/// Whether a picture is mirrored, left and right changing places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mirror {
    #[default]
    No,
    Yes,
}

/// The setting `flip`: what changes places in the picture as it is seen after its rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flip {
    #[default]
    None,
    /// Left and right.
    Horizontal,
    /// Top and bottom.
    Vertical,
    Both,
}

/// What makes a picture upright: it is mirrored first, if at all, and then turned clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Orientation {
    pub mirror: Mirror,
    pub rotation: Rotation,
}

impl Orientation {
    /// Nothing is to be done.
    pub const UPRIGHT: Self = Self { mirror: Mirror::No, rotation: Rotation::None };

    /// As the configuration says it: turned by `rotate`, and what is seen then is flipped.
    pub const fn new(rotate: Rotation, flip: Flip) -> Self {
        Self { mirror: Mirror::No, rotation: rotate }.then(Self::of_flip(flip))
    }

    /// A flip alone.
    pub const fn of_flip(flip: Flip) -> Self {
        match flip {
            Flip::None => Self::UPRIGHT,
            Flip::Horizontal => Self { mirror: Mirror::Yes, rotation: Rotation::None },
            Flip::Vertical => Self { mirror: Mirror::Yes, rotation: Rotation::Half },
            Flip::Both => Self { mirror: Mirror::No, rotation: Rotation::Half },
        }
    }

    /// This, and then the other.
    pub const fn then(self, next: Self) -> Self {
        // A mirror moved before a rotation turns that round.
        match next.mirror {
            Mirror::No => Self { mirror: self.mirror, rotation: self.rotation.then(next.rotation) },
            Mirror::Yes => Self {
                mirror: match self.mirror {
                    Mirror::No => Mirror::Yes,
                    Mirror::Yes => Mirror::No,
                },
                rotation: self.rotation.back().then(next.rotation),
            },
        }
    }

    /// What undoes this.
    pub const fn inverse(self) -> Self {
        match self.mirror {
            Mirror::No => Self { mirror: Mirror::No, rotation: self.rotation.back() },
            Mirror::Yes => self,
        }
    }

    /// What is left of this to do when `done` has been done.
    pub const fn after(self, done: Self) -> Self {
        done.inverse().then(self)
    }

    /// Whether width and height change places.
    pub const fn swaps_sides(self) -> bool {
        self.rotation.quarters() % 2 == 1
    }

    /// The flip that does all of this, if one does.
    pub const fn as_flip(self) -> Option<Flip> {
        match (self.mirror, self.rotation) {
            (Mirror::No, Rotation::None) => Some(Flip::None),
            (Mirror::Yes, Rotation::None) => Some(Flip::Horizontal),
            (Mirror::Yes, Rotation::Half) => Some(Flip::Vertical),
            (Mirror::No, Rotation::Half) => Some(Flip::Both),
            (Mirror::No | Mirror::Yes, Rotation::Quarter | Rotation::ThreeQuarters) => None,
        }
    }
}

impl std::fmt::Display for Orientation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.mirror, self.rotation) {
            (Mirror::No, Rotation::None) => f.write_str("as it is"),
            (Mirror::No, rotation) => write!(f, "turned by {} degrees", rotation.degrees()),
            (Mirror::Yes, Rotation::None) => f.write_str("mirrored"),
            (Mirror::Yes, rotation) => write!(f, "mirrored, then turned by {} degrees", rotation.degrees()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLIPS: [Flip; 4] = [Flip::None, Flip::Horizontal, Flip::Vertical, Flip::Both];

    fn all() -> impl Iterator<Item = Orientation> {
        [Mirror::No, Mirror::Yes].into_iter().flat_map(|mirror| {
            Rotation::ALL.into_iter().map(move |rotation| Orientation { mirror, rotation })
        })
    }

    /// Where a corner goes: each is ±1, y downwards.
    fn moved(orientation: Orientation, (x, y): (i32, i32)) -> (i32, i32) {
        let x = if orientation.mirror == Mirror::Yes { -x } else { x };
        match orientation.rotation {
            Rotation::None => (x, y),
            Rotation::Quarter => (-y, x),
            Rotation::Half => (-x, -y),
            Rotation::ThreeQuarters => (y, -x),
        }
    }

    #[test]
    fn one_after_the_other_moves_each_corner_as_both() {
        for first in all() {
            for second in all() {
                for corner in [(-1, -1), (1, -1)] {
                    assert_eq!(
                        moved(first.then(second), corner),
                        moved(second, moved(first, corner)),
                        "{first}, then {second}"
                    );
                }
            }
        }
    }

    #[test]
    fn inverse_undoes_and_the_rest_completes() {
        for done in all() {
            assert_eq!(done.then(done.inverse()), Orientation::UPRIGHT, "{done}");
            for wanted in all() {
                assert_eq!(done.then(wanted.after(done)), wanted, "{wanted} after {done}");
            }
        }
    }

    #[test]
    fn flips_are_seen_after_the_rotation() {
        // The picture's top left corner, turned by 90 degrees, is top right; then flipped, it is where `flip` says.
        for (flip, corner) in [
            (Flip::None, (1, -1)),
            (Flip::Horizontal, (-1, -1)),
            (Flip::Vertical, (1, 1)),
            (Flip::Both, (-1, 1)),
        ] {
            assert_eq!(moved(Orientation::new(Rotation::Quarter, flip), (-1, -1)), corner, "{flip:?}");
        }
    }

    #[test]
    fn a_flip_is_recognised_and_a_quarter_turn_is_none() {
        for flip in FLIPS {
            assert_eq!(Orientation::of_flip(flip).as_flip(), Some(flip));
            assert_eq!(Orientation::new(Rotation::Quarter, flip).as_flip(), None);
            assert!(Orientation::new(Rotation::ThreeQuarters, flip).swaps_sides());
            assert!(!Orientation::of_flip(flip).swaps_sides());
        }
        assert_eq!(Orientation::new(Rotation::Half, Flip::Both), Orientation::UPRIGHT);
    }

    #[test]
    fn degrees_are_quarters() {
        for rotation in Rotation::ALL {
            assert_eq!(Rotation::from_degrees(rotation.degrees()), Some(rotation));
        }
        assert_eq!(Rotation::from_degrees(45), None);
    }
}
