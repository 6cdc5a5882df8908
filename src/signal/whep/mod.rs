//! WHEP (draft-ietf-wish-whep; what it shares with RFC 9725), for viewers that know only HTTP: what requests mean and how
//! answers are written. Pure. Not here: HTTP itself (`web::whep`), and how a session runs (`peer`).
//!
//! - `token`: what a client proves itself with.
//! - `sdpfrag`: trickled candidates and ICE restarts.
//! - `precondition`: which ICE session a request means.
//! - `ice_link`: STUN and TURN servers as header fields.
//! - `heard`: what the agent has said in a session so far.
//! - `problem`: refusals.
//! - `strangers`: how often wrong tokens are answered.

pub mod heard;
pub mod ice_link;
pub mod precondition;
pub mod problem;
pub mod sdpfrag;
pub mod strangers;
pub mod token;
