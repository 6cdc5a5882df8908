//! `pinhole check`, the doctor: looks at everything that the agent needs, one thing after the other, and says of each what
//! is wrong and what to do. It works beside a running agent and without one, and changes nothing. It runs in a process
//! of its own. Judgements are pure (`judge`); the looking is in `machine`, `cameras`, `reach`. Not here: how it is shown
//! (`cli::check`).

mod cameras;
mod judge;
mod machine;
mod reach;
mod relay;

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    cli::RunArgs,
    config::{self, Config, ConfigError, Service, Switch},
    control::{
        client::ask,
        message::{Reply, Request},
    },
    privacy,
    status::Status,
    tasks,
};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is, in a word or two.
    pub part: String,
    pub outcome: Outcome,
    /// How it is.
    pub said: String,
    /// What to do; absent where there is nothing to do.
    pub remedy: Option<String>,
}

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// It works, but not as well as it could, or something could not be looked at.
    Warning,
    /// Something does not work.
    Bad,
}

impl Finding {
    fn ok(part: &str, said: impl Into<String>) -> Self {
        Self { part: part.to_owned(), outcome: Outcome::Ok, said: said.into(), remedy: None }
    }

    fn warning(part: &str, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { part: part.to_owned(), outcome: Outcome::Warning, said: said.into(), remedy }
    }

    fn bad(part: &str, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { outcome: Outcome::Bad, ..Self::warning(part, said, remedy) }
    }

    /// Of an error's sentence, in which the remedy stands behind the last semicolon or colon, as everywhere here.
    fn failed(part: &str, error: &str) -> Self {
        let cut = error.rfind("; ").or_else(|| error.rfind(": "));
        match cut {
            Some(at) => Self::bad(part, &error[..at], &error[at + 2..]),
            None => Self { remedy: None, ..Self::bad(part, error, "") },
        }
    }
}

/// Whether one runs, as far as this user can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    Runs,
    Absent,
}

/// What is known before anything is looked at.
#[derive(Debug)]
struct Case {
    config: Config,
    /// The configuration file, where there is one.
    file: Option<PathBuf>,
    /// What the running agent says of itself; `None`: there is none, or this user may not ask it.
    running: Option<Status>,
    /// Whether cameras are to stay closed.
    private: Switch,
}

/// Looks at everything, or at one camera alone, and tells each finding as soon as it is there.
pub fn run(args: &RunArgs, camera: Option<&str>, mut tell: impl FnMut(Finding)) {
    let service = Service::of(args);
    let case = match Case::new(&service, camera) {
        Ok(case) => case,
        Err(error) => {
            // What is to be done stands in the sentence.
            tell(Finding { remedy: None, ..Finding::bad("configuration", error.to_string(), "") });
            return;
        }
    };
    if camera.is_some() {
        case.config.cameras.iter().for_each(|known| cameras::look(&case, known, &service.sockets, &mut tell));
        return;
    }
    tell(machine::configuration(&case));
    tell(machine::agent(&case, &service.sockets));
    tell(machine::state_folder(&case.config.state_dir));
    tell(machine::clock());
    tell(machine::memory(&case));
    tell(machine::open_files(&case));
    let hidden = case.running.is_none() && config::is_hidden(&service.sockets);
    let agent = if case.running.is_some() || hidden { Agent::Runs } else { Agent::Absent };
    // What waits on the network does so while the cameras are looked at.
    let network = tasks::thread("network", {
        let (config, running) = (case.config.clone(), case.running.clone());
        move || reach::look(&config, agent, running.as_ref())
    });
    for known in &case.config.cameras {
        cameras::look(&case, known, &service.sockets, &mut tell);
    }
    match network.map(std::thread::JoinHandle::join) {
        Ok(Ok(findings)) => findings.into_iter().for_each(tell),
        Ok(Err(_)) => {
            tell(Finding::bad("network", "the check itself has failed", "report this as a fault in pinhole"))
        }
        Err(error) => tell(Finding::bad(
            "network",
            format!("no thread could be started ({error})"),
            "end other programs",
        )),
    }
}

impl Case {
    /// With `camera`, that one alone: one of the configuration by its id, or a source.
    fn new(service: &Service, camera: Option<&str>) -> Result<Self, ConfigError> {
        let mut config = Config::load(&service.args)?;
        if let Some(camera) = camera {
            if config.cameras.iter().all(|known| known.id != camera) {
                let args = RunArgs { camera: Some(camera.to_owned()), ..service.args.clone() };
                config = Config::load(&args)?;
            } else {
                config.cameras.retain(|known| known.id == camera);
            }
        }
        let running = match ask(&service.sockets, &Request::Status {}) {
            Ok(Reply::Status(status)) => Some(*status),
            Ok(_) | Err(_) => None,
        };
        let saved = || privacy::saved(&config.state_dir).unwrap_or(Switch::Off);
        let private = running.as_ref().map_or_else(saved, |status| status.privacy);
        Ok(Self { config, file: service.args.config.clone(), running, private })
    }
}
