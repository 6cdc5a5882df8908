//! The controls of one device, asked for and set on a descriptor of their own. Blocks for as long as the driver does,
//! which for a webcam is a few milliseconds a control. Not here: what a value means (`value`), and the calls themselves
//! (`sys::controls`).

use std::{collections::BTreeSet, io, path::Path};

use v4l::v4l_sys;

use super::{
    Control, ControlError, Flag, Kind, MenuEntry, Setting, Value,
    driver::{self, Node, unique},
    value::{self, Checked},
};
use crate::sys::controls::{ControlNode, Description};

/// More are not asked for: a driver that has as many goes round in circles.
const MAX_CONTROLS: usize = 1024;
/// The same for the entries of a menu.
const MAX_ENTRIES: i64 = 1024;

/// A device whose controls can be listed and set.
#[derive(Debug)]
pub struct ControlDevice<N = ControlNode> {
    name: String,
    card: String,
    node: N,
}

/// A setting that could not be made.
#[derive(Debug)]
pub struct Unset {
    pub control: String,
    pub error: ControlError,
}

impl ControlDevice {
    /// Opens the device at `path`, which may be a link. It may be in use.
    ///
    /// # Errors
    /// It is not there, is not a video device, or may not be opened.
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        let name = path.display().to_string();
        let opened = ControlNode::open(path).and_then(|node| Ok((node.card()?, node)));
        match opened {
            Ok((card, node)) => Ok(Self { name, card, node }),
            Err(error) => Err(match error.raw_os_error() {
                // The last is qemu's, for a program of another processor: it passes none of these requests on.
                Some(libc::ENOTTY | libc::EINVAL | libc::EISDIR | libc::ENOSYS) => {
                    ControlError::NoControls(name)
                }
                Some(libc::EACCES | libc::EPERM) => ControlError::Permission(name),
                Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOTDIR) | None => {
                    ControlError::NotFound(name)
                }
                Some(_) => ControlError::Io { device: name, error },
            }),
        }
    }
}

impl<N: Node> ControlDevice<N> {
    /// The device's name for people.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// All controls with their values, in the driver's order.
    ///
    /// # Errors
    /// The device does not answer, as when it was unplugged.
    pub fn list(&self) -> Result<Vec<Control>, ControlError> {
        let descriptions = self.descriptions().map_err(|error| self.silent(error))?;
        let mut names = BTreeSet::new();
        let mut controls: Vec<Control> =
            descriptions.into_iter().map(|description| self.control(description, &mut names)).collect();
        let activate: Vec<_> = controls.iter().map(|control| driver::master(&controls, control)).collect();
        for (control, activate) in controls.iter_mut().zip(activate) {
            control.activate = activate;
        }
        Ok(controls)
    }

    /// Checks settings, and sets none.
    ///
    /// # Errors
    /// The first that does not fit.
    pub fn check(&self, settings: &[Setting]) -> Result<(), ControlError> {
        value::check(&self.list()?, settings).map(drop)
    }

    /// Sets all, after all were checked; gives the controls as they are then, and beside them what sets each again.
    ///
    /// # Errors
    /// Nothing was set, or what the error names was.
    pub fn set(&self, settings: &[Setting]) -> Result<(Vec<Control>, Vec<Setting>), ControlError> {
        let checked = value::check(&self.list()?, settings)?;
        let ids: Vec<u32> = checked.iter().map(|setting| setting.id).collect();
        let again: Vec<Setting> = checked.iter().map(Checked::setting).collect();
        let (set, mut unset) = self.put(checked);
        if !unset.is_empty() {
            let (_, error) = unset.swap_remove(0);
            return Err(if set.is_empty() {
                error
            } else {
                ControlError::Partly { error: Box::new(error), set: set.join(", ") }
            });
        }
        let controls = self.list()?;
        let now = |id: &u32| controls.iter().find(|control| control.id == *id).cloned();
        // None goes while it is set; if one did, the pairs would still be pairs.
        let pairs = ids.iter().zip(again).filter_map(|(id, setting)| Some((now(id)?, setting)));
        Ok(pairs.unzip())
    }

