//! A value as a person wrote it, read by the type of its control and checked against what the control allows. Pure.
//! Not here: setting it (`device`).

use std::{io, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Control, Flag, Kind, MenuEntry, Value, typed_name};
use crate::config;

/// What a person wants of a control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name, or its number as `0x00980900`.
    pub control: String,
    /// As it was written; empty for a button.
    pub value: String,
}

impl FromStr for Setting {
    type Err = String;

    /// Reads `NAME=VALUE`; a button is a name alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (control, value) = text.split_once('=').unwrap_or((text, ""));
        if control.trim().is_empty() {
            return Err(format!("`{text}` does not fit: give NAME=VALUE, as brightness=128"));
        }
        // The value of a string may begin or end with blanks.
        Ok(Self { control: control.trim().to_owned(), value: value.to_owned() })
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.control)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, "={}", self.value) }
    }
}

/// Why a control is not set, or not listed.
#[derive(Debug, Error)]
pub enum ControlError {
    #[error("there is no control `{name}` here{meant}")]
    Unknown {
        name: String,
        /// `: did you mean …?`, or what there is.
        meant: String,
    },
    #[error("{name}: {value} is out of range: {allowed}")]
    Range { name: String, value: String, allowed: String },
    #[error("{name}: `{value}` does not fit: {allowed}")]
    Value { name: String, value: String, allowed: String },
    #[error("{name} cannot be set: {reason}")]
    NotSettable { name: String, reason: &'static str },
    #[error("{name} is inactive{}", while_it_is(.activate.as_ref()))]
    Inactive { name: String, activate: Option<Setting> },
    #[error(
        "{name} cannot be set now: the device is in use in a way that does not allow it; try again when nobody watches"
    )]
    Grabbed { name: String },
    #[error("{name}: the device refuses {value}: {error}")]
    Refused { name: String, value: String, error: io::Error },
    #[error("{error}; set before that: {set}")]
    Partly {
        error: Box<ControlError>,
        /// The names of those that were set.
        set: String,
    },
    #[error("{0} has no controls: it is not a video device")]
    NoControls(String),
    #[error("no camera at {0}: plug it in, or see pinhole devices")]
    NotFound(String),
    #[error(
        "not allowed to open {0}: add this user to the group `video` (usermod -aG video USER) and log in again"
    )]
    Permission(String),
    #[error("the camera is turned off for privacy: `pinhole privacy off` turns it on again")]
    Private,
    #[error("{device} does not tell its controls: {error}")]
    Io { device: String, error: io::Error },
}

fn while_it_is(activate: Option<&Setting>) -> String {
    match activate {
        Some(setting) => format!(": {} decides in its place; set {setting} first", setting.control),
        None => ": another control decides in its place, most likely an automatic one".to_owned(),
    }
}

/// A setting that fits its control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub id: u32,
    pub name: String,
    pub kind: Kind,
    /// What to set; a button's is 1.
    pub value: Value,
    /// What would make it active, as far as that is known.
    pub activate: Option<Setting>,
}

impl Checked {
    /// What sets it again.
    pub(super) fn setting(&self) -> Setting {
        Setting { control: self.name.clone(), value: written(&self.value) }
    }
}

/// Checks all settings against the controls there are.
///
/// # Errors
/// The first that does not fit. One that is inactive fits as long as another that is set with it may change that.
pub fn check(controls: &[Control], settings: &[Setting]) -> Result<Vec<Checked>, ControlError> {
    check_each(controls, settings).into_iter().collect::<Result<_, _>>().map(in_order)
}

