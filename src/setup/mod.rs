//! `pinhole setup`, for the first minutes: asks for camera, name and broker, tries the broker, writes the configuration,
//! starts the service with it. Nothing is written before everything was answered and shown. It runs in a process of its
//! own. Not here: trying a broker (`signal::mqtt::probe`), and the links at the end (`cli`).

mod ask;
mod edit;
mod install;
mod plan;

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use crate::{
    camera,
    cli::RunArgs,
    config::{self, Config, ConfigError, SERVICE_CONFIG, Service},
    signal::{
        Address, keys,
        mqtt::{self, MqttSettings, Secret, Usable},
    },
};
use ask::{Confirmed, Person};
use install::Keep;
use plan::{Answers, BrokerAnswer, OwnBroker, PASSWORD_FILE, Place};

/// Answers that were given as flags; what is absent is asked for, or stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub camera: Option<String>,
    pub name: Option<String>,
    /// `embedded`, or an address.
    pub broker: Option<String>,
    pub broker_page: Option<String>,
    pub broker_user: Option<String>,
    pub broker_password_file: Option<PathBuf>,
}

/// Who answers what was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// A person at the terminal.
    Person,
    /// Nobody: it stays as it is.
    Nobody,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The service runs with the new configuration.
    Started,
    /// The configuration is there; who runs pinhole by hand starts it with this file.
    Written { file: PathBuf },
    /// The configuration says so already, or it was not wanted.
    Unchanged,
}

/// Why nothing was set up. Nothing was written then, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "there is nobody to ask, as this is no terminal: give --yes, and what is to change as --camera, --name, --broker"
    )]
    NoTerminal,
    #[error("there is no {SERVICE_CONFIG}: install the package, or name a file with --config")]
    NoFile,
    #[error("{} has more than one camera: change their sources there", .0.display())]
    SeveralCameras(PathBuf),
    #[error("{} has more brokers under [[broker.server]]: change them there", .0.display())]
    SeveralBrokers(PathBuf),
    #[error("stopped: nothing was changed")]
    Stopped,
    #[error(
        "the terminal cannot be used: {0}; give --yes, and what is to change as --camera, --name, --broker"
    )]
    Terminal(io::Error),
    #[error("{0}; nothing was changed")]
    Broker(String),
    #[error("cannot read the password from {}: {error}; nothing was changed", .path.display())]
    Password { path: PathBuf, error: io::Error },
    #[error("cannot write {}: {error}; run this with sudo, or name another file with --config", .path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error(
        "the configuration is written, but the service does not start with it: journalctl -u pinhole -n 20 says why"
    )]
    Restart,
}

/// Asks, tries, shows, writes, starts.
///
/// # Errors
/// Why not, in one sentence.
pub fn run(
    args: &RunArgs,
    given: &Given,
    asking: Asking,
    input: impl BufRead,
    output: impl Write,
) -> Result<Done, SetupError> {
    if asking == Asking::Person && !io::stdin().is_terminal() {
        return Err(SetupError::NoTerminal);
    }
    let service = Service::of(args);
    let file = service.args.config.clone().ok_or(SetupError::NoFile)?;
    let old = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && args.config.is_some() => String::new(),
        Err(source) => return Err(ConfigError::Unreadable { path: file, source }.into()),
    };
    // What stands there is known to be right before anything is asked.
    let now = Config::from_text(&service.args, &file, &old).or_else(|error| match error {
        // Only the service itself has it.
        ConfigError::Credential { .. } => Config::load(&service.args),
        other => Err(other),
    });
    let mut setup = Setup { person: Person { input, output }, now: now.ok(), old: &old, given, file };
    let answers = match asking {
        Asking::Person => setup.ask()?,
        Asking::Nobody => setup.take()?,
    };
    setup.apply(args, &old, &answers, asking)
}

struct Setup<'a, R, W> {
    person: Person<R, W>,
    /// What is configured; `None` where that cannot be read whole.
    now: Option<Config>,
    /// The configuration as it stands.
    old: &'a str,
    given: &'a Given,
    file: PathBuf,
}