    /// Sets what can be set, for a camera that is to be used whatever becomes of its controls. Gives the others.
    ///
    /// # Errors
    /// As for [`ControlDevice::list`].
    pub fn apply(&self, settings: &[Setting]) -> Result<Vec<Unset>, ControlError> {
        let mut unset = Vec::new();
        let mut good = Vec::new();
        for (result, setting) in value::check_each(&self.list()?, settings).into_iter().zip(settings) {
            match result {
                Ok(checked) => good.push(checked),
                Err(error) => unset.push(Unset { control: setting.control.clone(), error }),
            }
        }
        let (_, refused) = self.put(value::in_order(good));
        unset.extend(refused.into_iter().map(|(checked, error)| Unset { control: checked.name, error }));
        Ok(unset)
    }

    /// Sets what is active, then what that has made active, until nothing changes. Gives the names of those that were
    /// set, and the others.
    fn put(&self, settings: Vec<Checked>) -> (Vec<String>, Vec<(Checked, ControlError)>) {
        let (mut set, mut unset, mut waiting) = (Vec::new(), Vec::new(), settings);
        loop {
            let (before, mut inactive) = (waiting.len(), Vec::new());
            for setting in waiting {
                match self.put_one(&setting) {
                    Ok(()) => set.push(setting.name),
                    Err(error @ ControlError::Inactive { .. }) => inactive.push((setting, error)),
                    Err(error) => unset.push((setting, error)),
                }
            }
            if inactive.len() == before || inactive.is_empty() {
                unset.extend(inactive);
                return (set, unset);
            }
            waiting = inactive.into_iter().map(|(setting, _)| setting).collect();
        }
    }

    fn put_one(&self, setting: &Checked) -> Result<(), ControlError> {
        let name = || setting.name.clone();
        let inactive = || ControlError::Inactive { name: name(), activate: setting.activate.clone() };
        // What was set before may have changed it.
        let flags = self.node.query(setting.id).or_else(|_| self.node.query_old(setting.id));
        let flags = flags.map_err(|error| self.silent(error))?.flags;
        if flags & v4l_sys::V4L2_CTRL_FLAG_INACTIVE != 0 {
            return Err(inactive());
        }
        let written = match (&setting.value, setting.kind) {
            (Value::Boolean(on), _) => self.node.set_number(setting.id, i32::from(*on)),
            (Value::Number(number), Kind::Integer64) => self.node.set_large_number(setting.id, *number),
            // Checked against a range of 32 bits; a bitmask's are taken as they are.
            (Value::Number(number), _) => self.node.set_number(setting.id, *number as i32),
            (Value::Text(text), _) => self.node.set_string(setting.id, text),
        };
        written.map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => ControlError::Grabbed { name: name() },
            Some(libc::ENODEV) => self.silent(error),
            _ => ControlError::Refused { name: name(), value: value::written(&setting.value), error },
        })
    }

    fn silent(&self, error: io::Error) -> ControlError {
        match error.raw_os_error() {
            Some(libc::ENODEV) => ControlError::NotFound(self.name.clone()),
            _ => ControlError::Io { device: self.name.clone(), error },
        }
    }

    fn descriptions(&self) -> io::Result<Vec<Description>> {
        let next = v4l_sys::V4L2_CTRL_FLAG_NEXT_CTRL | v4l_sys::V4L2_CTRL_FLAG_NEXT_COMPOUND;
        match walk(|after| self.node.query(after | next)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => self.old_descriptions(),
            result => result,
        }
    }

    /// Of drivers from before VIDIOC_QUERY_EXT_CTRL, some of which cannot even be asked for the next.
    fn old_descriptions(&self) -> io::Result<Vec<Description>> {
        let found = walk(|after| self.node.query_old(after | v4l_sys::V4L2_CTRL_FLAG_NEXT_CTRL));
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => {
                let user = v4l_sys::V4L2_CID_BASE..v4l_sys::V4L2_CID_LASTP1;
                let private = v4l_sys::V4L2_CID_PRIVATE_BASE..;
                let mut found: Vec<_> = user.filter_map(|id| self.node.query_old(id).ok()).collect();
                found.extend(private.map_while(|id| self.node.query_old(id).ok()).take(MAX_CONTROLS));
                Ok(found)
            }
            // A video device may have no controls at all.
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn control(&self, description: Description, names: &mut BTreeSet<String>) -> Control {
        let kind = driver::kind(&description);
        let flags = driver::flags(description.flags);
        let readable = !flags.contains(&Flag::WriteOnly) && !flags.contains(&Flag::Disabled);
        let default = match kind {
            Kind::Boolean => Some(Value::Boolean(description.default != 0)),
            Kind::Bitmask => Some(Value::Number((description.default as u32).into())),
            Kind::Integer | Kind::Menu | Kind::IntegerMenu | Kind::Integer64 => {
                Some(Value::Number(description.default))
            }
            Kind::Button | Kind::String | Kind::Compound | Kind::Class => None,
        };
        let menu = match kind {
            Kind::Menu | Kind::IntegerMenu => self.menu(&description, kind),
            _ => Vec::new(),
        };
        Control {
            name: unique(&description, names),
            id: description.id,
            kind,
            minimum: description.minimum,
            maximum: description.maximum,
            step: description.step,
            default,
            value: readable.then(|| self.value(&description, kind)).flatten(),
            menu,
            flags,
            activate: None,
            title: description.name,
        }
    }

    fn menu(&self, description: &Description, kind: Kind) -> Vec<MenuEntry> {
        let last = description.maximum.min(description.minimum.saturating_add(MAX_ENTRIES));
        let entry = |index: u32| {
            // A gap in the menu is an error of the driver's.
            let name = match kind {
                Kind::IntegerMenu => self.node.menu_number(description.id, index).ok()?.to_string(),
                _ => self.node.menu_name(description.id, index).ok()?,
            };
            Some(MenuEntry { index, name })
        };
        (description.minimum..=last).filter_map(|index| u32::try_from(index).ok()).filter_map(entry).collect()
    }

    fn value(&self, description: &Description, kind: Kind) -> Option<Value> {
        let id = description.id;
        let number = || self.node.number(id);
        let value = match kind {
            Kind::Boolean => number().map(|number| Value::Boolean(number != 0)),
            Kind::Integer | Kind::Menu | Kind::IntegerMenu => {
                number().map(|number| Value::Number(number.into()))
            }
            Kind::Bitmask => number().map(|bits| Value::Number((bits as u32).into())),
            Kind::Integer64 => self.node.large_number(id).map(Value::Number),
            Kind::String => {
                let longest = usize::try_from(description.maximum).unwrap_or_default();
                self.node.string(id, longest).map(Value::Text)
            }
            Kind::Button | Kind::Compound | Kind::Class => return None,
        };
        let unread = |reason| {
            tracing::debug!(device = %self.name, control = %description.name, %reason, "a control cannot be read");
        };
        value.map_err(unread).ok()
    }
}

