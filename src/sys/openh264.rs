//! Options of a running OpenH264 encoder that the `openh264` crate gives no safe way to set.
#![allow(unsafe_code)]

use std::{ffi::c_int, ptr::from_mut};

use openh264::encoder::Encoder;
use openh264_sys2::{
    ENCODER_OPTION, ENCODER_OPTION_BITRATE, ENCODER_OPTION_MAX_BITRATE, ENCODER_OPTION_TRACE_LEVEL,
    LAYER_NUM, SBitrateInfo, SPATIAL_LAYER_0, SPATIAL_LAYER_ALL, WELS_LOG_QUIET,
};

/// OpenH264 refused; its own number for why (`CM_RETURN` in its `codec_def.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub i32);

/// Keeps OpenH264 from writing to standard error. The crate does so only once the encoder is initialised, which
/// itself has warnings to write.
///
/// # Errors
/// `Refused` with OpenH264's reason.
pub fn silence(encoder: &mut Encoder) -> Result<(), Refused> {
    let mut level: c_int = WELS_LOG_QUIET;
    // SAFETY: the level is what the crate sets by itself later.
    let api = unsafe { encoder.raw_api() };
    // SAFETY: the option takes a pointer to an int, which it reads and does not keep; it may be set at any time.
    let result = unsafe { api.set_option(ENCODER_OPTION_TRACE_LEVEL, from_mut(&mut level).cast()) };
    check(result)
}

/// Sets the rate, in bits per second, of an encoder that has encoded a frame already (before that there is
/// nothing to set: OpenH264 is initialised with the first frame).
///
/// # Errors
/// `Refused` with OpenH264's reason, also where no frame was encoded yet.
pub fn set_bitrate(encoder: &mut Encoder, bits_per_second: u32) -> Result<(), Refused> {
    let bits = i32::try_from(bits_per_second).unwrap_or(i32::MAX);
    let current = option(encoder, ENCODER_OPTION_BITRATE, SPATIAL_LAYER_0)?;
    // The most must at no time be below the target, so the order depends on the direction.
    let target = (ENCODER_OPTION_BITRATE, SPATIAL_LAYER_ALL);
    let most = (ENCODER_OPTION_MAX_BITRATE, SPATIAL_LAYER_0);
    let order = if bits > current { [most, target] } else { [target, most] };
    for (name, layer) in order {
        let mut info = SBitrateInfo { iLayer: layer, iBitrate: bits };
        // SAFETY: `raw_api` asks that no option the crate relies on is changed; it keeps no copy of the bitrate that
        // it would compare with.
        let api = unsafe { encoder.raw_api() };
        // SAFETY: both options take a pointer to an SBitrateInfo, which they read and do not keep.
        let result = unsafe { api.set_option(name, from_mut(&mut info).cast()) };
        check(result)?;
    }
    Ok(())
}

/// Reads one of the bitrate options.
fn option(encoder: &mut Encoder, name: ENCODER_OPTION, layer: LAYER_NUM) -> Result<i32, Refused> {
    let mut info = SBitrateInfo { iLayer: layer, iBitrate: 0 };
    // SAFETY: nothing is changed through it.
    let api = unsafe { encoder.raw_api() };
    // SAFETY: the option takes a pointer to an SBitrateInfo, reads its layer, writes its bitrate, and keeps nothing.
    let result = unsafe { api.get_option(name, from_mut(&mut info).cast()) };
    check(result)?;
    Ok(info.iBitrate)
}

fn check(result: i32) -> Result<(), Refused> {
    if result == 0 { Ok(()) } else { Err(Refused(result)) }
}

#[cfg(test)]
mod tests {
    use openh264::{OpenH264API, encoder::EncoderConfig, formats::YUVBuffer};

    use super::*;

    #[test]
    fn rate_goes_up_and_down_and_is_read_back() {
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), EncoderConfig::new()).unwrap();
        assert_eq!(silence(&mut encoder), Ok(()));
        assert!(set_bitrate(&mut encoder, 500_000).is_err(), "nothing to set before the first frame");
        encoder.encode(&YUVBuffer::new(64, 48)).unwrap();
        for bits in [1_000_000, 300_000, 310_000, 4_000_000, 20_000] {
            assert_eq!(set_bitrate(&mut encoder, bits), Ok(()), "{bits}");
            assert_eq!(option(&mut encoder, ENCODER_OPTION_BITRATE, SPATIAL_LAYER_0), Ok(bits as i32));
            assert_eq!(option(&mut encoder, ENCODER_OPTION_MAX_BITRATE, SPATIAL_LAYER_0), Ok(bits as i32));
        }
        assert!(set_bitrate(&mut encoder, 0).is_err());
    }
}
