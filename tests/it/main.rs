//! What crosses modules, in one binary.

mod camera;