/// One after the other, until there is no next. `next` is given the last one's id.
fn walk(next: impl Fn(u32) -> io::Result<Description>) -> io::Result<Vec<Description>> {
    let (mut found, mut last) = (Vec::new(), 0);
    while found.len() < MAX_CONTROLS {
        match next(last) {
            Ok(description) if description.id > last => {
                last = description.id;
                found.push(description);
            }
            // It does not know what is meant by the next.
            Ok(_) => break,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::*;

    const GAIN: u32 = v4l_sys::V4L2_CID_GAIN;
    const AUTOGAIN: u32 = v4l_sys::V4L2_CID_AUTOGAIN;
    const EXPOSURE: u32 = v4l_sys::V4L2_CID_EXPOSURE_ABSOLUTE;
    const AUTO_EXPOSURE: u32 = v4l_sys::V4L2_CID_EXPOSURE_AUTO;

    /// How a driver answers.
    #[derive(Clone, Copy, PartialEq)]
    enum Age {
        Today,
        /// Without VIDIOC_QUERY_EXT_CTRL.
        Old,
        /// And without V4L2_CTRL_FLAG_NEXT_CTRL.
        Ancient,
        /// Without controls.
        None,
    }

    /// A driver with automatic gain and exposure, each of which makes the other control inactive.
    struct Driver {
        age: Age,
        values: RefCell<BTreeMap<u32, i32>>,
        /// Refused with this number.
        broken: Option<(u32, i32)>,
    }

    fn refused<T>(number: i32) -> io::Result<T> {
        Err(io::Error::from_raw_os_error(number))
    }

    impl Driver {
        fn describe(&self, id: u32) -> Description {
            let (kind, name, maximum) = match id {
                GAIN => (v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER, "Gain", 100),
                EXPOSURE => (v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER, "Exposure", 500),
                AUTO_EXPOSURE => (v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU, "Auto Exposure", 3),
                _ => (v4l_sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN, "Gain, Automatic", 1),
            };
            let value = |id| self.values.borrow()[&id];
            let inactive =
                (id == GAIN && value(AUTOGAIN) == 1) || (id == EXPOSURE && value(AUTO_EXPOSURE) != 1);
            let flags = if inactive { v4l_sys::V4L2_CTRL_FLAG_INACTIVE } else { 0 };
            let (name, minimum, step, default) = (name.to_owned(), 0, 1, 0);
            Description { id, kind, name, minimum, maximum, step, default, flags, dimensions: 0 }
        }

        fn next(&self, id: u32) -> io::Result<Description> {
            let after = id & 0x0fff_ffff;
            let next = match id == after {
                true => self.values.borrow().contains_key(&id).then_some(id),
                false => self.values.borrow().keys().copied().find(|other| *other > after),
            };
            next.map_or_else(|| refused(libc::EINVAL), |id| Ok(self.describe(id)))
        }
    }

    impl Node for Driver {
        fn query(&self, id: u32) -> io::Result<Description> {
            if self.age == Age::Today { self.next(id) } else { refused(libc::ENOTTY) }
        }

        fn query_old(&self, id: u32) -> io::Result<Description> {
            match self.age {
                Age::None => refused(libc::ENOTTY),
                Age::Ancient if id & 0x8000_0000 != 0 => refused(libc::EINVAL),
                Age::Today | Age::Old | Age::Ancient => self.next(id),
            }
        }

        fn menu_name(&self, _: u32, index: u32) -> io::Result<String> {
            match index {
                1 => Ok("Manual Mode".to_owned()),
                3 => Ok("Aperture Priority Mode".to_owned()),
                _ => refused(libc::EINVAL),
            }
        }

        fn menu_number(&self, _: u32, _: u32) -> io::Result<i64> {
            refused(libc::EINVAL)
        }

        fn number(&self, id: u32) -> io::Result<i32> {
            Ok(self.values.borrow()[&id])
        }

        fn large_number(&self, _: u32) -> io::Result<i64> {
            refused(libc::EINVAL)
        }

        fn string(&self, _: u32, _: usize) -> io::Result<String> {
            refused(libc::EINVAL)
        }

        fn set_number(&self, id: u32, value: i32) -> io::Result<()> {
            if let Some((_, number)) = self.broken.filter(|(broken, _)| *broken == id) {
                return refused(number);
            }
            self.values.borrow_mut().insert(id, value);
            Ok(())
        }

        fn set_large_number(&self, _: u32, _: i64) -> io::Result<()> {
            refused(libc::EINVAL)
        }

        fn set_string(&self, _: u32, _: &str) -> io::Result<()> {
            refused(libc::EINVAL)
        }
    }

    fn device(age: Age) -> ControlDevice<Driver> {
        let values = [(GAIN, 50), (AUTOGAIN, 1), (EXPOSURE, 100), (AUTO_EXPOSURE, 3)];
        let node = Driver { age, values: RefCell::new(values.into()), broken: None };
        ControlDevice { name: "/dev/video9".into(), card: "Driver".into(), node }
    }

    fn settings(texts: &[&str]) -> Vec<Setting> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn values(device: &ControlDevice<Driver>) -> Vec<i32> {
        let values = device.node.values.borrow();
        [GAIN, AUTOGAIN, EXPOSURE, AUTO_EXPOSURE].iter().map(|id| values[id]).collect()
    }

    #[test]
    fn drivers_of_every_age_tell_their_controls() {
        let today = device(Age::Today).list().unwrap();
        let names: Vec<&str> = today.iter().map(|control| control.name.as_str()).collect();
        assert_eq!(names, ["gain_automatic", "gain", "auto_exposure", "exposure"]);
        assert_eq!(device(Age::Old).list().unwrap(), today);
        let user: Vec<_> = today.iter().filter(|control| control.id < 0x0099_0000).cloned().collect();
        let ancient: Vec<_> = device(Age::Ancient).list().unwrap();
        assert_eq!(ancient.len(), user.len(), "only those of the user class can be found");
        assert_eq!(ancient[1].value, user[1].value);
        assert_eq!(device(Age::None).list().unwrap(), []);
    }

    #[test]
    fn menus_have_their_entries_and_inactive_ones_name_what_decides() {
        let controls = device(Age::Today).list().unwrap();
        let entries: Vec<_> =
            controls[2].menu.iter().map(|entry| (entry.index, entry.name.as_str())).collect();
        assert_eq!(entries, [(1, "Manual Mode"), (3, "Aperture Priority Mode")]);
        assert_eq!(controls[0].value, Some(Value::Boolean(true)));
        assert!(controls[1].is(Flag::Inactive) && !controls[0].is(Flag::Inactive));
        assert_eq!(controls[1].activate, Some(settings(&["gain_automatic=false"])[0].clone()));
        assert_eq!(controls[3].activate, Some(settings(&["auto_exposure=1"])[0].clone()));
        assert_eq!(controls[0].activate, None);
    }

    #[test]
    fn what_is_made_active_by_another_is_set_after_it() {
        let device = device(Age::Today);
        let set = device.set(&settings(&[
            "gain=7",
            "gain_automatic=off",
            "exposure=3",
            "auto_exposure=manual mode",
        ]));
        assert_eq!(values(&device), [7, 0, 3, 1]);
        let (set, again) = set.unwrap();
        assert_eq!(again[3], settings(&["exposure=3"])[0]);
        assert_eq!(again[1], settings(&["auto_exposure=1"])[0], "by number, as drivers know it");
        let set: Vec<_> = set.into_iter().map(|control| (control.name, control.value)).collect();
        assert_eq!(set[0], ("gain_automatic".into(), Some(Value::Boolean(false))));
        assert_eq!(set.len(), 4);
    }

    #[test]
    fn nothing_is_set_where_one_does_not_fit() {
        let device = device(Age::Today);
        for bad in ["gain=101", "exposure=1", "zoom=1", "auto_exposure=2"] {
            assert!(device.set(&settings(&["gain_automatic=off", bad])).is_err(), "{bad}");
            assert_eq!(values(&device), [50, 1, 100, 3], "{bad}");
        }
    }

    #[test]
    fn a_refusal_of_the_device_says_what_was_set_before() {
        let mut device = device(Age::Today);
        device.node.broken = Some((GAIN, libc::EIO));
        let error = device.set(&settings(&["gain_automatic=off", "gain=5"])).unwrap_err().to_string();
        assert!(error.starts_with("gain: the device refuses 5: "), "{error}");
        assert!(error.ends_with("; set before that: gain_automatic"), "{error}");
        device.node.broken = Some((GAIN, libc::EBUSY));
        let error = device.set(&settings(&["gain=5"])).unwrap_err().to_string();
        assert!(error.contains("try again when nobody watches"), "{error}");
    }

    #[test]
    fn for_a_camera_in_use_what_fits_is_set_and_the_rest_is_told() {
        let device = device(Age::Today);
        let unset = device.apply(&settings(&["zoom=1", "gain=5", "gain_automatic=0", "exposure=7"])).unwrap();
        assert_eq!(values(&device), [5, 0, 100, 3]);
        let told: Vec<String> = unset.iter().map(|unset| unset.error.to_string()).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("no control `zoom`"), "{told:?}");
        assert!(told[1].contains("set auto_exposure=1 first"), "{told:?}");
    }

    #[test]
    fn the_second_of_a_name_is_told_apart() {
        let mut names = BTreeSet::new();
        let named =
            |name: &str| Description { name: name.into(), id: 7, ..device(Age::Today).node.describe(GAIN) };
        for (title, name) in
            [("Gain", "gain"), ("gain", "gain_2"), ("GAIN", "gain_3"), ("", "control_00000007")]
        {
            assert_eq!(unique(&named(title), &mut names), name);
        }
    }

    #[test]
    fn what_is_not_there_or_no_video_device_is_refused() {
        let said = |path: &str| ControlDevice::open(Path::new(path)).unwrap_err().to_string();
        assert!(said("/dev/video-none").starts_with("no camera at /dev/video-none: "));
        assert!(said("/dev/null").starts_with("/dev/null has no controls: "));
        assert!(said("/dev").starts_with("/dev has no controls: "));
    }
}
