//! The agent's side of the control socket. Tasks: one that accepts, and one for each connection, which sends commands
//! to the exchange. Not here: what commands do (`signal::exchange`).
//!
//! Bounded: connections at once (more wait to be accepted), the request's length, and the time for each.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    cameras,
    message::{MAX_REQUEST, Reply, Request, line},
    socket::{File, Socket, SocketError},
};
use crate::{
    clock,
    config::Switch,
    inviter::{Inviter, Stopped},
    log::Log,
    pipeline::CameraHandle,
    privacy::Privacy,
    reload,
    signal::{
        exchange::{Command, HandReply},
        keys::KeyError,
        people::NotRevoked,
    },
    status::Monitor,
    tasks,
};

const MAX_CONNECTIONS: usize = 8;
/// For a request to come, and again for its reply to go.
const DEADLINE: Duration = Duration::from_secs(5);
/// After a connection could not be accepted, as when the process has too many files open.
const PAUSE: Duration = Duration::from_millis(200);

const NO_WHEP: &str = "WHEP is turned off: remove `whep = false` under [web] from the configuration";

/// What the owner's commands reach.
#[derive(Debug, Clone)]
pub struct Reach {
    pub inviter: Inviter,
    pub cameras: Arc<[CameraHandle]>,
    pub monitor: Monitor,
    pub privacy: Privacy,
    /// Where the configuration is read again.
    pub reload: mpsc::Sender<reload::Ask>,
    /// Whether tokens are good for anything.
    pub whep: Switch,
    pub log: Log,
}

