//! JPEG pictures (ITU-T T.81, JFIF) to I420 and back, by libjpeg-turbo: what an MJPEG camera sends, and snapshots.
//! Pure, but for planes that are kept from picture to picture; used on the camera's pipeline thread and by commands.
//! Not here: dropping and counting what is damaged (`pipeline`), other layouts (`convert`).
//!
//! JPEG is full range, the encoders' input is limited range: decoding and encoding change the one into the other. A
//! picture without Huffman tables, as many cameras send it, is decoded with those of T.81, annex K: libjpeg-turbo
//! puts them in.

use turbojpeg::{
    Colorspace, Compressor, DecompressHeader, Decompressor, Subsamp, YuvImage, YuvPlanesImage, yuv_pixels_len,
};

use super::{
    Damage, EncodeError,
    planes::{I420, Picture},
    range::{full_chroma, full_luma, limit_chroma, limit_luma, limited_chroma},
};

/// Pixels, in either direction, of a picture whose size nobody has said before.
const LARGEST: usize = 4096;

/// Scans of a picture. Cameras use one, and each component's own at most; more would only cost time.
const SCANS: u32 = 4;

/// Decodes one camera's pictures.
pub struct JpegDecoder {
    codec: Decompressor,
    /// What the codec gives: Y, U and V one after the other, as subsampled as the picture is.
    planes: Vec<u8>,
    /// Chroma at half size, where the picture has another.
    u: Vec<u8>,
    v: Vec<u8>,
}

impl std::fmt::Debug for JpegDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JpegDecoder").field("bytes", &self.planes.len()).finish_non_exhaustive()
    }
}

impl JpegDecoder {
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> Result<Self, EncodeError> {
        Ok(Self { codec: codec().map_err(failed)?, planes: Vec::new(), u: Vec::new(), v: Vec::new() })
    }

    /// Decodes one picture, which must be of the given even size in pixels.
    ///
    /// # Errors
    /// [`EncodeError::Damaged`]: it is of another size, cut off, corrupt, or no baseline YCbCr or grey JPEG at all.
    /// The next picture can be decoded.
    pub fn decode(&mut self, data: &[u8], width: u32, height: u32) -> Result<I420<'_>, EncodeError> {
        let header = match self.decode_planes(data, width, height) {
            Ok(header) => header,
            Err(damage) => {
                // Tables of a damaged picture must not be used for the next, which may come without.
                self.codec = codec().map_err(failed)?;
                return Err(EncodeError::Damaged(damage));
            }
        };
        Ok(self.halve(&header))
    }

    /// Fills `planes` with a whole picture.
    fn decode_planes(&mut self, data: &[u8], width: u32, height: u32) -> Result<DecompressHeader, Damage> {
        let (width, height) = (width as usize, height as usize);
        let header = self.codec.read_header(data).map_err(damage)?;
        if (header.width, header.height) != (width, height) {
            return Err(Damage::Size { got: (header.width, header.height), need: (width, height) });
        }
        if header.is_progressive || header.is_arithmetic || header.is_lossless {
            return Err(Damage::Jpeg("it is not baseline".to_owned()));
        }
        match header.colorspace {
            Colorspace::YCbCr | Colorspace::Gray => {}
            other => return Err(Damage::Jpeg(format!("its colours are {other:?}"))),
        }
        // The codec writes as the picture is subsampled, whatever it is told: the length must be that of the header.
        let length = yuv_pixels_len(width, 1, height, header.subsamp).map_err(damage)?;
        self.planes.resize(length, 0);
        let image =
            YuvImage { pixels: &mut self.planes[..], width, align: 1, height, subsamp: header.subsamp };
        match self.codec.decompress_to_yuv(data, image) {
            Ok(()) => Ok(header),
            Err(error) if is_harmless(&error) => Ok(header),
            Err(error) => Err(damage(error)),
        }
    }

    /// Limited range, and chroma at half size.
    fn halve(&mut self, header: &DecompressHeader) -> I420<'_> {
        let (width, height) = (header.width, header.height);
        let layout = YuvImage { pixels: (), width, align: 1, height, subsamp: header.subsamp };
        let (y_stride, chroma) = (layout.y_width(), layout.uv_size());
        let (y, chroma_planes) = self.planes.split_at_mut(y_stride * layout.y_height());
        limit_luma(y);
        let half = width / 2;
        if header.subsamp == Subsamp::Gray {
            self.u.clear();
            self.u.resize(half * (height / 2), 128);
            return I420 { y, u: &self.u, v: &self.u, y_stride, chroma_stride: half };
        }
        let (u, v) = chroma_planes.split_at_mut(chroma.0 * chroma.1);
        if header.subsamp == Subsamp::Sub2x2 {
            limit_chroma(u);
            limit_chroma(v);
            return I420 { y, u, v, y_stride, chroma_stride: half };
        }
        for (from, to) in [(&*u, &mut self.u), (&*v, &mut self.v)] {
            to.resize(half * (height / 2), 0);
            halve_plane(from, chroma, to, (half, height / 2));
        }
        I420 { y, u: &self.u, v: &self.v, y_stride, chroma_stride: half }
    }
}

