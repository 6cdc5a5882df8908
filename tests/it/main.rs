//! The integration tests, one binary: what crosses modules.

mod peer;