impl<R: BufRead, W: Write> Setup<'_, R, W> {
    /// What was given, and nothing else.
    fn take(&mut self) -> Result<Answers, SetupError> {
        let broker = match self.given.broker.as_deref() {
            None => BrokerAnswer::Unchanged,
            Some("embedded") => BrokerAnswer::Embedded,
            Some(url) => {
                let own = OwnBroker {
                    url: url.to_owned(),
                    page_url: self.given.broker_page.clone(),
                    user: self.given.broker_user.clone(),
                    password: self.given_password()?,
                    place: self.place(url),
                };
                self.try_broker(&own).map_err(SetupError::Broker)?;
                BrokerAnswer::Own(own)
            }
        };
        Ok(Answers { camera: self.given.camera.clone(), name: self.given.name.clone(), broker })
    }

    fn ask(&mut self) -> Result<Answers, SetupError> {
        self.person.say(&format!(
            "Setting up pinhole in {}. Enter takes what stands in brackets.\n\n",
            self.file.display()
        ))?;
        let camera = self.ask_camera()?;
        let name = match &self.given.name {
            Some(name) => Some(name.clone()),
            None => {
                let usual = self.now.as_ref().map_or_else(String::new, |now| now.name.clone());
                let name = self.person.ask("\nName of this device, as viewers see it", &usual)?;
                Some(name).filter(|name| *name != usual)
            }
        };
        Ok(Answers { camera, name, broker: self.ask_broker()? })
    }

    fn ask_camera(&mut self) -> Result<Option<String>, SetupError> {
        if self.given.camera.is_some() {
            return Ok(self.given.camera.clone());
        }
        if self.now.as_ref().is_some_and(|now| now.cameras.len() > 1) {
            self.person.say("Several cameras are configured: they stay as they are.\n")?;
            return Ok(None);
        }
        let (mut sources, mut shown) = (Vec::new(), Vec::new());
        if let Some(source) = plan::source(self.old) {
            shown.push(format!("as it is now ({source})"));
            sources.push(None);
        }
        sources.push(Some("auto".to_owned()));
        shown.push("the first camera that is there".to_owned());
        for survey in camera::v4l2::survey(&config::default_wish()) {
            // A link stays when numbers change.
            let path = survey.links.first().unwrap_or(&survey.path).display().to_string();
            shown.push(match survey.content {
                Ok(content) => match content.choice {
                    Ok(choice) => {
                        let fps = choice.rate.per_second();
                        format!(
                            "{} at {path}: {}x{} at {fps:.0} fps",
                            content.card, choice.width, choice.height
                        )
                    }
                    Err(error) => format!("{} at {path}: {error}", content.card),
                },
                Err(error) => format!("{path}: {error}"),
            });
            sources.push(Some(path));
        }
        if camera::csi::CsiSource::is_installed() {
            sources.push(Some("csi".to_owned()));
            shown.push("the camera module of a Raspberry Pi".to_owned());
        }
        sources.push(Some("synthetic".to_owned()));
        shown.push("a made picture, to try it".to_owned());
        self.person.say("Which camera?\n")?;
        let chosen = self.person.choose("Camera", &shown, 1)?;
        Ok(sources.swap_remove(chosen))
    }

    fn ask_broker(&mut self) -> Result<BrokerAnswer, SetupError> {
        if self.given.broker.is_some() {
            return Ok(self.take()?.broker);
        }
        let own =
            self.now.as_ref().and_then(|now| now.broker.external.first()).map(|broker| broker.url.clone());
        let mut choices = vec![
            "in this network only (the broker inside pinhole)".to_owned(),
            "from anywhere, by an MQTT broker of yours".to_owned(),
        ];
        choices.extend(own.map(|url| format!("as it is now ({url})")));
        self.person.say("\nFrom where shall viewers come?\n")?;
        let usual = if choices.len() == 3 { 3 } else { 1 };
        match self.person.choose("Viewers", &choices, usual)? {
            0 => return Ok(BrokerAnswer::Embedded),
            1 => {}
            _ => return Ok(BrokerAnswer::Unchanged),
        }
        let mut url = String::new();
        loop {
            url = self.person.ask("\nBroker, as mqtts://HOST or wss://HOST/PATH", &url)?;
            let page_url = self.person.ask("Where browsers reach it, as wss://HOST:PORT/PATH", "")?;
            let user = Some(self.person.ask("User", "")?).filter(|user| !user.is_empty());
            let password = match &user {
                Some(_) => Some(self.person.password("Password (it is not shown)", io::stdin())?),
                None => None,
            };
            let own = OwnBroker {
                place: self.place(&url),
                url: url.clone(),
                page_url: Some(page_url).filter(|url| !url.is_empty()),
                user,
                password: password.filter(|password| !password.is_empty()),
            };
            match self.try_broker(&own) {
                Ok(()) => return Ok(BrokerAnswer::Own(own)),
                Err(why) => self.person.say(&format!("  {why}\n"))?,
            }
            if self.person.confirm("Give it anew? `n` takes it as it is")? == Confirmed::No {
                return Ok(BrokerAnswer::Own(own));
            }
        }
    }

    /// Whether that is the address of the broker that is configured now.
    fn place(&self, url: &str) -> Place {
        let now = self.now.as_ref().and_then(|now| now.broker.external.first());
        let parsed = mqtt::BrokerUrl::parse(url).map(|url| url.to_string());
        match (now, parsed) {
            (Some(now), Ok(url)) if now.url == url => Place::Same,
            (_, _) => Place::Another,
        }
    }

    fn given_password(&self) -> Result<Option<String>, SetupError> {
        let Some(path) = &self.given.broker_password_file else { return Ok(None) };
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| SetupError::Password { path: path.clone(), error })?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Whether the broker takes messages, with what was answered.
    fn try_broker(&mut self, own: &OwnBroker) -> Result<(), String> {
        let root = self.now.as_ref().map_or_else(|| "pinhole".to_owned(), |now| now.broker.root.clone());
        let device = keys::some_device(self.now.as_ref().map(|now| now.state_dir.as_path()));
        // With what the file says of it beside, as its authority's certificate.
        let answers = Answers {
            camera: None,
            name: None,
            broker: BrokerAnswer::Own(OwnBroker { password: None, ..own.clone() }),
        };
        let text = plan::configuration(self.old, &answers, PASSWORD_FILE);
        let args = RunArgs::default();
        let config = Config::from_text(&args, &self.file, &text).map_err(|error| error.to_string())?;
        let external = config.broker.external.first();
        let external = external.ok_or_else(|| format!("`{}` is no broker's address", own.url))?;
        let settings =
            MqttSettings { password: own.password.clone().map(Secret::new), ..external.settings() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the broker cannot be tried: {error}"))?;
        // Another may have installed it: then it is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Usable { round_trip, .. } = runtime.block_on(mqtt::probe(settings, &Address { root, device }))?;
        let said = format!("  {} takes and acknowledges messages ({} ms)\n", own.url, round_trip.as_millis());
        self.person.say(&said).map_err(|error| error.to_string())
    }

    fn apply(
        mut self,
        args: &RunArgs,
        old: &str,
        answers: &Answers,
        asking: Asking,
    ) -> Result<Done, SetupError> {
        let several = self.now.as_ref().is_some_and(|now| now.cameras.len() > 1);
        if several && answers.camera.is_some() {
            return Err(SetupError::SeveralCameras(self.file));
        }
        if answers.broker != BrokerAnswer::Unchanged && plan::has_more_brokers(old) {
            return Err(SetupError::SeveralBrokers(self.file));
        }
        let is_service = self.file == Path::new(SERVICE_CONFIG) && install::is_service();
        let credential = format!("credential:{PASSWORD_FILE}");
        let password_file = if is_service { credential.as_str() } else { PASSWORD_FILE };
        let new = plan::configuration(old, answers, password_file);
        let password = match &answers.broker {
            BrokerAnswer::Own(own) => own.password.as_deref(),
            BrokerAnswer::Unchanged | BrokerAnswer::Embedded => None,
        };
        if new == old && password.is_none() {
            self.person.say("\nNothing is to be changed.\n")?;
            return Ok(Done::Unchanged);
        }
        self.refuse_wrong(args, &new)?;
        self.person.say(&format!("\n{} changes:\n{}", self.file.display(), plan::changes(old, &new)))?;
        if asking == Asking::Person && self.person.confirm("Write it?")? == Confirmed::No {
            return Err(SetupError::Stopped);
        }
        if let Some(password) = password {
            let path = self.file.with_file_name(PASSWORD_FILE);
            install::write(&path, &format!("{password}\n"), 0o600, Keep::Nothing)?;
            if is_service {
                install::write(&install::drop_in_path()?, &plan::drop_in(&path), 0o644, Keep::Nothing)?;
            }
        }
        install::write(&self.file, &new, 0o644, Keep::Backup)?;
        if is_service {
            self.person.say("Starting the service with it …\n")?;
            install::restart()?;
            return Ok(Done::Started);
        }
        Ok(Done::Written { file: self.file })
    }

    /// What the agent would refuse is not written. A file that it names need not be there yet.
    fn refuse_wrong(&self, args: &RunArgs, new: &str) -> Result<(), SetupError> {
        match Config::from_text(args, &self.file, new) {
            Ok(_) | Err(ConfigError::Credential { .. } | ConfigError::File { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
