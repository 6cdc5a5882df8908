//! `pinhole controls DEVICE [NAME=VALUE …]`: lists a camera's controls, or sets some. The running agent is asked if the
//! camera is one of its own, so that it remembers what is set; any other device is opened here, which works also while
//! another program uses it. Not here: what controls are (`camera::controls`).

use std::path::{Path, PathBuf};

use super::{
    CommandError, Stdout,
    place::{self, Agent},
    table::columns,
};
use crate::{
    camera::controls::{Control, ControlDevice, ControlError, Flag, Kind, Setting, describe},
    control::message::{Reply, Request},
};

/// Lists the controls, or sets what is to be set and shows how it is then.
pub(super) fn run(
    sockets: &[PathBuf],
    device: &str,
    settings: &[Setting],
    json: bool,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    let request = Request::Controls { camera: device.to_owned(), settings: settings.to_vec() };
    let controls = match place::agent(sockets, &request)? {
        Agent::Answers(Reply::Controls(controls), _) => controls,
        Agent::Answers(other, _) => return Err(CommandError::unexpected(other)),
        Agent::Without(why) => here(&place::find(device).map_err(|error| why.beside(error))?, settings)?,
    };
    match (json, settings.is_empty()) {
        (true, _) => out.print_json(&controls),
        (false, true) if controls.is_empty() => out.print("this camera has no controls\n"),
        (false, true) => out.print(&listed(&controls)),
        (false, false) => out.print(&set(&controls)),
    }
}

fn here(device: &Path, settings: &[Setting]) -> Result<Vec<Control>, CommandError> {
    let device = ControlDevice::open(device)?;
    if settings.is_empty() {
        return Ok(device.list()?);
    }
    Ok(device.set(settings)?.0)
}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The table: titles of classes between, entries of menus below.
fn listed(controls: &[Control]) -> String {
    let mut rows = vec![["NAME", "TYPE", "VALUE", "DEFAULT", "RANGE AND STATE"].map(str::to_owned).to_vec()];
    for control in controls {
        if control.kind == Kind::Class {
            // A line of its own, which widens no column.
            rows.push(Vec::new());
            continue;
        }
        rows.push(row(control));
    }
    let table = columns(&rows);
    let mut text = String::new();
    let mut lines = table.lines();
    text.push_str(lines.next().unwrap_or_default());
    text.push('\n');
    for (control, line) in controls.iter().zip(lines) {
        match control.kind {
            Kind::Class => text.push_str(&format!("\n{}\n", control.title)),
            _ => text.push_str(&format!("{line}\n")),
        }
        for entry in &control.menu {
            text.push_str(&format!("    {}  {}\n", entry.index, entry.name));
        }
    }
    text
}

fn row(control: &Control) -> Vec<String> {
    let value = |value: &Option<_>| value.as_ref().map(|value| describe(control, value)).unwrap_or_default();
    vec![
        control.name.clone(),
        control.kind.name().to_owned(),
        value(&control.value),
        // The name of a menu's entry is among the entries.
        control.default.as_ref().map_or_else(String::new, |default| {
            let text = describe(control, default);
            text.split(" (").next().unwrap_or_default().to_owned()
        }),
        // Together: some ranges are long, and few controls have anything to say beside theirs.
        [range(control), notes(control)]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
    ]
}

fn range(control: &Control) -> String {
    let Control { minimum, maximum, step, .. } = control;
    match control.kind {
        Kind::Integer | Kind::Integer64 if *step > 1 => format!("{minimum} to {maximum}, step {step}"),
        Kind::Integer | Kind::Integer64 => format!("{minimum} to {maximum}"),
        Kind::Bitmask => format!("{:#x}", *maximum as u32),
        Kind::String if minimum == maximum => format!("{minimum} bytes"),
        Kind::String => format!("{minimum} to {maximum} bytes"),
        Kind::Boolean | Kind::Menu | Kind::IntegerMenu | Kind::Button | Kind::Compound | Kind::Class => {
            String::new()
        }
    }
}

fn notes(control: &Control) -> String {
    let note = |flag: &Flag| match (flag, &control.activate) {
        (Flag::Inactive, Some(setting)) => format!("inactive until {setting}"),
        _ => flag.name().to_owned(),
    };
    // That a button cannot be read goes without saying.
    let shown = |flag: &&Flag| !(control.kind == Kind::Button && **flag == Flag::WriteOnly);
    control.flags.iter().filter(shown).map(note).collect::<Vec<_>>().join(", ")
}

/// What has been set, as it is now.
fn set(controls: &[Control]) -> String {
    let line = |control: &Control| match &control.value {
        Some(value) => format!("{} = {}\n", control.name, describe(control, value)),
        None if control.kind == Kind::Button => format!("{} is pressed\n", control.name),
        None => format!("{} is set\n", control.name),
    };
    controls.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::controls::{MenuEntry, Value, typed_name};

    fn control(title: &str, kind: Kind, (minimum, maximum, step): (i64, i64, u64)) -> Control {
        Control {
            name: typed_name(title),
            title: title.into(),
            id: 1,
            kind,
            minimum,
            maximum,
            step,
            default: Some(Value::Number(3)),
            value: Some(Value::Number(5)),
            menu: Vec::new(),
            flags: Vec::new(),
            activate: None,
        }
    }

    #[test]
    fn the_table_has_titles_ranges_and_entries() {
        let entry = |index, name: &str| MenuEntry { index, name: name.into() };
        let controls = [
            Control { default: None, value: None, ..control("User Controls", Kind::Class, (0, 0, 0)) },
            control("Brightness", Kind::Integer, (0, 255, 1)),
            Control {
                flags: vec![Flag::Inactive, Flag::Volatile],
                activate: Some("gain_automatic=false".parse().unwrap()),
                ..control("Gain", Kind::Integer, (-8, 8, 4))
            },
            Control {
                default: None,
                value: None,
                flags: vec![Flag::WriteOnly],
                ..control("Press", Kind::Button, (0, 0, 0))
            },
            Control { default: None, value: None, ..control("Camera Controls", Kind::Class, (0, 0, 0)) },
            Control {
                menu: vec![entry(3, "Manual Mode"), entry(5, "Auto Mode")],
                flags: vec![Flag::ReadOnly],
                ..control("Auto Exposure", Kind::Menu, (0, 5, 1))
            },
        ];
        let expected = "\
NAME           TYPE     VALUE          DEFAULT  RANGE AND STATE

User Controls
brightness     integer  5              3        0 to 255
gain           integer  5              3        -8 to 8, step 4; inactive until gain_automatic=false, volatile
press          button

Camera Controls
auto_exposure  menu     5 (Auto Mode)  3        read-only
    3  Manual Mode
    5  Auto Mode
";
        assert_eq!(listed(&controls), expected);
    }

    #[test]
    fn what_was_set_is_shown_as_it_is_now() {
        let press = Control { value: None, ..control("Press", Kind::Button, (0, 0, 0)) };
        let shown = set(&[control("Gain", Kind::Integer, (0, 9, 1)), press]);
        assert_eq!(shown, "gain = 5\npress is pressed\n");
    }
}
