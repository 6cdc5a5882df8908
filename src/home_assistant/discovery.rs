//! What Home Assistant is told that there is: one message for the device with all its entities, by MQTT discovery's device
//! form (home-assistant.io, "MQTT Discovery", since 2024.11). Pure. Not here: the values (`values`), and what it may ask
//! for (`command`).

use serde_json::{Map, Value, json};

use crate::{
    camera::controls::{Control, Flag, Kind, Value as ControlValue},
    signal::topic::DeviceId,
};

/// The topics below which everything of this device stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics {
    /// Home Assistant's own first level.
    pub prefix: String,
    pub device: DeviceId,
}

impl Topics {
    fn base(&self) -> String {
        format!("pinhole-ha/{}", self.device)
    }

    /// Where the device's discovery is kept.
    pub(super) fn discovery(&self) -> String {
        format!("{}/device/pinhole_{}/config", self.prefix, self.device)
    }

    /// Where Home Assistant says that it has started.
    pub(super) fn birth(&self) -> String {
        format!("{}/status", self.prefix)
    }

    /// `online` or `offline`, kept.
    pub(super) fn availability(&self) -> String {
        format!("{}/availability", self.base())
    }

    /// All values, as one JSON object, kept.
    pub(super) fn state(&self) -> String {
        format!("{}/state", self.base())
    }

    /// A camera's picture, a JPEG, kept.
    pub(super) fn picture(&self, camera: &str) -> String {
        format!("{}/camera/{camera}/picture", self.base())
    }

    /// A camera's controls with their values, as one JSON object, kept.
    pub(super) fn controls(&self, camera: &str) -> String {
        format!("{}/camera/{camera}/controls", self.base())
    }

    /// What comes after it says what is wanted: `privacy`, `restart`, `camera/ID/CONTROL`.
    pub(super) fn set(&self) -> String {
        format!("{}/set/", self.base())
    }
}

/// A camera, as far as it is announced.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Camera {
    pub id: String,
    pub name: String,
    /// Those that can be set.
    pub controls: Vec<Control>,
}

/// The device, as far as it is announced.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    pub name: String,
    pub cameras: Vec<Camera>,
    pub pictures: Wanted,
    /// Whether Home Assistant may change anything.
    pub commands: Wanted,
    /// Whether somebody starts the agent again when it ends.
    pub restart: Wanted,
    pub temperature: Wanted,
    /// The page, for people.
    pub page: Option<String>,
}

/// Whether there is an entity for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    No,
}

/// The message.
pub(super) fn payload(topics: &Topics, device: &Device) -> Value {
    let mut entities = Entities { topics, all: Map::new() };
    entities.device(device);
    for camera in &device.cameras {
        entities.camera(camera, device);
    }
    let mut about = json!({
        "identifiers": [format!("pinhole_{}", topics.device)],
        "name": device.name,
        "manufacturer": "pinhole",
        "model": "camera agent",
        "sw_version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(page) = &device.page {
        about["configuration_url"] = page.clone().into();
    }
    json!({
        "device": about,
        "origin": { "name": "pinhole", "sw_version": env!("CARGO_PKG_VERSION") },
        "availability_topic": topics.availability(),
        "qos": 1,
        "components": entities.all,
    })
}

struct Entities<'a> {
    topics: &'a Topics,
    all: Map<String, Value>,
}

