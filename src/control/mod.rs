//! How the owner speaks with a running agent: a socket on this machine that only the agent's user (and root) can open.
//! A request is one line of JSON, and so is its reply, which a picture may follow as it is; then the connection ends. Not
//! here: what is done (`signal`, `pipeline`).
//!
//! - `message`: requests and replies. Pure.
//! - `socket`: the socket, made so that nobody else can open it at any moment.
//! - `server`: the agent's side, one task for each connection.
//! - `cameras`: what is asked of the cameras.
//! - `client`: the other side.
//! - `show`: lengths of time as people write them, and the table of viewers. Pure.

mod cameras;
pub mod client;
pub mod message;
pub mod server;
pub mod show;
pub mod socket;

pub use server::{Control, Reach, start};
