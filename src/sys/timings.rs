//! The input of a grabber and the signal on its cable (V4L2's DV timings, and its event that they have changed). Called
//! on the camera's pipeline thread. Not here: what follows from it (`camera::v4l2::cable`).

use std::io;

use v4l::{
    Device,
    v4l_sys::{self, v4l2_dv_timings, v4l2_event, v4l2_event_subscription, v4l2_input},
    v4l2::vidioc::{self, _IOC_TYPE},
};

use super::{
    ioctl::{Direction, ioctl, request},
    video::text,
};

const VIDIOC_S_DV_TIMINGS: _IOC_TYPE = request::<v4l2_dv_timings>(Direction::Both, 87);
const VIDIOC_DQEVENT: _IOC_TYPE = request::<v4l2_event>(Direction::Read, 89);
const VIDIOC_SUBSCRIBE_EVENT: _IOC_TYPE = request::<v4l2_event_subscription>(Direction::Write, 90);
const VIDIOC_QUERY_DV_TIMINGS: _IOC_TYPE = request::<v4l2_dv_timings>(Direction::Read, 99);

/// Where a device takes its pictures from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// As its driver calls it: `HDMI 0`.
    pub name: String,
    /// A cable brings the picture's size and rate (V4L2_IN_CAP_DV_TIMINGS).
    pub has_timings: bool,
}

/// The input that is selected; `None` from a driver that has none to select.
///
/// # Errors
/// `ENODEV`: unplugged.
pub fn input(device: &Device) -> io::Result<Option<Input>> {
    let mut index: std::ffi::c_int = 0;
    // SAFETY: VIDIOC_G_INPUT takes a pointer to an int.
    match unsafe { ioctl(&device.handle(), vidioc::VIDIOC_G_INPUT, &mut index) } {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => return Ok(None),
        Err(error) => return Err(error),
    }
    // SAFETY: the structure is plain numbers, for which zero is valid.
    let mut raw: v4l2_input = unsafe { std::mem::zeroed() };
    raw.index = index.unsigned_abs();
    // SAFETY: VIDIOC_ENUMINPUT takes exactly this structure.
    unsafe { ioctl(&device.handle(), vidioc::VIDIOC_ENUMINPUT, &mut raw) }?;
    let has_timings = raw.capabilities & v4l_sys::V4L2_IN_CAP_DV_TIMINGS != 0;
    Ok(Some(Input { name: text(&raw.name), has_timings }))
}

/// Size, rate and all else of a signal, as the driver sees it on the cable.
#[derive(Clone, Copy)]
pub struct Timings(v4l2_dv_timings);

impl Timings {
    /// Pixels of the picture; of interlaced signals, of both fields together.
    pub fn size(&self) -> (u32, u32) {
        let bt = self.bt();
        (bt.width, bt.height)
    }

    /// Pictures in a thousand seconds; `None` where the driver does not tell.
    pub fn pictures_per_1000_s(&self) -> Option<u32> {
        let bt = self.bt();
        let width = u64::from(bt.width) + total([bt.hfrontporch, bt.hsync, bt.hbackporch]);
        let mut height = u64::from(bt.height) + total([bt.vfrontporch, bt.vsync, bt.vbackporch]);
        if bt.interlaced != 0 {
            height += total([bt.il_vfrontporch, bt.il_vsync, bt.il_vbackporch]);
        }
        let pixels = width.checked_mul(height).filter(|pixels| *pixels > 0)?;
        let rate = u128::from(bt.pixelclock) * 1000 / u128::from(pixels);
        u32::try_from(rate).ok().filter(|rate| *rate > 0)
    }

    fn bt(&self) -> v4l_sys::v4l2_bt_timings {
        // SAFETY: `bt` is the only kind of timings there is; it is plain numbers, for which every value is valid.
        unsafe { self.0.__bindgen_anon_1.bt }
    }
}

impl PartialEq for Timings {
    fn eq(&self, other: &Self) -> bool {
        (self.size(), self.pictures_per_1000_s()) == (other.size(), other.pictures_per_1000_s())
    }
}

impl std::fmt::Debug for Timings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:?} pictures in 1000 s", self.size(), self.pictures_per_1000_s())
    }
}