impl Entities<'_> {
    /// Adds an entity; `id` is its own among the device's, for ever.
    fn add(&mut self, platform: &str, id: &str, name: Option<&str>, mut entity: Value) {
        entity["platform"] = platform.into();
        entity["unique_id"] = format!("pinhole_{}_{id}", self.topics.device).into();
        // Without a name it is the device's main one.
        entity["name"] = name.into();
        self.all.insert(id.to_owned(), entity);
    }

    /// A number of the state.
    fn number(&mut self, id: &str, name: &str, path: &str, unit: Option<&str>, class: Option<&str>) {
        let mut entity = json!({
            "state_topic": self.topics.state(),
            "value_template": format!("{{{{ value_json.{path} }}}}"),
            "state_class": "measurement",
        });
        if let Some(unit) = unit {
            entity["unit_of_measurement"] = unit.into();
        }
        if let Some(class) = class {
            entity["device_class"] = class.into();
        }
        self.add("sensor", id, Some(name), entity);
    }

    fn device(&mut self, device: &Device) {
        self.number("viewers", "Viewers", "viewers", None, None);
        if device.temperature == Wanted::Yes {
            self.number("temperature", "Temperature", "temperature", Some("°C"), Some("temperature"));
            self.all["temperature"]["entity_category"] = "diagnostic".into();
        }
        let problem = json!({
            "state_topic": self.topics.state(),
            "value_template": "{{ value_json.problem }}",
            "entity_category": "diagnostic",
        });
        self.add("sensor", "problem", Some("Problem"), problem);
        if device.commands == Wanted::No {
            let privacy = json!({
                "state_topic": self.topics.state(),
                "value_template": "{{ value_json.privacy }}",
                "payload_on": "on",
                "payload_off": "off",
                "icon": "mdi:eye-off",
            });
            self.add("binary_sensor", "privacy_shown", Some("Privacy"), privacy);
            return;
        }
        let privacy = json!({
            "state_topic": self.topics.state(),
            "value_template": "{{ value_json.privacy }}",
            "command_topic": format!("{}privacy", self.topics.set()),
            "payload_on": "on",
            "payload_off": "off",
            "icon": "mdi:eye-off",
        });
        self.add("switch", "privacy", Some("Privacy"), privacy);
        if device.restart == Wanted::Yes {
            let restart = json!({
                "command_topic": format!("{}restart", self.topics.set()),
                "device_class": "restart",
                "entity_category": "config",
            });
            self.add("button", "restart", Some("Restart"), restart);
        }
    }

    fn camera(&mut self, camera: &Camera, device: &Device) {
        let Camera { id, name, controls } = camera;
        // A device with one camera is that camera: its entities need no name before theirs.
        let of =
            |what: &str| if device.cameras.len() == 1 { what.to_owned() } else { format!("{name} {what}") };
        if device.pictures == Wanted::Yes {
            let entity = json!({ "topic": self.topics.picture(id) });
            let name = Some(name.as_str()).filter(|_| device.cameras.len() > 1);
            self.add("camera", &format!("{id}_picture"), name, entity);
        }
        let path = |what: &str| format!("cameras['{id}'].{what}");
        let bitrate = of("bit rate");
        self.number(
            &format!("{id}_bitrate"),
            &upper(&bitrate),
            &path("kbit_s"),
            Some("kbit/s"),
            Some("data_rate"),
        );
        self.number(&format!("{id}_fps"), &upper(&of("frames per second")), &path("fps"), Some("fps"), None);
        if device.cameras.len() > 1 {
            self.number(&format!("{id}_viewers"), &upper(&of("viewers")), &path("viewers"), None, None);
        }
        if device.commands == Wanted::Yes {
            for control in controls {
                self.control(id, control, &of(&control.title));
            }
        }
    }

    fn control(&mut self, camera: &str, control: &Control, name: &str) {
        let mut entity = json!({
            "command_topic": format!("{}camera/{camera}/{}", self.topics.set(), control.name),
            "entity_category": "config",
            // Those that a driver has for experts would fill a page.
            "enabled_by_default": EVERYDAY.iter().any(|known| control.name.starts_with(known)),
        });
        if control.kind != Kind::Button {
            entity["state_topic"] = self.topics.controls(camera).into();
            entity["value_template"] = format!("{{{{ value_json['{}'] }}}}", control.name).into();
        }
        let platform = match control.kind {
            Kind::Integer | Kind::Integer64 => {
                entity["min"] = control.minimum.into();
                entity["max"] = control.maximum.into();
                entity["step"] = control.step.max(1).into();
                "number"
            }
            Kind::Boolean => {
                entity["payload_on"] = "true".into();
                entity["payload_off"] = "false".into();
                "switch"
            }
            Kind::Menu | Kind::IntegerMenu => {
                entity["options"] = control.menu.iter().map(|entry| entry.name.as_str()).collect::<Value>();
                "select"
            }
            Kind::Button => "button",
            Kind::Bitmask | Kind::String | Kind::Compound | Kind::Class => return,
        };
        self.add(platform, &format!("{camera}_{}", control.name), Some(name), entity);
    }
}

/// What people set of a camera.
const EVERYDAY: [&str; 9] = [
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "gain",
    "exposure",
    "auto_exposure",
    "white_balance",
    "focus",
];

