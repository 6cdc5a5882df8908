//! The task between carriers, desk and peers: it owns the desk and the key store, gives the desk every envelope that
//! arrives, and carries out what the desk says. One task; nothing else touches the desk. Not here: what an
//! envelope means (`desk`), and what a viewer gets (`peer`).
//!
//! Priorities of its loop, highest first: stop, the owner's commands, the desk's timers, what sessions send, what
//! carriers bring. A flood from a broker therefore delays viewers' envelopes and nothing else.

use std::{
    collections::HashMap,
    future::poll_fn,
    task::{Context, Poll},
};

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::{
    Carrier, CarrierEvent, Outgoing,
    desk::{Desk, Output},
    keys::KeyStore,
    message::Role,
    pairing::PairingSecret,
    topic::SessionId,
};
use crate::{
    clock,
    peer::{Inbound, Peers, ToSession},
};

/// What the owner asks of a running exchange.
#[derive(Debug)]
pub enum Command {
    /// A one-time secret for a new viewer.
    Invite { role: Role, reply: oneshot::Sender<PairingSecret> },
    /// Ends the task: the sessions must have ended before.
    Stop,
}

/// The task's parts, put together by the composition root.
#[derive(Debug)]
pub struct Exchange {
    pub desk: Desk,
    pub store: KeyStore,
    pub carriers: Vec<Carrier>,
    pub peers: Peers,
    pub from_peers: mpsc::Receiver<ToSession>,
    pub commands: mpsc::Receiver<Command>,
}