/// Decodes one picture of any even size up to 4096 by 4096 pixels: for who has no camera that says the size, and for
/// fuzzing.
///
/// # Errors
/// As for [`JpegDecoder::decode`].
pub fn decode(data: &[u8]) -> Result<Picture, EncodeError> {
    let mut decoder = JpegDecoder::new()?;
    let header = decoder.codec.read_header(data).map_err(|error| EncodeError::Damaged(damage(error)))?;
    let (width, height) = (header.width, header.height);
    let fits = |side: usize| side.is_multiple_of(2) && (2..=LARGEST).contains(&side);
    if !fits(width) || !fits(height) {
        return Err(EncodeError::Damaged(Damage::Jpeg(format!("it has {width}x{height} pixels"))));
    }
    let mut picture = Picture::new(width, height);
    picture.copy_from(&decoder.decode(data, width as u32, height as u32)?);
    Ok(picture)
}

fn codec() -> turbojpeg::Result<Decompressor> {
    let mut codec = Decompressor::new()?;
    codec.set_scan_limit(SCANS)?;
    Ok(codec)
}

fn failed(error: turbojpeg::Error) -> EncodeError {
    EncodeError::Failed(format!("libjpeg-turbo: {error}"))
}

fn damage(error: turbojpeg::Error) -> Damage {
    Damage::Jpeg(match error {
        turbojpeg::Error::TurboJpegError(text) => text,
        other => other.to_string(),
    })
}

/// Whether the picture was decoded to its end nevertheless. Some webcams write a byte too many before the end of
/// each picture; libjpeg-turbo tells only its first warning, so nothing was wrong before that.
fn is_harmless(error: &turbojpeg::Error) -> bool {
    matches!(error, turbojpeg::Error::TurboJpegError(text)
        if text.contains("extraneous bytes before marker") && text.ends_with("0xd9"))
}

/// Full-range chroma of any subsampling to limited range at half size: where there is more of it the mean, where there
/// is less the nearest. Sizes: width and height of each plane.
fn halve_plane(from: &[u8], from_size: (usize, usize), to: &mut [u8], to_size: (usize, usize)) {
    let (columns, lines) = from_size;
    let line = |line: usize| &from[line * columns..][..columns];
    for (index, to) in to.chunks_exact_mut(to_size.0).enumerate() {
        let (a, b) = if lines >= 2 * to_size.1 {
            (line(2 * index), line(2 * index + 1))
        } else if lines >= to_size.1 {
            (line(index), line(index))
        } else {
            (line(index / 2), line(index / 2))
        };
        let sum = |at: usize| u16::from(a[at]) + u16::from(b[at]);
        if columns >= 2 * to_size.0 {
            for (at, to) in to.iter_mut().enumerate() {
                *to = limited_chroma(((sum(2 * at) + sum(2 * at + 1) + 2) / 4) as u8);
            }
        } else if columns >= to_size.0 {
            for (at, to) in to.iter_mut().enumerate() {
                *to = limited_chroma(sum(at).div_ceil(2) as u8);
            }
        } else {
            for (at, to) in to.iter_mut().enumerate() {
                *to = limited_chroma(sum(at / 2).div_ceil(2) as u8);
            }
        }
    }
}

