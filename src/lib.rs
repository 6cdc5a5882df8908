//! pinhole: a camera agent for single-board computers.
//!
//! # A frame's journey
//! 1. [`camera`] dequeues a mapped buffer from the driver (or makes, reads or plays a frame).
//! 2. [`pipeline`], the camera's own thread, hands the newest frame to [`encode`], which encodes it once: by the
//!    board's encoder, straight from that buffer where it can be shared; else in software, converted straight from
//!    it into the encoder's planes. What a camera has encoded itself is handed on.
//! 3. [`h264`] puts SPS and PPS before each IDR access unit.
//! 4. [`hub`] appends it to a ring and wakes the viewers' sessions. Nothing ever waits for a viewer.
//! 5. [`peer`]: each session has its own cursor and WebRTC connection.
//! 6. [`signal`] is how viewers find the agent: pinhole/1 over MQTT, sealed from end to end.
//! 7. [`web`] serves the page to watch on.
//!
//! Around them: `main.rs` reads arguments and signals, [`config`] and [`cli`] say what is wanted, [`agent`]
//! puts the parts together and stops them in order, [`links`] are what a person opens, [`inviter`] makes them, and
//! [`control`] is how the owner speaks with a running agent, [`status`] what it is doing, [`systemd`] what the service
//! manager hears, [`announce`] makes the page known on the local network. [`setup`] asks for what is configured,
//! [`reload`] takes what can be changed while it runs, [`check`] is the doctor, [`privacy`] the switch that closes all
//! cameras, [`home_assistant`] what Home Assistant sees. [`text`] is a font for pictures. [`listen`] opens TCP ports.
//!
//! # Invariants
//! - No viewer: the camera is closed and the encoder is gone.
//! - Nothing is served to anyone who was not paired, and nothing is answered to what does not authenticate.
//! - What a viewer sends can end that viewer's session, never the agent.
//! - All queues are bounded; what is lost is counted.
//! - Only `sys` holds unsafe code; only `clock`, `tasks` and `config` read a clock, start a task, read the environment.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod agent;
pub mod announce;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod home_assistant;
pub mod inviter;
pub mod links;
pub mod listen;
pub mod log;
pub mod privacy;
pub mod reload;
pub mod setup;
pub mod status;
pub mod systemd;
pub mod tasks;
pub mod text;

pub mod camera;
pub mod encode;
pub mod h264;
pub mod hub;
pub mod pipeline;

pub mod peer;
pub mod signal;
pub mod web;

pub mod sys;
