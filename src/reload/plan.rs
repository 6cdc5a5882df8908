//! What a changed configuration means for an agent that runs: which changes it can take up without ending a session, and
//! which keys wait for a restart. Pure: two configurations in, a plan out. Not here: carrying it out (`reload`).

use crate::{
    camera::controls::Setting,
    config::{BrokerConfig, CameraConfig, Config, ExternalBroker, House, Source, WebConfig, WebRtcConfig},
    encode::{Bitrate, overlay::Content},
    peer::ice::IceSource,
};

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub changes: Vec<Change>,
    /// Keys that have changed and are taken up, as they stand in the file.
    pub applied: Vec<String>,
    /// Keys that have changed and need a restart.
    pub restart: Vec<String>,
}

/// A change that can be taken up. Cameras are meant by their place in the configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Name(String),
    MaxViewers(u32),
    IceServers(Vec<IceSource>),
    WebNames(Vec<String>),
    CameraName {
        camera: usize,
        name: String,
    },
    Bitrate {
        camera: usize,
        bitrate: Bitrate,
    },
    /// Those that are new or have another value, and all as they are written now.
    Controls {
        camera: usize,
        changed: Vec<Setting>,
        all: Vec<Setting>,
    },
}

impl Change {
    /// Makes it in the configuration that the agent runs with.
    pub fn note(self, running: &mut Config) {
        match self {
            Self::Name(name) => running.name = name,
            Self::MaxViewers(max) => running.webrtc.max_viewers = max,
            Self::IceServers(servers) => running.webrtc.ice_servers = servers,
            Self::WebNames(names) => running.web.names = names,
            Self::CameraName { camera, name } => running.cameras[camera].name = name,
            Self::Bitrate { camera, bitrate } => running.cameras[camera].bitrate = bitrate,
            Self::Controls { camera, all, .. } => running.cameras[camera].controls = all,
        }
    }
}

/// Who decides on a camera's bit rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOf {
    /// The encoder here, which can be told another.
    Encoder,
    /// A program that was told when it was started.
    Source,
}

/// What leads from the configuration that runs to the new one. `rates`: for each camera that runs.
pub fn plan(running: &Config, new: &Config, rates: &[RateOf]) -> Plan {
    // Without `..`, so that whoever adds a field decides here what becomes of it.
    let Config { name, state_dir, control, cameras: _, web, broker, webrtc, home_assistant } = new;
    let mut plan = Plan::default();
    plan.take("name", running.name != *name, || Change::Name(name.clone()));
    plan.wait("state_dir", running.state_dir != *state_dir || running.control != *control);
    plan.cameras(running, new, rates);
    plan.web(&running.web, web);
    plan.broker(&running.broker, broker);
    plan.wait("home_assistant", running.home_assistant != *home_assistant);
    let WebRtcConfig { ice_servers, max_viewers } = webrtc;
    plan.take("webrtc.max_viewers", running.webrtc.max_viewers != *max_viewers, || {
        Change::MaxViewers(*max_viewers)
    });
    plan.take("webrtc.ice_server", running.webrtc.ice_servers != *ice_servers, || {
        Change::IceServers(ice_servers.clone())
    });
    plan
}

impl Plan {
    fn take(&mut self, key: &str, changed: bool, change: impl FnOnce() -> Change) {
        if changed {
            self.applied.push(key.to_owned());
            self.changes.push(change());
        }
    }

    fn wait(&mut self, key: &str, changed: bool) {
        if changed {
            self.restart.push(key.to_owned());
        }
    }