/// Makes a JPEG of a picture of the given even size in pixels. Quality: 1 to 100; 85 is a good photograph.
///
/// # Errors
/// Planes that are smaller than the picture, or no memory for it.
pub fn encode(
    picture: &I420<'_>,
    (width, height): (usize, usize),
    quality: u8,
) -> Result<Vec<u8>, EncodeError> {
    let half = (width / 2, height / 2);
    let y = full_plane(picture.y, picture.y_stride, (width, height), full_luma)?;
    let u = full_plane(picture.u, picture.chroma_stride, half, full_chroma)?;
    let v = full_plane(picture.v, picture.chroma_stride, half, full_chroma)?;
    let mut codec = Compressor::new().map_err(failed)?;
    codec.set_quality(i32::from(quality.clamp(1, 100))).map_err(failed)?;
    let planes = YuvPlanesImage {
        y_plane: &y[..],
        u_plane: &u[..],
        v_plane: &v[..],
        width,
        y_stride: width,
        u_stride: half.0,
        v_stride: half.0,
        height,
        subsamp: Subsamp::Sub2x2,
    };
    codec.compress_yuv_planes_to_vec(&planes).map_err(failed)
}

/// A plane in full range and without padding.
fn full_plane(
    plane: &[u8],
    stride: usize,
    (width, height): (usize, usize),
    full: fn(u8) -> u8,
) -> Result<Vec<u8>, EncodeError> {
    let table: [u8; 256] = std::array::from_fn(|value| full(value as u8));
    let mut copy = Vec::with_capacity(width * height);
    for row in plane.chunks(stride.max(1)).take(height) {
        let row =
            row.get(..width).ok_or_else(|| EncodeError::Failed("a plane's row is too short".to_owned()))?;
        copy.extend(row.iter().map(|value| table[usize::from(*value)]));
    }
    if copy.len() < width * height {
        return Err(EncodeError::Failed("a plane has too few rows".to_owned()));
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::range::limited_luma;

    const SIZES: [(u32, u32); 5] = [(16, 16), (34, 18), (160, 96), (642, 362), (22, 6)];

    /// Full-range planes of a smooth picture, of any subsampling.
    fn planes(width: usize, height: usize, subsamp: Subsamp) -> Vec<u8> {
        let layout = YuvImage { pixels: (), width, align: 1, height, subsamp };
        let mut planes = Vec::new();
        let mut plane = |(columns, lines): (usize, usize), value: &dyn Fn(f64, f64) -> f64| {
            for y in 0..lines {
                for x in 0..columns {
                    let (x, y) = ((x as f64 + 0.5) / columns as f64, (y as f64 + 0.5) / lines as f64);
                    planes.push(value(x, y) as u8);
                }
            }
        };
        plane(layout.y_size(), &|x, y| 20.0 + 200.0 * x * y);
        if subsamp != Subsamp::Gray {
            plane(layout.uv_size(), &|x, _| 60.0 + 140.0 * x);
            plane(layout.uv_size(), &|_, y| 200.0 - 140.0 * y);
        }
        planes
    }

    fn jpeg_of(width: u32, height: u32, subsamp: Subsamp) -> Vec<u8> {
        let (width, height) = (width as usize, height as usize);
        let pixels = &planes(width, height, subsamp)[..];
        let mut codec = Compressor::new().unwrap();
        codec.set_quality(95).unwrap();
        codec.compress_yuv_to_vec(YuvImage { pixels, width, align: 1, height, subsamp }).unwrap()
    }

    /// The picture without the segments of one marker.
    fn without(jpeg: &[u8], marker: u8) -> Vec<u8> {
        let mut out = jpeg[..2].to_vec();
        let mut at = 2;
        while jpeg[at + 1] != 0xda {
            let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] != marker {
                out.extend(&jpeg[at..end]);
            }
            at = end;
        }
        out.extend(&jpeg[at..]);
        out
    }

    fn worst(plane: &[u8], stride: usize, size: (usize, usize), expected: impl Fn(f64, f64) -> f64) -> u8 {
        let mut worst = 0;
        for y in 0..size.1 {
            for x in 0..size.0 {
                let value = expected((x as f64 + 0.5) / size.0 as f64, (y as f64 + 0.5) / size.1 as f64);
                worst = worst.max(plane[y * stride + x].abs_diff(value as u8));
            }
        }
        worst
    }

    /// How far the planes are at most from those of the smooth picture, in steps of 255.
    fn off(picture: &I420<'_>, width: u32, height: u32, subsamp: Subsamp) -> u8 {
        let size = (width as usize, height as usize);
        let half = (size.0 / 2, size.1 / 2);
        let chroma = |value: f64| {
            if subsamp == Subsamp::Gray { 128.0 } else { f64::from(limited_chroma(value as u8)) }
        };
        let luma = |x: f64, y: f64| f64::from(limited_luma((20.0 + 200.0 * x * y) as u8));
        worst(picture.y, picture.y_stride, size, luma)
            .max(worst(picture.u, picture.chroma_stride, half, |x, _| chroma(60.0 + 140.0 * x)))
            .max(worst(picture.v, picture.chroma_stride, half, |_, y| chroma(200.0 - 140.0 * y)))
    }

    fn damage_of(decoder: &mut JpegDecoder, data: &[u8], width: u32, height: u32) -> String {
        match decoder.decode(data, width, height) {
            Err(EncodeError::Damaged(damage)) => damage.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{} bytes were taken for a picture", data.len()),
        }
    }

    #[test]
    fn every_subsampling_of_every_size_becomes_i420_of_limited_range() {
        let mut decoder = JpegDecoder::new().unwrap();
        for (width, height) in SIZES {
            for subsamp in [
                Subsamp::Sub2x2,
                Subsamp::Sub2x1,
                Subsamp::None,
                Subsamp::Sub1x2,
                Subsamp::Sub4x1,
                Subsamp::Sub1x4,
                Subsamp::Gray,
            ] {
                let jpeg = jpeg_of(width, height, subsamp);
                let picture = decoder.decode(&jpeg, width, height).unwrap();
                // Half a step of the chroma gradient, where its plane is coarse.
                let layout = YuvImage {
                    pixels: (),
                    width: width as usize,
                    align: 1,
                    height: height as usize,
                    subsamp,
                };
                let coarsest =
                    if subsamp == Subsamp::Gray { 255 } else { layout.uv_size().0.min(layout.uv_size().1) };
                let bound = 5 + (70 / coarsest) as u8;
                let off = off(&picture, width, height, subsamp);
                assert!(off <= bound, "{subsamp:?} {width}x{height}: off by {off}, not {bound}");
            }
        }
    }

    #[test]
    fn picture_without_huffman_tables_gets_the_standard_ones() {
        let mut decoder = JpegDecoder::new().unwrap();
        let whole = jpeg_of(160, 96, Subsamp::Sub2x1);
        let bare = without(&whole, 0xc4);
        assert!(bare.len() + 400 < whole.len(), "it had no tables to take away");
        let luma = decoder.decode(&bare, 160, 96).unwrap().y.to_vec();
        assert_eq!(decoder.decode(&whole, 160, 96).unwrap().y, luma);
    }

    #[test]
    fn cut_off_picture_is_damaged_wherever_it_ends() {
        let mut decoder = JpegDecoder::new().unwrap();
        let jpeg = jpeg_of(160, 96, Subsamp::Sub2x1);
        for length in 0..jpeg.len() - 2 {
            damage_of(&mut decoder, &jpeg[..length], 160, 96);
        }
        assert!(decoder.decode(&jpeg, 160, 96).is_ok(), "the next picture is well");
    }

    #[test]
    fn zeros_behind_the_end_and_a_byte_before_it_do_no_harm() {
        let mut decoder = JpegDecoder::new().unwrap();
        let jpeg = jpeg_of(160, 96, Subsamp::Sub2x1);
        let expected = decoder.decode(&jpeg, 160, 96).unwrap().y.to_vec();
        let padded = [&jpeg[..], &[0; 500]].concat();
        assert_eq!(decoder.decode(&padded, 160, 96).unwrap().y, expected);
        let (body, end) = jpeg.split_at(jpeg.len() - 2);
        let one_more = [body, &[0x7f], end].concat();
        assert_eq!(decoder.decode(&one_more, 160, 96).unwrap().y, expected);
    }

    #[test]
    fn another_size_is_damage_and_names_both() {
        let mut decoder = JpegDecoder::new().unwrap();
        let jpeg = jpeg_of(160, 96, Subsamp::Sub2x2);
        let damage = damage_of(&mut decoder, &jpeg, 320, 240);
        assert!(damage.contains("160x96") && damage.contains("320x240"), "{damage}");
    }

    #[test]
    fn what_no_camera_sends_is_damage() {
        let mut decoder = JpegDecoder::new().unwrap();
        let pixels = vec![90; 64 * 48 * 3];
        let image = || turbojpeg::Image {
            pixels: &pixels[..],
            width: 64,
            pitch: 192,
            height: 48,
            format: turbojpeg::PixelFormat::RGB,
        };
        let mut codec = Compressor::new().unwrap();
        codec.set_progressive(true).unwrap();
        let progressive = codec.compress_to_vec(image()).unwrap();
        let mut codec = Compressor::new().unwrap();
        codec.set_colorspace(Colorspace::RGB).unwrap();
        codec.set_subsamp(Subsamp::None).unwrap();
        let rgb = codec.compress_to_vec(image()).unwrap();
        for (data, what) in
            [(&progressive[..], "baseline"), (&rgb, "RGB"), (b"\x89PNG\r\n\x1a\n", "JPEG"), (&[], "")]
        {
            let damage = damage_of(&mut decoder, data, 64, 48);
            assert!(damage.contains(what), "{damage}");
        }
    }

    /// Any byte of it, flipped in any way: a picture or damage, never a panic, and the next picture is well.
    #[test]
    fn corrupt_pictures_spoil_nothing_but_themselves() {
        let jpeg = jpeg_of(34, 18, Subsamp::Sub2x1);
        let bare = without(&jpeg, 0xc4);
        let mut decoder = JpegDecoder::new().unwrap();
        let expected = decoder.decode(&bare, 34, 18).unwrap().y.to_vec();
        let mut damaged = 0;
        for at in 0..jpeg.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut corrupt = jpeg.clone();
                corrupt[at] ^= flip;
                if decoder.decode(&corrupt, 34, 18).is_err() {
                    damaged += 1;
                    assert_eq!(
                        decoder.decode(&bare, 34, 18).unwrap().y,
                        expected,
                        "after byte {at} ^ {flip:#x}"
                    );
                }
            }
        }
        assert!(damaged > 200, "only {damaged} were noticed");
    }

    #[test]
    fn encoded_picture_decodes_to_itself() {
        let (width, height) = (160, 96);
        let mut decoder = JpegDecoder::new().unwrap();
        let source = jpeg_of(width, height, Subsamp::Sub2x2);
        let picture = decoder.decode(&source, width, height).unwrap();
        let jpeg = encode(&picture, (width as usize, height as usize), 90).unwrap();
        let again = JpegDecoder::new().unwrap();
        let mut again = again;
        let off = off(&again.decode(&jpeg, width, height).unwrap(), width, height, Subsamp::Sub2x2);
        assert!(off <= 6, "off by {off}");
    }

    #[test]
    fn fixtures_are_decoded_or_refused_as_their_names_say() {
        let mut seen = (0, 0);
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jpeg")).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let decoded = decode(&std::fs::read(&path).unwrap());
            if name.starts_with("good-") {
                let picture = decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!((picture.width(), picture.height()), (64, 48), "{name}");
                let planes = picture.planes();
                // The pattern begins with black at the top left, and has white in it.
                assert!(planes.y[0] < 40, "{name} begins with {}", planes.y[0]);
                assert!(planes.y.iter().any(|value| *value > 150), "{name}");
                let coloured = planes.u.iter().any(|value| value.abs_diff(128) > 40);
                assert_eq!(coloured, name != "good-grey.jpg", "{name}");
                seen.0 += 1;
            } else if name.starts_with("bad-") {
                assert!(matches!(decoded, Err(EncodeError::Damaged(_))), "{name}: {decoded:?}");
                seen.1 += 1;
            }
        }
        assert_eq!(seen, (7, 10));
    }

    #[test]
    fn planes_too_small_for_a_picture_are_refused() {
        let plane = [128; 64];
        let picture = I420 { y: &plane, u: &plane, v: &plane, y_stride: 8, chroma_stride: 4 };
        assert!(encode(&picture, (8, 8), 85).is_ok());
        assert!(encode(&picture, (8, 10), 85).is_err());
        assert!(encode(&picture, (10, 8), 85).is_err());
    }
}
