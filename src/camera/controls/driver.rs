//! What a driver says of its controls, in our terms, and what is asked of it. Pure, but for `Node`. Not here: asking
//! (`device`).

use std::{collections::BTreeSet, io};

use v4l::v4l_sys;

use super::{Control, Flag, Kind, Setting, Value, typed_name, value};
use crate::sys::controls::{ControlNode, Description};

/// What is asked of a device's node; tests put in a driver of their own.
pub trait Node {
    fn query(&self, id: u32) -> io::Result<Description>;
    fn query_old(&self, id: u32) -> io::Result<Description>;
    fn menu_name(&self, id: u32, index: u32) -> io::Result<String>;
    fn menu_number(&self, id: u32, index: u32) -> io::Result<i64>;
    fn number(&self, id: u32) -> io::Result<i32>;
    fn large_number(&self, id: u32) -> io::Result<i64>;
    fn string(&self, id: u32, longest: usize) -> io::Result<String>;
    fn set_number(&self, id: u32, value: i32) -> io::Result<()>;
    fn set_large_number(&self, id: u32, value: i64) -> io::Result<()>;
    fn set_string(&self, id: u32, value: &str) -> io::Result<()>;
}

impl Node for ControlNode {
    fn query(&self, id: u32) -> io::Result<Description> {
        Self::query(self, id)
    }

    fn query_old(&self, id: u32) -> io::Result<Description> {
        Self::query_old(self, id)
    }

    fn menu_name(&self, id: u32, index: u32) -> io::Result<String> {
        Self::menu_name(self, id, index)
    }

    fn menu_number(&self, id: u32, index: u32) -> io::Result<i64> {
        Self::menu_number(self, id, index)
    }

    fn number(&self, id: u32) -> io::Result<i32> {
        Self::number(self, id)
    }

    fn large_number(&self, id: u32) -> io::Result<i64> {
        Self::large_number(self, id)
    }

    fn string(&self, id: u32, longest: usize) -> io::Result<String> {
        Self::string(self, id, longest)
    }

    fn set_number(&self, id: u32, value: i32) -> io::Result<()> {
        Self::set_number(self, id, value)
    }

    fn set_large_number(&self, id: u32, value: i64) -> io::Result<()> {
        Self::set_large_number(self, id, value)
    }

    fn set_string(&self, id: u32, value: &str) -> io::Result<()> {
        Self::set_string(self, id, value)
    }
}

pub(super) fn kind(description: &Description) -> Kind {
    match description.kind {
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_CTRL_CLASS => Kind::Class,
        _ if description.dimensions > 0 => Kind::Compound,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER => Kind::Integer,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN => Kind::Boolean,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU => Kind::Menu,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU => Kind::IntegerMenu,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BUTTON => Kind::Button,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK => Kind::Bitmask,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_STRING => Kind::String,
        v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER64 => Kind::Integer64,
        _ => Kind::Compound,
    }
}

pub(super) fn flags(bits: u32) -> Vec<Flag> {
    let bit = |flag: &Flag| match flag {
        Flag::Disabled => v4l_sys::V4L2_CTRL_FLAG_DISABLED,
        Flag::Grabbed => v4l_sys::V4L2_CTRL_FLAG_GRABBED,
        Flag::ReadOnly => v4l_sys::V4L2_CTRL_FLAG_READ_ONLY,
        Flag::WriteOnly => v4l_sys::V4L2_CTRL_FLAG_WRITE_ONLY,
        Flag::Inactive => v4l_sys::V4L2_CTRL_FLAG_INACTIVE,
        Flag::Volatile => v4l_sys::V4L2_CTRL_FLAG_VOLATILE,
    };
    Flag::ALL.into_iter().filter(|flag| bits & bit(flag) != 0).collect()
}

/// The second of a name gets `_2`.
pub(super) fn unique(description: &Description, names: &mut BTreeSet<String>) -> String {
    let name = match typed_name(&description.name) {
        name if name.is_empty() => format!("control_{:08x}", description.id),
        name => name,
    };
    let mut candidate = name.clone();
    for number in 2.. {
        if names.insert(candidate.clone()) {
            break;
        }
        candidate = format!("{name}_{number}");
    }
    candidate
}

/// Which control decides in place of others, and the entry of its menu that leaves it to them; of a switch: off (the
/// kernel's documentation of the user and camera control classes).
const MASTERS: [(u32, u32, i64); 12] = {
    use v4l::v4l_sys::*;
    [
        (V4L2_CID_GAIN, V4L2_CID_AUTOGAIN, 0),
        (V4L2_CID_EXPOSURE, V4L2_CID_EXPOSURE_AUTO, MANUAL),
        (V4L2_CID_EXPOSURE_ABSOLUTE, V4L2_CID_EXPOSURE_AUTO, MANUAL),
        (V4L2_CID_IRIS_ABSOLUTE, V4L2_CID_EXPOSURE_AUTO, MANUAL),
        (V4L2_CID_WHITE_BALANCE_TEMPERATURE, V4L2_CID_AUTO_WHITE_BALANCE, 0),
        (V4L2_CID_RED_BALANCE, V4L2_CID_AUTO_WHITE_BALANCE, 0),
        (V4L2_CID_BLUE_BALANCE, V4L2_CID_AUTO_WHITE_BALANCE, 0),
        (V4L2_CID_FOCUS_ABSOLUTE, V4L2_CID_FOCUS_AUTO, 0),
        (V4L2_CID_HUE, V4L2_CID_HUE_AUTO, 0),
        (V4L2_CID_BRIGHTNESS, V4L2_CID_AUTOBRIGHTNESS, 0),
        (V4L2_CID_CHROMA_GAIN, V4L2_CID_CHROMA_AGC, 0),
        (V4L2_CID_ISO_SENSITIVITY, V4L2_CID_ISO_SENSITIVITY_AUTO, 0),
    ]
};
/// `V4L2_EXPOSURE_MANUAL`.
const MANUAL: i64 = 1;

/// What would make an inactive control active, where this device has the control that usually decides.
pub(super) fn master(controls: &[Control], control: &Control) -> Option<Setting> {
    let (_, id, manual) = MASTERS.iter().find(|(id, _, _)| *id == control.id)?;
    let master = controls.iter().find(|other| other.id == *id)?;
    let off = match master.kind {
        Kind::Boolean => Value::Boolean(false),
        _ => Value::Number(*manual),
    };
    let decides = control.is(Flag::Inactive) && master.value.as_ref() != Some(&off);
    decides.then(|| Setting { control: master.name.clone(), value: value::written(&off) })
}
