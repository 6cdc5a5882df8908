//! The other side of the control socket: finds the running agent, asks it, and reads its answer. Runs in a process of
//! its own, and blocks. Not here: what is asked, and how the answer is shown (`cli`).

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use thiserror::Error;

use super::message::{MAX_REPLY, Reply, Request, line};

/// For the agent's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    #[error("no pinhole is running here: nothing answers at {}; start it, or name its state folder with --state", list(.0))]
    NotRunning(Vec<PathBuf>),
    #[error("cannot ask the agent at {}: {error}; run this as the user that pinhole runs as, or with sudo", .path.display())]
    Denied { path: PathBuf, error: io::Error },
    #[error("the agent at {} did not answer: {error}; try again, or restart it", .path.display())]
    NoAnswer { path: PathBuf, error: io::Error },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(" or ")
}

/// Asks the first agent that listens at one of `sockets`.
///
/// # Errors
/// None does, or it does not answer.
pub fn ask(sockets: &[PathBuf], request: &Request) -> Result<Reply, AskError> {
    for path in sockets {
        match UnixStream::connect(path) {
            Ok(stream) => {
                return exchange(stream, request)
                    .map_err(|error| AskError::NoAnswer { path: path.clone(), error });
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(AskError::Denied { path: path.clone(), error });
            }
            Err(_) => {}
        }
    }
    Err(AskError::NotRunning(sockets.to_vec()))
}

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Reply> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&line(request))?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = Vec::new();
    BufReader::new(stream.take(MAX_REPLY as u64)).read_until(b'\n', &mut reply)?;
    serde_json::from_slice(&reply).map_err(io::Error::from)
}
