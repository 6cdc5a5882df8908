//! From answers to a configuration: which keys are set, and what else must be written for them. Pure. Not here: asking
//! (`ask`) and writing (`install`).

use super::edit::{quoted, set};

/// What the owner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answers {
    /// As `source` has it; `None`: what the file says stays.
    pub camera: Option<String>,
    /// `None`: what the file says stays.
    pub name: Option<String>,
    pub broker: BrokerAnswer,
}

/// Which brokers are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BrokerAnswer {
    /// What the file says stays.
    Unchanged,
    /// The one inside pinhole alone.
    Embedded,
    /// That one, and one of the owner's.
    Own(OwnBroker),
}

/// A broker of the owner's.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct OwnBroker {
    pub url: String,
    /// Where browsers reach it.
    pub page_url: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub place: Place,
}

/// Whether a broker is the one that was configured before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Same,
    Another,
}

/// What nobody is asked for, and means nothing to another broker.
const ONLY_OF_THE_OLD: [&str; 7] =
    ["page_user", "page_password_file", "client_id", "ca_file", "cert_file", "key_file", "alpn"];

impl std::fmt::Debug for OwnBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnBroker").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How the password's file is named in the configuration.
pub(super) const PASSWORD_FILE: &str = "broker-password";

/// The configuration after the answers. `password_file` is how it names the password's file.
pub(super) fn configuration(old: &str, answers: &Answers, password_file: &str) -> String {
    let mut text = old.to_owned();
    let mut put = |table: Option<&str>, key: &str, value: Option<&str>| {
        text = set(&text, table, key, value.map(quoted).as_deref());
    };
    if let Some(name) = &answers.name {
        put(None, "name", Some(name));
    }
    if let Some(camera) = &answers.camera {
        put(Some("camera"), "source", Some(camera));
    }
    let broker = Some("broker");
    match &answers.broker {
        BrokerAnswer::Unchanged => {}
        BrokerAnswer::Embedded => {
            for key in ["url", "page_url", "user", "password_file"].into_iter().chain(ONLY_OF_THE_OLD) {
                put(broker, key, None);
            }
        }
        BrokerAnswer::Own(own) => {
            if own.place == Place::Another {
                for key in ONLY_OF_THE_OLD {
                    put(broker, key, None);
                }
            }
            put(broker, "password_file", own.password.as_ref().map(|_| password_file));
            put(broker, "user", own.user.as_deref());
            put(broker, "page_url", own.page_url.as_deref());
            put(broker, "url", Some(&own.url));
        }
    }
    text
}

/// The one camera's source as it is written; `None`: it is not.
pub(super) fn source(text: &str) -> Option<String> {
    let table: toml::Table = toml::from_str(text).ok()?;
    let camera = match table.get("camera")? {
        toml::Value::Array(cameras) => cameras.first()?,
        camera => camera,
    };
    Some(camera.get("source")?.as_str()?.to_owned())
}

/// Whether there are brokers besides the one that is asked for.
pub(super) fn has_more_brokers(text: &str) -> bool {
    let table: Option<toml::Table> = toml::from_str(text).ok();
    table.is_some_and(|table| table.get("broker").is_some_and(|broker| broker.get("server").is_some()))
}

/// The settings that are not the same any more: `- ` those that go, `+ ` those that come.
pub(super) fn changes(old: &str, new: &str) -> String {
    let settings = |text: &str| -> Vec<String> {
        let lines =
            text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
        lines.map(str::to_owned).collect()
    };
    let (old, new) = (settings(old), settings(new));
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("  - {line}\n"));
    gone.chain(new.iter().filter(|line| !old.contains(line)).map(|line| format!("  + {line}\n"))).collect()
}