/// Checks each by itself, but for those that may be made active by another.
pub(super) fn check_each(controls: &[Control], settings: &[Setting]) -> Vec<Result<Checked, ControlError>> {
    let found: Vec<_> = settings.iter().map(|setting| find(controls, &setting.control)).collect();
    let set: Vec<&Control> = found.iter().filter_map(|found| found.as_ref().ok().copied()).collect();
    let check = |(found, setting): (Result<&Control, ControlError>, &Setting)| {
        let control = found?;
        settable(control)?;
        let (name, activate) = (control.name.clone(), control.activate.clone());
        let may_be_activated = match &activate {
            Some(activate) => set.iter().any(|other| other.name == activate.control),
            None => set.iter().any(|other| other.id != control.id && switches(other.kind)),
        };
        if control.is(Flag::Inactive) && !may_be_activated {
            return Err(ControlError::Inactive { name, activate });
        }
        let value = read(control, &setting.value)?;
        Ok(Checked { id: control.id, name, kind: control.kind, value, activate })
    };
    found.into_iter().zip(settings).map(check).collect()
}

/// What may make others active comes first.
pub(super) fn in_order(mut settings: Vec<Checked>) -> Vec<Checked> {
    settings.sort_by_key(|setting| !switches(setting.kind));
    settings
}

/// Whether controls of this kind make others active and inactive: `auto_exposure`, `white_balance_automatic`.
const fn switches(kind: Kind) -> bool {
    match kind {
        Kind::Boolean | Kind::Menu | Kind::IntegerMenu => true,
        Kind::Integer
        | Kind::Button
        | Kind::Bitmask
        | Kind::String
        | Kind::Integer64
        | Kind::Compound
        | Kind::Class => false,
    }
}

fn find<'a>(controls: &'a [Control], name: &str) -> Result<&'a Control, ControlError> {
    let number = name.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let typed = typed_name(name);
    let real = || controls.iter().filter(|control| control.kind != Kind::Class);
    let by_name = |wanted: &str| real().find(|control| control.name == wanted);
    if let Some(control) = by_name(name)
        .or_else(|| by_name(&typed))
        .or_else(|| real().find(|control| Some(control.id) == number))
    {
        return Ok(control);
    }
    let names = || real().map(|control| control.name.as_str());
    let meant = match config::nearest(&typed, names()) {
        Some(near) => format!(": did you mean `{near}`?"),
        None if names().next().is_none() => ": the device has no controls".to_owned(),
        None => format!(": it has {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(ControlError::Unknown { name: name.to_owned(), meant })
}

fn settable(control: &Control) -> Result<(), ControlError> {
    let name = || control.name.clone();
    let reason = if control.is(Flag::Disabled) {
        "this device does not have it"
    } else if control.is(Flag::ReadOnly) {
        "it is read-only"
    } else if control.kind == Kind::Compound {
        "it is an array or a structure, which only programs made for this driver can fill"
    } else if control.is(Flag::Grabbed) {
        return Err(ControlError::Grabbed { name: name() });
    } else {
        return Ok(());
    };
    Err(ControlError::NotSettable { name: name(), reason })
}

fn read(control: &Control, text: &str) -> Result<Value, ControlError> {
    let misfit = || ControlError::Value {
        name: control.name.clone(),
        value: text.to_owned(),
        allowed: allowed(control),
    };
    match control.kind {
        Kind::Integer | Kind::Integer64 => {
            within(control, text.trim().parse().map_err(|_| misfit())?).map(Value::Number)
        }
        Kind::Boolean => boolean(text).map(Value::Boolean).ok_or_else(misfit),
        Kind::Menu | Kind::IntegerMenu => {
            entry(control, text).map(|entry| Value::Number(entry.index.into())).ok_or_else(misfit)
        }
        Kind::Button => match boolean(text) {
            Some(true) => Ok(Value::Number(1)),
            None if text.trim().is_empty() => Ok(Value::Number(1)),
            Some(false) | None => Err(misfit()),
        },
        Kind::Bitmask => {
            let bits = bits(text).ok_or_else(misfit)?;
            if bits & !(control.maximum as u32) == 0 {
                Ok(Value::Number(bits.into()))
            } else {
                Err(range(control, text))
            }
        }
        Kind::String => string(control, text).ok_or_else(misfit).map(Value::Text),
        Kind::Compound | Kind::Class => Err(misfit()),
    }
}

fn within(control: &Control, number: i64) -> Result<i64, ControlError> {
    let distance = i128::from(number) - i128::from(control.minimum);
    let on_step = distance % i128::from(control.step.max(1)) == 0;
    if number < control.minimum || number > control.maximum || !on_step {
        return Err(range(control, &number.to_string()));
    }
    Ok(number)
}

fn range(control: &Control, value: &str) -> ControlError {
    ControlError::Range { name: control.name.clone(), value: value.to_owned(), allowed: allowed(control) }
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// By number, else by name.
fn entry<'a>(control: &'a Control, text: &str) -> Option<&'a MenuEntry> {
    let text = text.trim();
    let typed = typed_name(text);
    let by_number =
        text.parse::<u32>().ok().and_then(|index| control.menu.iter().find(|entry| entry.index == index));
    by_number.or_else(|| {
        control.menu.iter().find(|entry| {
            entry.name.eq_ignore_ascii_case(text) || (!typed.is_empty() && typed_name(&entry.name) == typed)
        })
    })
}

