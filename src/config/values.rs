//! Values as people write them: a size, a bitrate; and what a mistyped word means. Pure.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::{
    camera::orientation::{Flip, Rotation},
    encode::Bitrate,
};

/// A picture's size in pixels, written `1280x720`; both even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a size: give WIDTHxHEIGHT in pixels, as 1280x720");
        let (width, height) = text.split_once(['x', 'X']).ok_or_else(bad)?;
        let (width, height): (u32, u32) =
            (width.parse().map_err(|_| bad())?, height.parse().map_err(|_| bad())?);
        if !(32..=4096).contains(&width) || !(32..=4096).contains(&height) {
            return Err(format!("`{text}` is out of range: width and height go from 32 to 4096"));
        }
        if width % 2 != 0 || height % 2 != 0 {
            return Err(format!("`{text}` is odd: H.264 pictures have even width and height"));
        }
        Ok(Self { width, height })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A bitrate, written `1500k`, `1.5M`, or a whole number of bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitrateValue(pub Bitrate);

impl FromStr for BitrateValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, factor) =
            match text.trim_end_matches("bit/s").trim_end().split_at_checked(text.len().max(1) - 1) {
                Some((number, "k" | "K")) => (number, 1e3),
                Some((number, "M" | "m")) => (number, 1e6),
                _ => (text, 1.0),
            };
        let bits = number
            .trim()
            .parse::<f64>()
            .map_err(|_| format!("`{text}` is not a bitrate: give it as 1500k, 1.5M or 1500000"))?
            * factor;
        if !(100e3..=50e6).contains(&bits) {
            return Err(format!("`{text}` is out of range: bitrates go from 100k to 50M"));
        }
        Ok(Self(Bitrate(bits as u32)))
    }
}

impl<'de> Deserialize<'de> for BitrateValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
        .map_err(de::Error::custom)
    }
}

/// By how much a picture is turned clockwise: 0, 90, 180 or 270 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotateValue(pub Rotation);

impl<'de> Deserialize<'de> for RotateValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let degrees = i64::deserialize(deserializer)?;
        let rotation = u32::try_from(degrees).ok().and_then(Rotation::from_degrees);
        rotation.map(Self).ok_or_else(|| {
            de::Error::custom(format!("{degrees} does not fit: give 0, 90, 180 or 270, clockwise"))
        })
    }
}

/// What changes places in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlipValue(pub Flip);

impl<'de> Deserialize<'de> for FlipValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match String::deserialize(deserializer)?.as_str() {
            "none" => Flip::None,
            "horizontal" => Flip::Horizontal,
            "vertical" => Flip::Vertical,
            "both" => Flip::Both,
            other => {
                return Err(de::Error::custom(format!(
                    "`{other}` does not fit: give none, horizontal, vertical or both"
                )));
            }
        }))
    }
}

/// The value of a camera's control: a number, `true`, `false`, or text, kept as it was written. What fits is known only
/// when the camera is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlValue(pub String);

impl<'de> Deserialize<'de> for ControlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "give a control's value as a number, true or false, or text in quotes")]
        enum Written {
            Boolean(bool),
            Number(i64),
            Text(String),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Boolean(on) => on.to_string(),
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        }))
    }
}

/// Text as a part of an address: all but unreserved characters as `%XX` (RFC 3986, section 2.1).
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The one of `known` that `word` most likely means, if any is near.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
