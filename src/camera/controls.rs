//! A camera's controls (brightness, exposure, focus, …) as V4L2 has them: what there is, and how a value is set. These
//! types travel: to the command line and to the control socket as JSON. Not here: where the values come from, and when
//! they are set (`pipeline`).
//!
//! - `value`: what a person wrote, read by the control's type and checked. Pure.
//! - `driver`: what a driver says of its controls, in our terms. Pure.
//! - `device`: the controls of one device, on a descriptor of its own, which works while the camera streams. Blocks for
//!   as long as the driver does: not for a task.

mod device;
mod driver;
mod value;

pub use device::{ControlDevice, Unset};
pub use value::{ControlError, Setting, check, describe};

use serde::{Deserialize, Serialize};

/// One control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// As people type it: `exposure_time_absolute`. No two of a device's are alike.
    pub name: String,
    /// As the driver calls it: `Exposure Time, Absolute`.
    pub title: String,
    /// V4L2's number of it (`V4L2_CID_…`).
    pub id: u32,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The least value; of a string its shortest length, in bytes.
    pub minimum: i64,
    /// The largest value, of a bitmask all its bits; of a string its greatest length, in bytes.
    pub maximum: i64,
    /// Values are so far apart, from the minimum on; 0 where that means nothing.
    pub step: u64,
    /// None for what has no value, or not one that fits here.
    pub default: Option<Value>,
    /// None also for what cannot be read.
    pub value: Option<Value>,
    /// The entries that a menu has; there may be gaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub menu: Vec<MenuEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// For an inactive one: what would make it active, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activate: Option<Setting>,
}

impl Control {
    pub fn is(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }
}

/// What values a control has (V4L2's `enum v4l2_ctrl_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Integer,
    Boolean,
    Menu,
    /// A menu whose entries are numbers.
    IntegerMenu,
    /// Does something when it is set, and has no value.
    Button,
    Bitmask,
    String,
    /// An integer of 64 bits.
    Integer64,
    /// An array or a structure: listed, and no more.
    Compound,
    /// The title of those that follow.
    Class,
}

impl Kind {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Menu => "menu",
            Self::IntegerMenu => "integer menu",
            Self::Button => "button",
            Self::Bitmask => "bitmask",
            Self::String => "string",
            Self::Integer64 => "integer64",
            Self::Compound => "compound",
            Self::Class => "class",
        }
    }
}

/// The value of a control. Menus have the number of the entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Boolean(bool),
    Number(i64),
    Text(String),
}

/// One entry of a menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MenuEntry {
    pub index: u32,
    pub name: String,
}

/// What else there is to know of a control (V4L2's `V4L2_CTRL_FLAG_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// The driver has it, and this device has not.
    Disabled,
    /// Cannot be set now, as while the device streams or another program uses it.
    Grabbed,
    ReadOnly,
    WriteOnly,
    /// Its value does not count as long as another control is as it is.
    Inactive,
    /// The device changes it by itself.
    Volatile,
}

impl Flag {
    pub const ALL: [Self; 6] =
        [Self::Disabled, Self::Grabbed, Self::ReadOnly, Self::WriteOnly, Self::Inactive, Self::Volatile];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Grabbed => "grabbed",
            Self::ReadOnly => "read-only",
            Self::WriteOnly => "write-only",
            Self::Inactive => "inactive",
            Self::Volatile => "volatile",
        }
    }
}

/// A control's name as people type it, from the driver's: small letters and digits, all else one `_` between them (so
/// does v4l2-ctl).
pub fn typed_name(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_people_type_them() {
        for (title, name) in [
            ("Brightness", "brightness"),
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("White Balance, Auto & Preset", "white_balance_auto_preset"),
            ("  (odd) ", "odd"),
            ("Gain é 2", "gain_2"),
            ("", ""),
        ] {
            assert_eq!(typed_name(title), name);
        }
    }

    #[test]
    fn the_form_for_programs_is_fixed() {
        let control = Control {
            name: "gain".into(),
            title: "Gain".into(),
            id: 0x0098_0913,
            kind: Kind::IntegerMenu,
            minimum: 0,
            maximum: 1,
            step: 1,
            default: Some(Value::Boolean(true)),
            value: None,
            menu: vec![MenuEntry { index: 1, name: "8".into() }],
            flags: vec![Flag::ReadOnly],
            activate: Some(Setting { control: "gain_automatic".into(), value: "false".into() }),
        };
        let json = r#"{"name":"gain","title":"Gain","id":9963795,"type":"integer_menu","minimum":0,"maximum":1,"step":1,"default":true,"value":null,"menu":[{"index":1,"name":"8"}],"flags":["read-only"],"activate":{"control":"gain_automatic","value":"false"}}"#;
        assert_eq!(serde_json::to_string(&control).unwrap(), json);
        assert_eq!(serde_json::from_str::<Control>(json).unwrap(), control);
        for (json, value) in
            [("true", Value::Boolean(true)), ("-3", Value::Number(-3)), ("\"3\"", Value::Text("3".into()))]
        {
            assert_eq!(serde_json::from_str::<Value>(json).unwrap(), value);
        }
    }
}