/// With a capital, as Home Assistant writes names.
fn upper(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Whether a control is announced at all.
pub(super) fn is_offered(control: &Control) -> bool {
    let hidden = [Flag::Disabled, Flag::ReadOnly, Flag::WriteOnly];
    if control.kind == Kind::Button {
        return !control.is(Flag::Disabled);
    }
    // What has one value alone, or names that are alike, Home Assistant does not take.
    let names: std::collections::BTreeSet<&str> =
        control.menu.iter().map(|entry| entry.name.as_str()).collect();
    let has_values = match control.kind {
        Kind::Integer | Kind::Integer64 => control.minimum < control.maximum,
        Kind::Menu | Kind::IntegerMenu => !names.is_empty() && names.len() == control.menu.len(),
        Kind::Boolean => true,
        Kind::Button | Kind::Bitmask | Kind::String | Kind::Compound | Kind::Class => false,
    };
    has_values && !hidden.iter().any(|flag| control.is(*flag))
}

/// A control's value as its entity has it.
pub(super) fn control_value(control: &Control) -> Value {
    match (&control.value, control.kind) {
        (Some(ControlValue::Boolean(on)), _) => if *on { "true" } else { "false" }.into(),
        (Some(ControlValue::Number(number)), Kind::Menu | Kind::IntegerMenu) => {
            let entry = control.menu.iter().find(|entry| i64::from(entry.index) == *number);
            entry.map_or(Value::Null, |entry| entry.name.as_str().into())
        }
        (Some(ControlValue::Number(number)), _) => (*number).into(),
        (Some(ControlValue::Text(text)), _) => text.as_str().into(),
        (None, _) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::controls::MenuEntry;

    fn control(name: &str, kind: Kind) -> Control {
        Control {
            name: name.into(),
            title: upper(&name.replace('_', " ")),
            id: 1,
            kind,
            minimum: 0,
            maximum: 255,
            step: 5,
            default: None,
            value: Some(ControlValue::Number(1)),
            menu: Vec::new(),
            flags: Vec::new(),
            activate: None,
        }
    }

    fn topics() -> Topics {
        Topics { prefix: "homeassistant".into(), device: DeviceId::parse("abcdefghijkl2345").unwrap() }
    }

    fn device() -> Device {
        let menu = vec![
            MenuEntry { index: 0, name: "Auto Mode".into() },
            MenuEntry { index: 1, name: "Manual Mode".into() },
        ];
        let controls = vec![
            control("brightness", Kind::Integer),
            Control { menu, ..control("auto_exposure", Kind::Menu) },
            control("horizontal_flip", Kind::Boolean),
            control("reset", Kind::Button),
            control("matrix", Kind::Compound),
        ];
        Device {
            name: "Porch".into(),
            cameras: vec![Camera { id: "cam0".into(), name: "Porch".into(), controls }],
            pictures: Wanted::Yes,
            commands: Wanted::Yes,
            restart: Wanted::Yes,
            temperature: Wanted::Yes,
            page: None,
        }
    }

    #[test]
    fn everything_has_an_entity_of_its_kind() {
        let payload = payload(&topics(), &device());
        let entities = payload["components"].as_object().unwrap();
        let kinds: Vec<(&str, &str)> =
            entities.iter().map(|(id, entity)| (id.as_str(), entity["platform"].as_str().unwrap())).collect();
        let expected = [
            ("cam0_auto_exposure", "select"),
            ("cam0_bitrate", "sensor"),
            ("cam0_brightness", "number"),
            ("cam0_fps", "sensor"),
            ("cam0_horizontal_flip", "switch"),
            ("cam0_picture", "camera"),
            ("cam0_reset", "button"),
            ("privacy", "switch"),
            ("problem", "sensor"),
            ("restart", "button"),
            ("temperature", "sensor"),
            ("viewers", "sensor"),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(entities["cam0_brightness"]["max"], 255);
        assert_eq!(entities["cam0_brightness"]["step"], 5);
        assert_eq!(entities["cam0_auto_exposure"]["options"], json!(["Auto Mode", "Manual Mode"]));
        assert_eq!(entities["cam0_brightness"]["enabled_by_default"], true);
        assert_eq!(entities["cam0_reset"]["enabled_by_default"], false);
        let ids: std::collections::BTreeSet<&str> =
            entities.values().map(|entity| entity["unique_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), expected.len());
        assert_eq!(payload["availability_topic"], "pinhole-ha/abcdefghijkl2345/availability");
        assert_eq!(topics().discovery(), "homeassistant/device/pinhole_abcdefghijkl2345/config");
    }

    #[test]
    fn what_may_not_be_changed_has_no_entity_for_that() {
        let device =
            Device { commands: Wanted::No, pictures: Wanted::No, temperature: Wanted::No, ..device() };
        let payload = payload(&topics(), &device);
        let ids: Vec<&String> = payload["components"].as_object().unwrap().keys().collect();
        assert_eq!(ids, ["cam0_bitrate", "cam0_fps", "privacy_shown", "problem", "viewers"]);
        assert!(!payload.to_string().contains("command_topic"));
    }

    #[test]
    fn several_cameras_are_told_apart_by_name() {
        let mut device = device();
        device.cameras[0].name = "Front".into();
        device.cameras.push(Camera { id: "back".into(), name: "Back".into(), controls: Vec::new() });
        let payload = payload(&topics(), &device);
        assert_eq!(payload["components"]["back_picture"]["name"], "Back");
        assert_eq!(payload["components"]["cam0_fps"]["name"], "Front frames per second");
    }

    #[test]
    fn values_are_written_as_their_entities_read_them() {
        let menu = vec![MenuEntry { index: 1, name: "Manual Mode".into() }];
        assert_eq!(control_value(&Control { menu, ..control("a", Kind::Menu) }), "Manual Mode");
        assert_eq!(
            control_value(&control("a", Kind::Menu)),
            Value::Null,
            "an entry that the menu does not have"
        );
        assert_eq!(control_value(&control("a", Kind::Integer)), 1);
        let on = Control { value: Some(ControlValue::Boolean(true)), ..control("a", Kind::Boolean) };
        assert_eq!(control_value(&on), "true");
        let hidden = Control { flags: vec![Flag::ReadOnly], ..control("a", Kind::Integer) };
        assert!(is_offered(&control("a", Kind::Integer)) && !is_offered(&hidden));
        let fixed = Control { maximum: 0, ..control("a", Kind::Integer) };
        assert!(!is_offered(&fixed) && !is_offered(&control("a", Kind::Menu)));
    }
}
