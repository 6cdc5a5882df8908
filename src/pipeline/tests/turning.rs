//! Who turns a picture, seen from the viewers.

use ::openh264::{decoder::Decoder, formats::YUVSource};

use super::*;
use crate::camera::orientation::Flip;

const QUARTER: Orientation = Orientation::new(Rotation::Quarter, Flip::None);

/// Bright at the top left, else dark.
fn marked_picture() -> Vec<u8> {
    let (width, height) = (I420.width as usize, I420.height as usize);
    let mut data = vec![128; I420.frame_bytes()];
    for (at, value) in data[..width * height].iter_mut().enumerate() {
        *value = if at % width < 16 && at / width < 16 { 220 } else { 40 };
    }
    data
}

/// The size of a key frame's picture, and which of its corners is bright.
fn look(frame: &EncodedFrame) -> ((usize, usize), &'static str) {
    assert_eq!(frame.kind, FrameKind::Key);
    let mut decoder = Decoder::new().unwrap();
    let picture = decoder.decode(&frame.data).unwrap().expect("a picture");
    let (width, height) = picture.dimensions();
    let bright = |x: usize, y: usize| picture.y()[y * picture.strides().0 + x] > 150;
    let corners = [
        ("top left", bright(6, 6)),
        ("top right", bright(width - 6, 6)),
        ("bottom left", bright(6, height - 6)),
        ("bottom right", bright(width - 6, height - 6)),
    ];
    let lit: Vec<&str> = corners.into_iter().filter(|(_, bright)| *bright).map(|(name, _)| name).collect();
    let [corner] = lit[..] else { panic!("bright are {lit:?}") };
    ((width, height), corner)
}

impl Rig {
    /// The next key frame of the marked picture.
    async fn key_frame(&self, viewer: &mut Subscription) -> EncodedFrame {
        loop {
            self.step(Step::Frame(marked_picture()));
            let frame = viewer.next().await.unwrap().frame;
            if frame.kind == FrameKind::Key {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn viewers_turn_the_picture_until_one_comes_who_does_not() {
    let rig = Rig::turned(I420, QUARTER, Orientation::UPRIGHT);
    let mut viewer = rig.handle.subscribe();
    let frame = rig.key_frame(&mut viewer).await;
    assert_eq!(frame.rotation, Rotation::Quarter);
    assert_eq!(look(&frame), ((64, 48), "top left"));

    let mut rigid = rig.handle.subscribe();
    rigid.does_not_turn();
    rigid.does_not_turn();
    let frame = rig.key_frame(&mut viewer).await;
    assert_eq!(frame.rotation, Rotation::None);
    assert_eq!(look(&frame), ((48, 64), "top right"));

    drop(rigid);
    let frame = rig.key_frame(&mut viewer).await;
    assert_eq!(frame.rotation, Rotation::Quarter);
    assert_eq!(look(&frame), ((64, 48), "top left"));
    assert_eq!((rig.opened(), rig.handle.stats().encode_errors), (1, 0));
}

#[tokio::test]
async fn mirror_image_is_made_here_whoever_watches() {
    let mirrored = Orientation::new(Rotation::ThreeQuarters, Flip::Horizontal);
    let mut rig = Rig::turned(I420, mirrored, Orientation::UPRIGHT);
    let mut viewer = rig.handle.subscribe();
    let frame = rig.key_frame(&mut viewer).await;
    assert_eq!(frame.rotation, Rotation::None);
    // Turned by 270 degrees it is at the bottom left, and then left and right change places.
    assert_eq!(look(&frame), ((48, 64), "bottom right"));
    let CameraState::Streaming { format, .. } = rig.until(is_streaming).await else { panic!("no picture") };
    assert_eq!((format.width, format.height), (48, 64));
}

#[tokio::test]
async fn what_the_camera_does_is_not_done_again() {
    for (by_camera, rotation) in
        [(Orientation::of_flip(Flip::Both), Rotation::None), (Orientation::UPRIGHT, Rotation::Half)]
    {
        let rig = Rig::turned(I420, Orientation::of_flip(Flip::Both), by_camera);
        let mut viewer = rig.handle.subscribe();
        let frame = rig.key_frame(&mut viewer).await;
        assert_eq!(frame.rotation, rotation, "the camera's part is: {by_camera}");
        assert_eq!(look(&frame), ((64, 48), "top left"));
    }
}

#[tokio::test]
async fn h264_of_the_cameras_own_is_turned_by_viewers_alone() {
    let rig = Rig::turned(H264, QUARTER, Orientation::UPRIGHT);
    let mut viewer = rig.handle.subscribe();
    viewer.does_not_turn();
    rig.step(Step::Frame(H264_KEY.to_vec()));
    let frame = viewer.next().await.unwrap().frame;
    assert_eq!((&frame.data[..], frame.rotation), (H264_KEY, Rotation::Quarter));
}
