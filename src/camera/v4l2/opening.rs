//! The steps from a path to a streaming device, each of which gives the system's errors their meaning. On the camera's
//! pipeline thread. Not here: which format to take (`negotiate`), what the device offers (`offers`).

use std::{io, path::Path};

use v4l::Device;

use super::{
    BUFFERS, V4l2Camera,
    cable::{Cable, Trouble},
    offers,
    survey::Content,
};
use crate::{
    camera::{
        CameraError, FrameRate, SizeWish, VideoFormat, Wish,
        devices::{self, capture_devices},
        negotiate::{self, Choice, FourCc},
    },
    clock,
    sys::{
        buffers::CaptureBuffers,
        format::{self, Api},
        video,
    },
};

/// What is opened, and as what it is named.
pub(super) struct Opening<'a> {
    pub(super) path: &'a Path,
    pub(super) name: String,
}

impl Opening<'_> {
    pub(super) fn open(self, wish: &Wish) -> Result<V4l2Camera, CameraError> {
        let (device, api) = self.open_device()?;
        let cable = Cable::detect(&device, clock::now()).map_err(|trouble| self.trouble(trouble))?;
        let offers = offers::all(&device, api, wish);
        let mut offers = offers.map_err(|error| self.error("asking for its formats", error))?;
        if let Some(cable) = &cable {
            offers = negotiate::under(&cable.signal(wish.rate), offers);
        }
        let choice = negotiate::choose(&self.name, &offers, wish)?;
        let mut format = self.set_format(&device, api, &choice, wish)?;
        // After each S_FMT: some drivers keep the interval that the last program set, others reset it then.
        format.rate = self.set_rate(&device, api, choice.rate)?;
        let buffers = CaptureBuffers::new(&device, api, BUFFERS);
        let mut buffers = buffers.map_err(|error| self.error("allocating buffers", error))?;
        if format.frame_bytes() > 0
            && let Err(reason) = buffers.share()
        {
            tracing::debug!(device = %self.name, %reason, "the driver does not share its buffers");
        }
        buffers.start().map_err(|error| self.error("starting the stream", error))?;
        let (rate, stride) = (format.rate.per_second(), format.stride);
        tracing::info!(device = %self.name, chosen = choice.why, ?api, rate, stride, "camera opened");
        Ok(V4l2Camera::new(self.name, device, cable, buffers, format))
    }

    /// What the device is and offers; nothing is set.
    pub(super) fn look(&self, wish: &Wish) -> Result<Content, CameraError> {
        let (device, api) = self.open_device()?;
        let capability =
            video::capability(&device).map_err(|error| self.error("asking what it is", error))?;
        let offers = offers::all(&device, api, wish);
        let offers = offers.map_err(|error| self.error("asking for its formats", error))?;
        let (offers, signal) = match Cable::look(&device, wish.rate) {
            Ok(Some(signal)) => (negotiate::under(&signal, offers), Ok(())),
            Ok(None) => (offers, Ok(())),
            Err(trouble) => (offers, Err(self.trouble(trouble))),
        };
        let choice = signal.and_then(|()| negotiate::choose(&self.name, &offers, wish));
        Ok(Content { card: capability.card, driver: capability.driver, offers, choice })
    }

    fn open_device(&self) -> Result<(Device, Api), CameraError> {
        // The crate panics on a path with a zero byte.
        if self.path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(self.not_found());
        }
        let device = Device::with_path(self.path).map_err(|error| self.error("opening it", error))?;
        video::close_on_exec(&device).map_err(|error| self.error("opening it", error))?;
        let capability = video::capability(&device).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOTTY | libc::EINVAL) => self.not_usable("it is not a video device"),
            // As qemu says for a program of another processor.
            Some(libc::ENOSYS) => self.not_usable("this system passes on no requests to video devices"),
            _ => self.error("asking what it is", error),
        })?;
        match capability.capture_api() {
            Some(api) if capability.streams() => Ok((device, api)),
            Some(_) => Err(self.not_usable("it cannot stream")),
            None => {
                Err(self
                    .not_usable("this node gives no pictures (a webcam has further nodes, for its metadata)"))
            }
        }
    }

    fn set_format(
        &self,
        device: &Device,
        api: Api,
        choice: &Choice,
        wish: &Wish,
    ) -> Result<VideoFormat, CameraError> {
        let got = format::set(device, api, choice.fourcc.0, choice.width, choice.height)
            .map_err(|error| self.error("setting the format", error))?;
        let (width, height) = (got.width, got.height);
        if got.fourcc != choice.fourcc.0 {
            let got = FourCc(got.fourcc);
            return Err(self.not_usable(&format!("its driver turns {} into {got}", choice.fourcc)));
        }
        if got.memory_planes != 1 {
            let planes = got.memory_planes;
            let what = format!("its driver spreads {} over {planes} pieces of memory", choice.fourcc);
            return Err(self.not_usable(&what));
        }
        if (width, height) != (wish.width, wish.height) && wish.size == SizeWish::Exact {
            let (device, offered) = (self.name.clone(), format!("{width}x{height}"));
            return Err(CameraError::Size { device, width: wish.width, height: wish.height, offered });
        }
        if width % 2 != 0 || height % 2 != 0 || width == 0 || height == 0 {
            return Err(self.not_usable(&format!("its pictures of {width}x{height} are not even")));
        }
        let stride = choice.pixel.row_bytes(width).map_or(0, |row| got.stride.max(row));
        Ok(VideoFormat { pixel: choice.pixel, width, height, stride, rate: choice.rate })
    }

    fn set_rate(&self, device: &Device, api: Api, wish: FrameRate) -> Result<FrameRate, CameraError> {
        match format::set_interval(device, api, (wish.denominator, wish.numerator)) {
            Ok(got) => Ok(offers::rate_of(got).unwrap_or(wish)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EBUSY)) => {
                Err(self.error("setting the rate", error))
            }
            Err(reason) => {
                tracing::debug!(device = %self.name, %reason, "the driver does not let its rate be set");
                Ok(wish)
            }
        }
    }

    fn error(&self, action: &'static str, source: io::Error) -> CameraError {
        let device = self.name.clone();
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOTDIR) => self.not_found(),
            Some(libc::EACCES | libc::EPERM) => CameraError::Permission { device },
            Some(libc::EBUSY) => CameraError::Busy { device, by: devices::holder(self.path) },
            // The node is one of several parts of a camera (an image sensor, a receiver, a scaler), which nobody has linked:
            // kernel documentation, "Media Controller", of VIDIOC_STREAMON.
            Some(libc::EPIPE) => CameraError::NotUsable {
                device,
                reason: "it is a part of a camera whose parts are not set up".to_owned(),
                remedy: "let libcamera do that: use --camera csi".to_owned(),
            },
            Some(libc::EISDIR) => self.not_usable("it is a directory"),
            _ => CameraError::Io { device, action, source },
        }
    }

    fn trouble(&self, trouble: Trouble) -> CameraError {
        match trouble {
            Trouble::NoSignal(reason) => CameraError::NoSignal { device: self.name.clone(), reason },
            Trouble::Io(error) => self.error("looking at its input", error),
        }
    }

    fn not_found(&self) -> CameraError {
        CameraError::NotFound { device: self.name.clone(), remedy: devices::remedy_for_missing() }
    }

    fn not_usable(&self, reason: &str) -> CameraError {
        let found = capture_devices();
        let remedy = match found.iter().find(|found| found.path != self.path) {
            Some(other) => format!("try --camera {} ({})", other.path.display(), other.card),
            None => "choose another with --camera, or use --camera synthetic".to_owned(),
        };
        CameraError::NotUsable { device: self.name.clone(), reason: reason.to_owned(), remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_errors_get_their_meaning() {
        let opening = Opening { path: Path::new("/dev/video-none"), name: "/dev/video-none".to_owned() };
        for (number, words) in [
            (libc::ENODEV, "no camera at /dev/video-none: "),
            (libc::EACCES, "not allowed to open /dev/video-none: add this user to the group `video`"),
            (libc::EBUSY, "camera /dev/video-none is in use: close the other program"),
            (libc::EPIPE, "it is a part of a camera whose parts are not set up; let libcamera do that"),
            (libc::EIO, "camera /dev/video-none: starting the stream failed: "),
        ] {
            let error = opening.error("starting the stream", io::Error::from_raw_os_error(number));
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