/// The drop-in that hands the password to the service (systemd.exec(5), LoadCredential).
pub(super) fn drop_in(password: &std::path::Path) -> String {
    format!("# Made by `pinhole setup`.\n[Service]\nLoadCredential={PASSWORD_FILE}:{}\n", password.display())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{cli::RunArgs, config::Config};

    const SAMPLE: &str = include_str!("../../systemd/pinhole.toml");

    fn own() -> OwnBroker {
        OwnBroker {
            url: "mqtts://broker.example".into(),
            page_url: Some("wss://broker.example/mqtt".into()),
            user: None,
            password: None,
            place: Place::Another,
        }
    }

    fn read(text: &str) -> Config {
        Config::from_text(&RunArgs::default(), Path::new("/etc/pinhole/pinhole.toml"), text).unwrap()
    }

    #[test]
    fn answers_stand_in_the_packages_own_file_where_their_samples_were() {
        let answers = Answers {
            camera: Some("/dev/video2".into()),
            name: Some("Anna's \"door\"".into()),
            broker: BrokerAnswer::Own(own()),
        };
        let text = configuration(SAMPLE, &answers, PASSWORD_FILE);
        let config = read(&text);
        assert_eq!(config.name, "Anna's \"door\"");
        assert_eq!(config.broker.external[0].url, "mqtts://broker.example:8883");
        assert_eq!(text.lines().count(), SAMPLE.lines().count());
        let changes = changes(SAMPLE, &text);
        assert_eq!(changes.lines().count(), 4, "{changes}");
        assert!(changes.contains("  + source = \"/dev/video2\"\n"), "{changes}");
        let other = set(&text, Some("camera"), "source", Some("\"csi\""));
        let changes = super::changes(&text, &other);
        assert_eq!(changes, "  - source = \"/dev/video2\"\n  + source = \"csi\"\n");
    }

    #[test]
    fn without_a_broker_of_ones_own_its_keys_are_comments_again() {
        let answers = Answers { camera: None, name: None, broker: BrokerAnswer::Own(own()) };
        let with = configuration(SAMPLE, &answers, PASSWORD_FILE);
        let without =
            configuration(&with, &Answers { broker: BrokerAnswer::Embedded, ..answers }, PASSWORD_FILE);
        assert!(read(&without).broker.external.is_empty());
        assert!(without.contains("# url = \"mqtts://broker.example\"\n"));
    }

    #[test]
    fn what_belongs_to_another_broker_goes_with_it() {
        let old = "[broker]\nurl = \"mqtts://broker.example\"\nca_file = \"ca.pem\"\n";
        let with = |broker| {
            let answers = Answers { camera: None, name: None, broker };
            configuration(old, &answers, PASSWORD_FILE)
        };
        let same = with(BrokerAnswer::Own(OwnBroker { place: Place::Same, ..own() }));
        assert!(same.contains("\nca_file"), "{same}");
        for broker in [BrokerAnswer::Embedded, BrokerAnswer::Own(own())] {
            let other = with(broker);
            assert!(other.contains("\n# ca_file"), "{other}");
        }
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let unchanged = Answers { camera: None, name: None, broker: BrokerAnswer::Unchanged };
        assert_eq!(configuration(SAMPLE, &unchanged, PASSWORD_FILE), SAMPLE);
        assert_eq!(changes(SAMPLE, SAMPLE), "");
    }

    #[test]
    fn a_password_is_in_no_text_but_its_own() {
        let broker = OwnBroker { user: Some("a".into()), password: Some("hunter2".into()), ..own() };
        let answers = Answers { camera: None, name: None, broker: BrokerAnswer::Own(broker) };
        let text = configuration(SAMPLE, &answers, "credential:broker-password");
        assert!(text.contains("password_file = \"credential:broker-password\""));
        assert!(!text.contains("hunter2") && !format!("{answers:?}").contains("hunter2"));
        assert!(
            drop_in(Path::new("/etc/pinhole/broker-password"))
                .ends_with("=broker-password:/etc/pinhole/broker-password\n")
        );
    }
}
