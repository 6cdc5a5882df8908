//! A picture in I420, as encoders take it: borrowed, or in memory of our own. Pure. Not here: how a camera's layout
//! becomes this (`convert`), and how it is turned (`orient`).

/// A picture in I420: three planes, U and V at half size.
#[derive(Debug, Clone, Copy)]
pub struct I420<'a> {
    pub y: &'a [u8],
    pub u: &'a [u8],
    pub v: &'a [u8],
    /// Bytes from one row of luma to the next.
    pub y_stride: usize,
    /// Bytes from one row of U or V to the next.
    pub chroma_stride: usize,
}

impl I420<'_> {
    /// The three planes with their strides.
    pub(super) fn planes(&self) -> [(&[u8], usize); 3] {
        [(self.y, self.y_stride), (self.u, self.chroma_stride), (self.v, self.chroma_stride)]
    }
}

/// A picture of our own: the three planes one after the other, without padding, as V4L2 lays out `YU12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

/// The planes of a [`Picture`], to be written. The strides are the widths.
#[derive(Debug)]
pub struct PlanesMut<'a> {
    pub y: &'a mut [u8],
    pub u: &'a mut [u8],
    pub v: &'a mut [u8],
}

impl Picture {
    /// A green picture of an even size in pixels.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, data: vec![0; width * height + 2 * (width / 2 * (height / 2))] }
    }

    /// Pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All planes, as a frame in `PixelFormat::I420` has them.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    pub fn planes(&self) -> I420<'_> {
        let (y, chroma) = self.data.split_at(self.width * self.height);
        let (u, v) = chroma.split_at(chroma.len() / 2);
        I420 { y, u, v, y_stride: self.width, chroma_stride: self.width / 2 }
    }

    /// Takes over a picture of the same size.
    pub(super) fn copy_from(&mut self, from: &I420<'_>) {
        let widths = [self.width, self.width / 2, self.width / 2];
        for (((from, stride), to), width) in
            from.planes().into_iter().zip(self.planes_mut().each()).zip(widths)
        {
            for (to, from) in to.chunks_exact_mut(width).zip(from.chunks(stride)) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }

    pub fn planes_mut(&mut self) -> PlanesMut<'_> {
        let (y, chroma) = self.data.split_at_mut(self.width * self.height);
        let (u, v) = chroma.split_at_mut(chroma.len() / 2);
        PlanesMut { y, u, v }
    }
}

impl PlanesMut<'_> {
    /// The three planes.
    pub(super) fn each(&mut self) -> [&mut [u8]; 3] {
        [self.y, self.u, self.v]
    }
}