    fn cameras(&mut self, running: &Config, new: &Config, rates: &[RateOf]) {
        let (devices, new) = ((&running.name, &new.name), &new.cameras);
        let ids = |cameras: &[CameraConfig]| cameras.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
        if ids(&running.cameras) != ids(new) {
            // Others, or in another order: which is which is not guessed.
            self.wait("camera", true);
            return;
        }
        let several = new.len() > 1;
        let hot = |cameras: &[CameraConfig]| cameras.first().and_then(|camera| camera.hot);
        self.wait("governor", hot(&running.cameras) != hot(new));
        for (index, (old, new)) in running.cameras.iter().zip(new).enumerate() {
            let rate = rates.get(index).copied().unwrap_or(RateOf::Source);
            self.camera(index, (old, new), devices, rate, &|field| {
                if several { format!("camera `{}`: {field}", new.id) } else { format!("camera.{field}") }
            });
        }
    }

    /// `devices`: the device's name, before and now.
    fn camera(
        &mut self,
        camera: usize,
        (old, new): (&CameraConfig, &CameraConfig),
        devices: (&String, &String),
        rate: RateOf,
        key: &dyn Fn(&str) -> String,
    ) {
        // `id` is the same, and `hot` is one for all.
        let CameraConfig {
            id: _,
            name,
            source,
            wish,
            bitrate,
            encoder,
            orientation,
            overlay,
            hot: _,
            controls,
        } = new;
        // What an encoder writes into the picture is fixed with it.
        let written = matches!(old.overlay, Some(Content::Name | Content::TimeAndName));
        if written {
            self.wait(&key("name"), old.name != *name);
        } else if old.name != *name {
            self.changes.push(Change::CameraName { camera, name: name.clone() });
            // A camera without a name of its own goes by the device's, which is told already.
            if (&old.name, name) != (devices.0, devices.1) {
                self.applied.push(key("name"));
            }
        }
        match rate {
            RateOf::Encoder => self.take(&key("bitrate"), old.bitrate != *bitrate, || Change::Bitrate {
                camera,
                bitrate: *bitrate,
            }),
            RateOf::Source => self.wait(&key("bitrate"), old.bitrate != *bitrate),
        }
        self.wait(&key("source"), without_rate(&old.source) != without_rate(source));
        let size = |camera: &CameraConfig| (camera.wish.width, camera.wish.height, camera.wish.size);
        self.wait(&key("size"), size(old) != size(new));
        self.wait(&key("fps"), old.wish.rate != wish.rate);
        self.wait(&key("encoder"), old.encoder != *encoder);
        self.wait(&key("rotate or flip"), old.orientation != *orientation);
        self.wait(&key("overlay"), old.overlay != *overlay);
        self.controls(camera, &old.controls, controls, key);
    }

    fn controls(&mut self, camera: usize, old: &[Setting], new: &[Setting], key: &dyn Fn(&str) -> String) {
        let named = |settings: &[Setting], control: &str| settings.iter().any(|one| one.control == control);
        for gone in old.iter().filter(|setting| !named(new, &setting.control)) {
            // The value before is the driver's own, which it gives again when the camera is plugged in anew.
            self.wait(&key(&format!("controls.{}", gone.control)), true);
        }
        let changed: Vec<Setting> = new.iter().filter(|setting| !old.contains(setting)).cloned().collect();
        if changed.is_empty() {
            return;
        }
        for setting in &changed {
            self.applied.push(key(&format!("controls.{}", setting.control)));
        }
        // Those that are gone hold until the restart, of which each reload reminds.
        let gone = old.iter().filter(|setting| !named(new, &setting.control));
        let all = new.iter().chain(gone).cloned().collect();
        self.changes.push(Change::Controls { camera, changed, all });
    }

    fn web(&mut self, old: &WebConfig, new: &WebConfig) {
        let WebConfig { listen, page_url, names, whep, announce, metrics, metrics_token } = new;
        self.wait("web.listen", old.listen != *listen);
        self.wait("web.page_url", old.page_url != *page_url);
        self.take("web.names", old.names != *names, || Change::WebNames(names.clone()));
        self.wait("web.whep", old.whep != *whep);
        self.wait("web.announce", old.announce != *announce);
        self.wait("web.metrics", old.metrics != *metrics);
        self.wait("web.metrics_token_file", old.metrics_token != *metrics_token);
    }

