//! The integration tests, one binary: what crosses modules.

mod peer;
//! What crosses modules, in one binary.
mod camera;