/// Looks what comes in by the cable (VIDIOC_QUERY_DV_TIMINGS).
///
/// # Errors
/// `ENOLINK`: nothing. `ENOLCK`: a signal that is not steady. `ERANGE`: one that the device cannot take.
pub fn query(device: &Device) -> io::Result<Timings> {
    let mut timings = Timings(empty_timings());
    // SAFETY: VIDIOC_QUERY_DV_TIMINGS takes exactly this structure.
    unsafe { ioctl(&device.handle(), VIDIOC_QUERY_DV_TIMINGS, &mut timings.0) }?;
    Ok(timings)
}

/// Has the device capture this signal (VIDIOC_S_DV_TIMINGS).
///
/// # Errors
/// `EBUSY`: another program captures from the device.
pub fn set(device: &Device, timings: Timings) -> io::Result<()> {
    let mut raw = timings.0;
    // SAFETY: VIDIOC_S_DV_TIMINGS takes exactly this structure.
    unsafe { ioctl(&device.handle(), VIDIOC_S_DV_TIMINGS, &mut raw) }
}

/// Asks to be told when the signal changes, which [`source_changed`] then tells.
///
/// # Errors
/// `ENOTTY`, `EINVAL`: the driver does not tell.
pub fn watch(device: &Device) -> io::Result<()> {
    // SAFETY: the structure is plain numbers, for which zero is valid.
    let mut raw: v4l2_event_subscription = unsafe { std::mem::zeroed() };
    raw.type_ = v4l_sys::V4L2_EVENT_SOURCE_CHANGE;
    // SAFETY: VIDIOC_SUBSCRIBE_EVENT takes exactly this structure.
    unsafe { ioctl(&device.handle(), VIDIOC_SUBSCRIBE_EVENT, &mut raw) }
}

/// Whether the signal has changed since the last call. Does not wait; all that were told are taken together.
///
/// # Errors
/// `ENODEV`: unplugged.
pub fn source_changed(device: &Device) -> io::Result<bool> {
    let mut changed = false;
    loop {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut raw: v4l2_event = unsafe { std::mem::zeroed() };
        // SAFETY: VIDIOC_DQEVENT takes exactly this structure. The device was opened not to block.
        match unsafe { ioctl(&device.handle(), VIDIOC_DQEVENT, &mut raw) } {
            Ok(()) => changed |= raw.type_ == v4l_sys::V4L2_EVENT_SOURCE_CHANGE,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(changed),
            Err(error) => return Err(error),
        }
    }
}

fn total(parts: [u32; 3]) -> u64 {
    parts.into_iter().map(u64::from).sum()
}

fn empty_timings() -> v4l2_dv_timings {
    // SAFETY: the structure is plain numbers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(edit: impl FnOnce(&mut v4l_sys::v4l2_bt_timings)) -> Timings {
        let mut raw = empty_timings();
        let mut bt = Timings(raw).bt();
        edit(&mut bt);
        raw.__bindgen_anon_1.bt = bt;
        Timings(raw)
    }

    #[test]
    fn rate_is_the_pixel_clock_over_the_whole_frame() {
        let progressive = timings(|bt| {
            (bt.width, bt.height, bt.pixelclock) = (1280, 720, 74_250_000);
            (bt.hfrontporch, bt.hsync, bt.hbackporch) = (110, 40, 220);
            (bt.vfrontporch, bt.vsync, bt.vbackporch) = (5, 5, 20);
        });
        assert_eq!((progressive.size(), progressive.pictures_per_1000_s()), ((1280, 720), Some(60_000)));
        // 1080i at 50 fields a second (CTA-861, code 20).
        let interlaced = timings(|bt| {
            (bt.width, bt.height, bt.pixelclock, bt.interlaced) = (1920, 1080, 74_250_000, 1);
            (bt.hfrontporch, bt.hsync, bt.hbackporch) = (528, 44, 148);
            (bt.vfrontporch, bt.vsync, bt.vbackporch) = (2, 5, 15);
            (bt.il_vfrontporch, bt.il_vsync, bt.il_vbackporch) = (2, 5, 16);
        });
        assert_eq!((interlaced.size(), interlaced.pictures_per_1000_s()), ((1920, 1080), Some(25_000)));
        assert_eq!(timings(|bt| bt.pixelclock = u64::MAX).pictures_per_1000_s(), None);
        assert_eq!(timings(|bt| (bt.width, bt.height) = (1280, 720)).pictures_per_1000_s(), None);
    }
}