    fn broker(&mut self, old: &BrokerConfig, new: &BrokerConfig) {
        let BrokerConfig { root, embedded, external, house } = new;
        let House { listen, accept_devices, hub } = house;
        self.wait("broker.root", old.root != *root);
        self.wait("broker.embedded", old.embedded != *embedded);
        self.wait("broker.listen", old.house.listen != *listen);
        self.wait("broker.accept_devices", old.house.accept_devices != *accept_devices);
        self.wait("broker.hub", old.house.hub != *hub);
        match (&old.external[..], &external[..]) {
            ([old], [new]) => self.server(old, new),
            (old, new) => self.wait("broker.server", old != new),
        }
    }

    fn server(&mut self, old: &ExternalBroker, new: &ExternalBroker) {
        let ExternalBroker { url, user, password, client_id, ca_file, client_certificate, alpn, page } = new;
        self.wait("broker.url", old.url != *url);
        self.wait("broker.user", old.user != *user);
        self.wait("broker.password_file", old.password != *password);
        self.wait("broker.client_id", old.client_id != *client_id);
        self.wait("broker.ca_file", old.ca_file != *ca_file);
        self.wait("broker.cert_file or key_file", old.client_certificate != *client_certificate);
        self.wait("broker.alpn", old.alpn != *alpn);
        self.wait("broker.page_url, page_user or page_password_file", old.page != *page);
    }
}