fn bits(text: &str) -> Option<u32> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn string(control: &Control, text: &str) -> Option<String> {
    let length = i64::try_from(text.len()).ok()?;
    let fits = (control.minimum..=control.maximum).contains(&length)
        && ((length - control.minimum) as u64).is_multiple_of(control.step.max(1))
        && !text.contains('\0');
    fits.then(|| text.to_owned())
}

/// A value as it can be set again.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Boolean(on) => on.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    }
}

/// What would be right, for a person.
fn allowed(control: &Control) -> String {
    let Control { minimum, maximum, step, .. } = control;
    let steps = if *step > 1 { format!(" in steps of {step}") } else { String::new() };
    match control.kind {
        Kind::Integer | Kind::Integer64 => format!("give {minimum} to {maximum}{steps}"),
        Kind::Boolean => "give true or false".to_owned(),
        Kind::Menu | Kind::IntegerMenu => {
            let entries: Vec<String> =
                control.menu.iter().map(|entry| format!("{} ({})", entry.index, entry.name)).collect();
            format!("give one of {}", entries.join(", "))
        }
        Kind::Button => "it is a button, which has no value".to_owned(),
        Kind::Bitmask => format!("give bits of {:#x}", *maximum as u32),
        Kind::String if minimum == maximum => format!("give text of {minimum} bytes"),
        Kind::String => format!("give text of {minimum} to {maximum} bytes{steps}"),
        Kind::Compound | Kind::Class => "it has no value that can be written".to_owned(),
    }
}

