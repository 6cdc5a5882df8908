//! Viewers: one WebRTC connection and one session each. `rtc` is the only file that names the WebRTC crate;
//! `guard` cures two faults of it at the socket. Not here: how envelopes travel (`signal`).

pub mod addresses;
pub mod codec;
pub mod guard;
pub mod registry;
pub mod rtc;
pub mod sdp;
pub mod servers;
pub mod session;
