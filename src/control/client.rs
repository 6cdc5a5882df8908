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

use super::message::{MAX_PICTURE, MAX_REPLY, Reply, Request, line};

/// For the agent's answer, beside what the request takes.
const PATIENCE: Duration = Duration::from_secs(5);

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
    ask_for_picture(sockets, request).map(|(reply, _)| reply)
}

/// The same for a request whose reply may be followed by a picture; else that is empty.
///
/// # Errors
/// As for [`ask`].
pub fn ask_for_picture(sockets: &[PathBuf], request: &Request) -> Result<(Reply, Vec<u8>), AskError> {
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

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<(Reply, Vec<u8>)> {
    stream.set_read_timeout(Some(request.patience() + PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&line(request))?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = Vec::new();
    let mut reader = BufReader::new(stream);
    reader.by_ref().take(MAX_REPLY as u64).read_until(b'\n', &mut reply)?;
    let reply = serde_json::from_slice(&reply).map_err(io::Error::from)?;
    let mut picture = Vec::new();
    if let Reply::Picture { bytes } = reply {
        reader.take(bytes.min(MAX_PICTURE) as u64).read_to_end(&mut picture)?;
        if picture.len() != bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((reply, picture))
}
