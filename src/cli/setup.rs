//! `pinhole setup`: the questions on the terminal, and the link at the end. Not here: what is asked and written
//! (`crate::setup`).

use std::io;

use super::{CommandError, Stdout, people};
use crate::{
    cli::RunArgs,
    config::Service,
    setup::{self, Asking, Done, Given},
    signal::message::Role,
};

pub(super) fn run(
    args: &RunArgs,
    given: &Given,
    asking: Asking,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    match setup::run(args, given, asking, io::stdin().lock(), io::stdout())? {
        Done::Started => {
            out.print("The service runs. Open a link to watch; the first one who does is its owner.\n\n")?;
            people::pair(&Service::of(args).sockets, Role::Admin, None, None, out)
        }
        Done::Written { file } => out.print(&format!(
            "Start it with: pinhole --config {}\nIt prints links to watch on.\n",
            file.display()
        )),
        Done::Unchanged => Ok(()),
    }
}
