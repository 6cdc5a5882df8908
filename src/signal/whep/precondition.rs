//! Which ICE session a request means: its entity tag (RFC 9725, 4.3.1; RFC 9110, 8.8.3 and 13.1.1). Pure.

use std::fmt;

/// The tag of one ICE session of a resource, written as a strong entity tag. The first is 1; each restart counts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag(u32);

impl EntityTag {
    pub const FIRST: Self = Self(1);

    /// That of the session after a restart.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"ice-{}\"", self.0)
    }
}

/// What `If-Match` says of the present session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    Absent,
    /// `*`, or a list with the tag.
    Holds,
    Fails,
}

impl IfMatch {
    /// Reads the field; a weak tag never matches (RFC 9110, 13.1.1).
    pub fn read(field: Option<&str>, present: EntityTag) -> Self {
        let Some(field) = field else { return Self::Absent };
        let present = present.to_string();
        let holds = field.trim() == "*" || field.split(',').any(|tag| tag.trim() == present);
        if holds { Self::Holds } else { Self::Fails }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_the_session_whose_tag_it_has() {
        let now = EntityTag::FIRST.next();
        assert_eq!(now.to_string(), "\"ice-2\"");
        for (field, expected) in [
            (None, IfMatch::Absent),
            (Some("*"), IfMatch::Holds),
            (Some("\"ice-2\""), IfMatch::Holds),
            (Some("\"a\", \"ice-2\""), IfMatch::Holds),
            (Some("\"ice-1\""), IfMatch::Fails),
            (Some("W/\"ice-2\""), IfMatch::Fails),
            (Some("ice-2"), IfMatch::Fails),
            (Some(""), IfMatch::Fails),
        ] {
            assert_eq!(IfMatch::read(field, now), expected, "{field:?}");
        }
    }
}
