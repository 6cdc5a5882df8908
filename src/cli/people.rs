//! `pinhole pair`, `viewers`, `revoke`, `privacy`, `device-key` and `log-level`: asks the running agent, and shows what it answers.
//! Not here: what is done (`control::server`).

use std::{path::PathBuf, time::Duration};

use super::{CommandError, Stdout};
use crate::{
    clock,
    config::Switch,
    control::{
        client::ask,
        message::{Reply, Request},
        show,
    },
    links::{self, Output},
    signal::message::Role,
};

/// Links for one new viewer.
pub(super) fn pair(
    sockets: &[PathBuf],
    role: Role,
    name: Option<&str>,
    lifetime: Option<Duration>,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    let lifetime_s = lifetime.map(|lifetime| lifetime.as_secs());
    match ask(sockets, &Request::Pair { role, name: name.map(str::to_owned), lifetime_s })? {
        Reply::Links(places) => out.print(&links::text(&places, out.kind(), &note(role, name, lifetime))),
        other => Err(CommandError::unexpected(other)),
    }
}

/// A token for one new WHEP client, and where it is good.
pub(super) fn whep(
    sockets: &[PathBuf],
    role: Role,
    name: &str,
    lifetime: Option<Duration>,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    let lifetime_s = lifetime.map(|lifetime| lifetime.as_secs());
    match ask(sockets, &Request::Whep { role, name: name.to_owned(), lifetime_s })? {
        Reply::Whep { token, endpoints } => {
            let mut text: String = endpoints.iter().map(|place| format!("URL: {}\n", place.url)).collect();
            text.push_str(&format!("Token: {}\n", token.reveal()));
            if out.kind() == Output::Terminal {
                text.push_str(
                    "The token is shown this once. Over plain http, whoever can read the network can read it too.\n",
                );
            }
            out.print(&text)
        }
        other => Err(CommandError::unexpected(other)),
    }
}

/// What a person should know of the links.
fn note(role: Role, name: Option<&str>, lifetime: Option<Duration>) -> String {
    let name = name.map(|name| format!(" as {name}")).unwrap_or_default();
    let end =
        lifetime.map(|lifetime| format!(", for {}", show::length(lifetime.as_secs()))).unwrap_or_default();
    format!(
        "These links pair one browser{name}, with the role {}{end}. Open one of them within ten minutes.",
        role.name()
    )
}

/// All viewers.
pub(super) fn viewers(sockets: &[PathBuf], json: bool, out: &mut Stdout) -> Result<(), CommandError> {
    match ask(sockets, &Request::Viewers {})? {
        Reply::Viewers(viewers) if json => out.print_json(&viewers),
        Reply::Viewers(viewers) if viewers.is_empty() => {
            out.print("nobody is paired; pinhole pair prints links\n")
        }
        Reply::Viewers(viewers) => out.print(&show::table(&viewers, clock::since_epoch())),
        other => Err(CommandError::unexpected(other)),
    }
}

/// Turns privacy on or off, or tells which it is.
pub(super) fn privacy(
    sockets: &[PathBuf],
    set: Option<Switch>,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    match ask(sockets, &Request::Privacy { set })? {
        Reply::Privacy(Switch::On) => {
            out.print("privacy is on: the cameras are closed, and nobody is let in\n")
        }
        Reply::Privacy(Switch::Off) => out.print("privacy is off\n"),
        other => Err(CommandError::unexpected(other)),
    }
}

/// The public key for another agent's configuration; for a person, where to put it.
pub(super) fn device_key(sockets: &[PathBuf], out: &mut Stdout) -> Result<(), CommandError> {
    match ask(sockets, &Request::DeviceKey {})? {
        Reply::DeviceKey(key) => match out.kind() {
            Output::Plain => out.print(&format!("{key}\n")),
            Output::Terminal => out.print(&format!(
                "{key}\n\nOn the agent that shall show this device's cameras, too (the hub), under [broker]:\n  \
                 accept_devices = [\"{key}\"]\nAnd here:\n  hub = \"http://HUB:8480/\"\n"
            )),
        },
        other => Err(CommandError::unexpected(other)),
    }
}

/// Ends a viewer's key.
pub(super) fn revoke(sockets: &[PathBuf], who: &str, out: &mut Stdout) -> Result<(), CommandError> {
    match ask(sockets, &Request::Revoke { who: who.to_owned() })? {
        Reply::Revoked(person) => out.print(&format!("{} ({}) is revoked\n", person.name, person.key)),
        Reply::Several { message, who } => {
            let table = show::table(&who, clock::since_epoch());
            Err(CommandError::Refused(format!("{message}\n{}", table.trim_end())))
        }
        other => Err(CommandError::unexpected(other)),
    }
}

/// The configuration anew.
pub(super) fn reload(sockets: &[PathBuf], out: &mut Stdout) -> Result<(), CommandError> {
    match ask(sockets, &Request::Reload {})? {
        Reply::Reloaded(outcome) => out.print(&format!("{outcome}\n")),
        other => Err(CommandError::unexpected(other)),
    }
}

/// Another filter for the agent's log.
pub(super) fn log_level(sockets: &[PathBuf], filter: &str) -> Result<(), CommandError> {
    match ask(sockets, &Request::Log { filter: filter.to_owned() })? {
        Reply::Done => Ok(()),
        other => Err(CommandError::unexpected(other)),
    }
}
