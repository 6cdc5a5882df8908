//! `pinhole pair`, `pinhole viewers` and `pinhole revoke`: asks the running agent, and prints what it answers. Runs in
//! a process of its own, and blocks. Not here: what is done (`server`).

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use thiserror::Error;

use super::{
    message::{MAX_REPLY, Reply, Request, line},
    show,
};
use crate::{
    cli::{Command, RunArgs},
    clock,
    config::{self, ConfigError},
    links::{self, Output},
};

/// For the agent's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command did not do what it was asked.
#[derive(Debug, Error)]
pub enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("no pinhole is running here: nothing answers at {}; start it, or name its state folder with --state", list(.0))]
    NotRunning(Vec<PathBuf>),
    #[error("cannot ask the agent at {}: {error}; run this as the user that pinhole runs as, or with sudo", .path.display())]
    Denied { path: PathBuf, error: io::Error },
    #[error("the agent at {} did not answer: {error}; try again, or restart it", .path.display())]
    NoAnswer { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(" or ")
}

/// Does what the command says.
///
/// # Errors
/// Why not, as one sentence.
pub fn run(command: &Command, args: &RunArgs) -> Result<(), CommandError> {
    let sockets = config::control_sockets(args)?;
    let request = match command {
        Command::Pair { role, name, expires } => Request::Pair {
            role: *role,
            name: name.clone(),
            lifetime_s: expires.map(|lifetime| lifetime.as_secs()),
        },
        Command::Viewers { .. } => Request::Viewers {},
        Command::Revoke { who } => Request::Revoke { who: who.clone() },
    };
    let mut out = io::stdout();
    let output = if out.is_terminal() { Output::Terminal } else { Output::Plain };
    let text = match (ask(&sockets, &request)?, command) {
        (Reply::Links(links), _) => links::text(&links, output, &note(command)),
        (Reply::Viewers(viewers), Command::Viewers { json: true }) => {
            let json = serde_json::to_string_pretty(&viewers);
            format!("{}\n", json.expect("strings, numbers and lists are always JSON"))
        }
        (Reply::Viewers(viewers), _) if viewers.is_empty() => {
            "nobody is paired; pinhole pair prints links\n".to_owned()
        }
        (Reply::Viewers(viewers), _) => show::table(&viewers, clock::since_epoch()),
        (Reply::Revoked(person), _) => format!("{} ({}) is revoked\n", person.name, person.key),
        (Reply::Several { message, who }, _) => {
            let table = show::table(&who, clock::since_epoch());
            return Err(CommandError::Refused(format!("{message}\n{}", table.trim_end())));
        }
        (Reply::Error(message), _) => return Err(CommandError::Refused(message)),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CommandError::Output)
}

/// What a person should know of the links.
fn note(command: &Command) -> String {
    let Command::Pair { role, name, expires } = command else { return String::new() };
    let name = name.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
    let end =
        expires.map(|lifetime| format!(", for {}", show::length(lifetime.as_secs()))).unwrap_or_default();
    format!(
        "These links pair one browser{name}, with the role {}{end}. Open one of them within ten minutes.",
        role.name()
    )
}

fn ask(sockets: &[PathBuf], request: &Request) -> Result<Reply, CommandError> {
    for path in sockets {
        match UnixStream::connect(path) {
            Ok(stream) => {
                return exchange(stream, request)
                    .map_err(|error| CommandError::NoAnswer { path: path.clone(), error });
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(CommandError::Denied { path: path.clone(), error });
            }
            Err(_) => {}
        }
    }
    Err(CommandError::NotRunning(sockets.to_vec()))
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