/// The socket, being served.
#[derive(Debug)]
pub struct Control {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Serves the socket at `path`. Without it the agent is still worth running, so a failure is a warning.
pub fn start(path: &Path, reach: Reach) -> Control {
    let stop = CancellationToken::new();
    let listening = Socket::bind(path).and_then(|socket| {
        let (listener, file) = socket.into_parts();
        let listener = UnixListener::from_std(listener);
        Ok((listener.map_err(|error| SocketError::Io { path: path.to_owned(), error })?, file))
    });
    let task = match listening {
        Ok((listener, file)) => Some(tasks::spawn("control", run(listener, file, reach, stop.clone()))),
        Err(error) => {
            warn!(
                "pinhole pair, viewers, revoke, answer, controls and snapshot cannot reach this agent: {error}"
            );
            None
        }
    };
    Control { stop, task }
}

impl Control {
    /// Takes no more requests, and removes the socket.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}

async fn run(listener: UnixListener, _file: File, reach: Reach, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let next = async || {
        let permit = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
        (permit, listener.accept().await)
    };
    loop {
        let (permit, accepted) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next() => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let reach = reach.clone();
                tasks::spawn("control client", async move {
                    if let Err(error) = serve(stream, &reach).await {
                        debug!(%error, "a connection to the control socket failed");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                debug!(%error, "a connection to the control socket could not be accepted");
                clock::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(mut stream: UnixStream, reach: &Reach) -> std::io::Result<()> {
    let (reading, mut writing) = stream.split();
    let mut request = Vec::new();
    let mut reader = BufReader::new(reading.take(MAX_REQUEST as u64 + 1));
    timeout(DEADLINE, reader.read_until(b'\n', &mut request)).await??;
    let answer = match Request::parse(&request) {
        Ok(request) => timeout(request.patience(), answer(request, reach)).await?,
        Err(error) => Reply::Error(error.to_string()).into(),
    };
    let write = async {
        writing.write_all(&line(&answer.reply)).await?;
        writing.write_all(&answer.picture).await?;
        writing.shutdown().await
    };
    timeout(DEADLINE, write).await?
}

/// A reply, and the picture that follows it, if any.
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) picture: Vec<u8>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, picture: Vec::new() }
    }
}

async fn answer(request: Request, reach: &Reach) -> Answer {
    let inviter = &reach.inviter;
    let failed = |error: Stopped| Reply::Error(error.to_string());
    let reply = match request {
        Request::Snapshot { camera, quality } => {
            return cameras::snapshot(Arc::clone(&reach.cameras), camera, quality).await;
        }
        Request::Controls { camera, settings } => {
            cameras::controls(Arc::clone(&reach.cameras), camera, settings).await
        }
        Request::Pair { role, name, lifetime_s } => {
            let lifetime = lifetime_s.map(Duration::from_secs);
            let links = inviter.for_one_viewer(role, name, lifetime).await;
            links.map_or_else(|error| Reply::Error(error.to_string()), Reply::Links)
        }
        Request::Whep { .. } if reach.whep == Switch::Off => Reply::Error(NO_WHEP.to_owned()),
        Request::Whep { role, name, lifetime_s } => {
            let lifetime = lifetime_s.map(Duration::from_secs);
            let make = |reply| Command::MakeToken { role, name, lifetime, reply };
            match ask(inviter, make).await {
                Ok(Ok(token)) => Reply::Whep { token, endpoints: inviter.endpoints(&reach.cameras) },
                Ok(Err(reason)) => Reply::Error(reason),
                Err(stopped) => failed(stopped),
            }
        }
        Request::Log { filter } => match reach.log.set(&filter) {
            Ok(()) => {
                info!(filter, "the log's level was changed");
                Reply::Done
            }
            Err(error) => Reply::Error(error.to_string()),
        },
        Request::Answer { envelope, wait_s } => {
            let wait = Duration::from_secs(wait_s);
            match ask(inviter, |reply| Command::ByHand { envelope: envelope.into(), wait, reply }).await {
                Ok(Ok(HandReply { what, name, text })) => Reply::Answer { what, name, text },
                Ok(Err(message)) => Reply::Error(message),
                Err(stopped) => failed(stopped),
            }
        }
        Request::Privacy { set } => {
            let privacy = reach.privacy.clone();
            let done = tasks::blocking(move || {
                set.map_or(Ok(()), |wanted| privacy.set(wanted, "a command"))?;
                Ok::<_, KeyError>(privacy.state())
            });
            match done.await {
                Ok(Ok(state)) => Reply::Privacy(state),
                Ok(Err(error)) => Reply::Error(error.to_string()),
                Err(_) => Reply::Error(
                    "the switch failed, which is a fault in pinhole: see the agent's log".to_owned(),
                ),
            }
        }
        Request::Status {} => match reach.monitor.status().await {
            Ok(status) => Reply::Status(Box::new(status)),
            Err(trouble) => Reply::Error(format!("{trouble}: see the agent's log")),
        },
        Request::Reload {} => {
            let (reply, answer) = oneshot::channel();
            let _ = reach.reload.send(reply).await;
            match answer.await {
                Ok(Ok(outcome)) => Reply::Reloaded(outcome),
                Ok(Err(reason)) => Reply::Error(format!("nothing has changed: {reason}")),
                Err(_) => failed(Stopped),
            }
        }
        Request::Viewers {} => {
            let viewers = ask(inviter, |reply| Command::Viewers { reply }).await;
            viewers.map_or_else(failed, Reply::Viewers)
        }
        Request::DeviceKey {} => match ask(inviter, |reply| Command::DeviceKey { reply }).await {
            Ok(Ok(key)) => Reply::DeviceKey(key.to_string()),
            Ok(Err(error)) => Reply::Error(error.to_string()),
            Err(stopped) => failed(stopped),
        },
        Request::Revoke { who } => match ask(inviter, |reply| Command::Revoke { who, reply }).await {
            Ok(Ok(person)) => Reply::Revoked(person),
            Ok(Err(error)) => {
                let message = error.to_string();
                match error {
                    NotRevoked::Several { who, .. } => Reply::Several { message, who },
                    NotRevoked::Nobody(_) | NotRevoked::NotSaved { .. } => Reply::Error(message),
                }
            }
            Err(stopped) => failed(stopped),
        },
    };
    reply.into()
}

async fn ask<T>(
    inviter: &Inviter,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Stopped> {
    let (reply, answer) = oneshot::channel();
    inviter.commands.send(command(reply)).await.map_err(|_| Stopped)?;
    answer.await.map_err(|_| Stopped)
}