/// A camera port's program is told the rate, which is another key.
fn without_rate(source: &Source) -> Source {
    let mut source = source.clone();
    if let Source::Named(crate::camera::Spec::Csi(csi)) = &mut source {
        csi.bitrate = Bitrate(0);
    }
    source
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::RunArgs;

    fn config(text: &str) -> Config {
        let args = RunArgs { state: Some("/tmp/state".into()), ..RunArgs::default() };
        Config::from_text(&args, Path::new("pinhole.toml"), text).unwrap()
    }

    fn compare(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let (old, new) = (config(&format!("name = \"A\"\n{old}")), config(&format!("name = \"A\"\n{new}")));
        let plan = plan(&old, &new, &vec![RateOf::Encoder; old.cameras.len()]);
        (plan.applied, plan.restart)
    }

    fn applied(old: &str, new: &str) -> Vec<String> {
        let (applied, restart) = compare(old, new);
        assert_eq!(restart, Vec::<String>::new());
        applied
    }

    fn restart(old: &str, new: &str) -> Vec<String> {
        let (applied, restart) = compare(old, new);
        assert_eq!(applied, Vec::<String>::new());
        restart
    }

    #[test]
    fn what_no_session_notices_is_taken_up() {
        assert_eq!(applied("", "[webrtc]\nmax_viewers = 3"), ["webrtc.max_viewers"]);
        let server = "[[webrtc.ice_server]]\nurls = [\"stun:stun.example:3478\"]";
        assert_eq!(applied("", server), ["webrtc.ice_server"]);
        assert_eq!(applied("", "[web]\nnames = [\"cam.example.org\"]"), ["web.names"]);
        assert_eq!(
            applied("", "[camera]\nname = \"Door\"\nbitrate = \"500k\""),
            ["camera.name", "camera.bitrate"]
        );
        let several = "[[camera]]\nid = \"a\"\n[[camera]]\nid = \"b\"\n";
        assert_eq!(applied(several, &format!("{several}bitrate = \"2M\"")), ["camera `b`: bitrate"]);
        assert_eq!(applied("", ""), Vec::<String>::new());
    }

    #[test]
    fn every_other_key_is_told_by_its_name() {
        for (new, key) in [
            ("[camera]\nsource = \"synthetic\"", "camera.source"),
            ("[camera]\nsize = \"640x480\"", "camera.size"),
            ("[camera]\nfps = 10", "camera.fps"),
            ("[camera]\nencoder = \"openh264\"", "camera.encoder"),
            ("[camera]\nrotate = 90", "camera.rotate or flip"),
            ("[camera]\nid = \"door\"", "camera"),
            ("[governor]\nhot = 60", "governor"),
            ("[web]\nlisten = \"8000\"", "web.listen"),
            ("[web]\npage_url = \"https://example.org/\"", "web.page_url"),
            ("[web]\nwhep = false", "web.whep"),
            ("[web]\nannounce = false", "web.announce"),
            ("[web]\nmetrics = \"lan\"", "web.metrics"),
            ("[broker]\nroot = \"other\"", "broker.root"),
            ("[broker]\nlisten = \"1883\"", "broker.listen"),
            ("[broker]\nhub = \"http://hub.local:8480/\"", "broker.hub"),
            ("[broker]\nurl = \"mqtt://b\"", "broker.server"),
            ("[home_assistant]\nurl = \"mqtt://b\"", "home_assistant"),
        ] {
            let told = restart("", new);
            assert_eq!(told.first().map(String::as_str), Some(key), "{new}");
        }
        let (a, b) = ("[broker]\nurl = \"mqtt://a\"\n", "[broker]\nurl = \"mqtt://b\"\nuser = \"x\"\n");
        assert_eq!(restart(a, b), ["broker.url", "broker.user"]);
        let own = "[broker]\nurl = \"wss://b\"\npage_url = \"wss://b/mqtt\"\n";
        assert_eq!(restart(own, &format!("{own}embedded = false")), ["broker.embedded"]);
        assert_eq!(restart("", "[camera]\noverlay = \"time\""), ["camera.overlay"]);
    }

    #[test]
    fn a_name_that_is_written_into_the_picture_waits() {
        let old = "[camera]\noverlay = \"name\"\nname = \"Door\"";
        assert_eq!(restart(old, &old.replace("Door", "Gate")), ["camera.name"]);
    }

    #[test]
    fn a_program_that_was_told_its_rate_waits() {
        let (old, new) = (config(""), config("[camera]\nbitrate = \"500k\""));
        let plan = plan(&old, &new, &[RateOf::Source]);
        assert_eq!((plan.applied, plan.restart), (vec![], vec!["camera.bitrate".to_owned()]));
    }

    #[test]
    fn controls_are_set_and_those_that_are_gone_wait() {
        let (old, new) = (
            config("[camera.controls]\nbrightness = 1\ngain = 2"),
            config("[camera.controls]\nbrightness = 3\nhue = 4"),
        );
        let plan = plan(&old, &new, &[RateOf::Encoder]);
        assert_eq!(plan.applied, ["camera.controls.brightness", "camera.controls.hue"]);
        assert_eq!(plan.restart, ["camera.controls.gain"]);
        let [Change::Controls { changed, .. }] = &plan.changes[..] else { panic!("{plan:?}") };
        assert_eq!(changed.len(), 2);
    }

    #[test]
    fn once_taken_up_a_change_is_none_any_more_and_one_that_waits_still_is() {
        let mut running = config("name = \"A\"");
        let new = config(
            "name = \"B\"\n[camera]\nname = \"C\"\nbitrate = \"1M\"\nfps = 5\n[webrtc]\nmax_viewers = 2\n[web]\nnames = [\"x.org\"]\n[camera.controls]\nhue = 4",
        );
        let first = plan(&running, &new, &[RateOf::Encoder]);
        assert_eq!(first.applied.len(), 6, "{first:?}");
        first.changes.into_iter().for_each(|change| change.note(&mut running));
        let again = plan(&running, &new, &[RateOf::Encoder]);
        assert_eq!((again.applied, again.restart), (vec![], vec!["camera.fps".to_owned()]));
        assert_eq!(again.changes, []);
    }
}
