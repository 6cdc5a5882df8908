//! `pinhole pair`, `pinhole viewers`, `pinhole revoke` and `pinhole device-key`: asks the running agent, and shows what it answers. Not here:
//! what is done (`control::server`).

use std::{path::PathBuf, time::Duration};

use super::{CommandError, Stdout};
use crate::{
    clock,
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