/// A value of this control, for a person: a menu's with the entry's name.
pub fn describe(control: &Control, value: &Value) -> String {
    match (value, control.kind) {
        (Value::Boolean(on), _) => on.to_string(),
        (Value::Number(number), Kind::Menu | Kind::IntegerMenu) => {
            let entry = control.menu.iter().find(|entry| i64::from(entry.index) == *number);
            entry.map_or_else(|| number.to_string(), |entry| format!("{number} ({})", entry.name))
        }
        (Value::Number(number), Kind::Bitmask) => format!("{:#x}", *number as u32),
        (Value::Number(number), _) => number.to_string(),
        (Value::Text(text), _) => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, kind: Kind, (minimum, maximum, step): (i64, i64, u64)) -> Control {
        Control {
            name: name.into(),
            title: name.to_uppercase(),
            id: 0x0098_0900 + name.len() as u32,
            kind,
            minimum,
            maximum,
            step,
            default: None,
            value: None,
            menu: Vec::new(),
            flags: Vec::new(),
            activate: None,
        }
    }

    fn menu() -> Control {
        let entry = |index, name: &str| MenuEntry { index, name: name.into() };
        let menu = vec![entry(1, "Manual Mode"), entry(3, "Aperture Priority Mode"), entry(4, "3")];
        Control { menu, ..control("auto_exposure", Kind::Menu, (0, 4, 1)) }
    }

    fn value(control: &Control, text: &str) -> Result<Value, String> {
        read(control, text).map_err(|error| error.to_string())
    }

    fn setting(text: &str) -> Setting {
        text.parse().unwrap()
    }

    fn refusal(controls: &[Control], settings: &[&str]) -> String {
        let settings: Vec<Setting> = settings.iter().map(|text| setting(text)).collect();
        check(controls, &settings).unwrap_err().to_string()
    }

    #[test]
    fn settings_are_read_as_people_write_them() {
        let make = |control: &str, value: &str| Setting { control: control.into(), value: value.into() };
        assert_eq!(setting("brightness=12"), make("brightness", "12"));
        assert_eq!(setting("text= a=b "), make("text", " a=b "));
        assert_eq!(setting("press"), make("press", ""));
        assert_eq!(setting("brightness=12").to_string(), "brightness=12");
        assert!("=3".parse::<Setting>().unwrap_err().contains("NAME=VALUE"));
    }

    #[test]
    fn integers_are_held_to_range_and_step() {
        let control = control("gain", Kind::Integer, (-10, 20, 5));
        assert_eq!(value(&control, "-10"), Ok(Value::Number(-10)));
        assert_eq!(value(&control, " 20 "), Ok(Value::Number(20)));
        for text in ["21", "-11", "-9"] {
            assert_eq!(
                value(&control, text),
                Err(format!("gain: {text} is out of range: give -10 to 20 in steps of 5"))
            );
        }
        for text in ["", "1.5", "much", "0x1"] {
            let said = value(&control, text).unwrap_err();
            assert!(said.starts_with(&format!("gain: `{text}` does not fit: give -10")), "{said}");
        }
        let whole = Control { minimum: i64::MIN, maximum: i64::MAX, step: 1, ..control };
        assert_eq!(value(&whole, "9223372036854775807"), Ok(Value::Number(i64::MAX)));
    }

    #[test]
    fn booleans_and_buttons_take_what_people_say() {
        let switch = control("hflip", Kind::Boolean, (0, 1, 1));
        for (text, on) in [("true", true), ("On", true), ("1", true), ("no", false), ("off", false)] {
            assert_eq!(value(&switch, text), Ok(Value::Boolean(on)));
        }
        assert_eq!(value(&switch, "2"), Err("hflip: `2` does not fit: give true or false".into()));
        let button = control("press", Kind::Button, (0, 0, 0));
        for text in ["", "1", "true"] {
            assert_eq!(value(&button, text), Ok(Value::Number(1)));
        }
        assert!(value(&button, "0").unwrap_err().contains("a button, which has no value"));
    }

    #[test]
    fn menus_take_numbers_and_names_and_nothing_in_their_gaps() {
        for (text, index) in
            [("1", 1), ("manual mode", 1), ("manual_mode", 1), ("Aperture Priority Mode", 3), ("3", 3)]
        {
            assert_eq!(value(&menu(), text), Ok(Value::Number(index)), "{text}");
        }
        for text in ["0", "2", "5", "auto", "", "-1"] {
            let said = value(&menu(), text).unwrap_err();
            let allowed = "give one of 1 (Manual Mode), 3 (Aperture Priority Mode), 4 (3)";
            assert_eq!(said, format!("auto_exposure: `{text}` does not fit: {allowed}"));
        }
    }

    #[test]
    fn bitmasks_and_strings_are_checked() {
        let mask = control("mask", Kind::Bitmask, (0, 0x8000_0011, 0));
        assert_eq!(value(&mask, "0x80000001"), Ok(Value::Number(0x8000_0001)));
        assert_eq!(value(&mask, "16"), Ok(Value::Number(16)));
        assert_eq!(value(&mask, "2"), Err("mask: 2 is out of range: give bits of 0x80000011".into()));
        assert!(value(&mask, "-1").is_err());
        let text = control("text", Kind::String, (2, 6, 2));
        assert_eq!(value(&text, " a"), Ok(Value::Text(" a".into())));
        for bad in ["", "a", "abc", "abcdefgh", "a\0"] {
            let said = value(&text, bad).unwrap_err();
            assert!(said.ends_with("give text of 2 to 6 bytes in steps of 2"), "{said}");
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_and_a_number_is_a_name() {
        let controls = [
            control("user_controls", Kind::Class, (0, 0, 0)),
            control("brightness", Kind::Integer, (0, 255, 1)),
            control("hue", Kind::Integer, (0, 255, 1)),
        ];
        assert_eq!(
            refusal(&controls, &["brigthness=1"]),
            "there is no control `brigthness` here: did you mean `brightness`?"
        );
        assert_eq!(
            refusal(&controls, &["zoom=1"]),
            "there is no control `zoom` here: it has brightness, hue"
        );
        assert!(refusal(&controls, &["user_controls=1"]).contains("it has"), "a title is no control");
        assert!(refusal(&[], &["zoom=1"]).ends_with("the device has no controls"));
        for name in ["0x0098090a", "Brightness", "brightness"] {
            assert_eq!(check(&controls, &[setting(&format!("{name}=3"))]).unwrap()[0].name, "brightness");
        }
    }

    #[test]
    fn what_cannot_be_set_is_refused_with_the_reason() {
        let with = |flag| Control { flags: vec![flag], ..control("gain", Kind::Integer, (0, 9, 1)) };
        for (flag, words) in [
            (Flag::ReadOnly, "gain cannot be set: it is read-only"),
            (Flag::Disabled, "this device does not have it"),
            (Flag::Grabbed, "try again when nobody watches"),
            (Flag::Inactive, "gain is inactive: another control decides"),
        ] {
            let said = refusal(&[with(flag)], &["gain=1"]);
            assert!(said.contains(words), "{said}");
        }
        let array = control("gain", Kind::Compound, (0, 9, 1));
        assert!(refusal(&[array], &["gain=1"]).contains("an array or a structure"));
    }

    #[test]
    fn an_inactive_one_names_its_master_and_fits_beside_it() {
        let gain = Control {
            flags: vec![Flag::Inactive],
            activate: Some(setting("gain_automatic=false")),
            ..control("gain", Kind::Integer, (0, 9, 1))
        };
        let controls = [
            gain,
            control("gain_automatic", Kind::Boolean, (0, 1, 1)),
            control("hflip", Kind::Boolean, (0, 1, 1)),
        ];
        let said = "gain is inactive: gain_automatic decides in its place; set gain_automatic=false first";
        assert_eq!(refusal(&controls, &["gain=1"]), said);
        assert_eq!(refusal(&controls, &["gain=1", "hflip=1"]), said);
        let both = check(&controls, &[setting("gain=1"), setting("gain_automatic=off")]).unwrap();
        let names: Vec<&str> = both.iter().map(|checked| checked.name.as_str()).collect();
        assert_eq!(names, ["gain_automatic", "gain"], "the one that decides is set first");
        assert!(refusal(&controls, &["gain=10", "gain_automatic=off"]).contains("out of range"));
    }

    #[test]
    fn values_are_described_by_type() {
        assert_eq!(describe(&menu(), &Value::Number(3)), "3 (Aperture Priority Mode)");
        assert_eq!(describe(&menu(), &Value::Number(2)), "2");
        let mask = control("mask", Kind::Bitmask, (0, 255, 0));
        assert_eq!(describe(&mask, &Value::Number(16)), "0x10");
        assert_eq!(describe(&mask, &Value::Text(" a".into())), "\" a\"");
    }
}
