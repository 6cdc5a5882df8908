//! How hot the board is, by the kernel's thermal zones (Documentation/driver-api/thermal/sysfs-api.rst). On the camera's
//! thread, which reads it every few seconds, and where somebody asks. Not here: what follows from it (`governor`).

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// It changes slowly, and reading it may ask the firmware.
const EVERY: Duration = Duration::from_secs(5);
/// Where the kernel shows them.
const ZONES: &str = "/sys/class/thermal";
/// °C; what is outside is no temperature of a running board.
const PLAUSIBLE: std::ops::Range<f32> = 1.0..150.0;

/// Reads the temperature from time to time.
#[derive(Debug, Default)]
pub(super) struct Thermometer {
    read: Option<Instant>,
}

impl Thermometer {
    /// °C of the hottest zone, when it is time to look again and there is one.
    pub(super) fn look(&mut self, now: Instant) -> Option<f32> {
        if self.read.is_some_and(|read| now.saturating_duration_since(read) < EVERY) {
            return None;
        }
        self.read = Some(now);
        temperature()
    }
}

/// °C of the hottest zone now, where there is one.
pub fn temperature() -> Option<f32> {
    hottest(Path::new(ZONES))
}

fn hottest(zones: &Path) -> Option<f32> {
    let entries = fs::read_dir(zones).ok()?.flatten();
    let zones = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("thermal_zone"));
    zones.filter_map(|zone| degrees(&zone.path())).max_by(f32::total_cmp)
}

/// The kernel gives thousandths of a degree. A sensor that is switched off gives an error.
fn degrees(zone: &Path) -> Option<f32> {
    let text = fs::read_to_string(zone.join("temp")).ok()?;
    let degrees = text.trim().parse::<i32>().ok()? as f32 / 1000.0;
    PLAUSIBLE.contains(&degrees).then_some(degrees)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_hottest_plausible_zone_counts() {
        let zones = std::env::temp_dir().join(format!("pinhole-thermal-{}", std::process::id()));
        for (name, temp) in [
            ("thermal_zone0", "48200\n"),
            ("thermal_zone1", "61500\n"),
            ("thermal_zone2", "-273000\n"),
            ("thermal_zone3", "999000\n"),
            ("thermal_zone4", "off\n"),
            ("cooling_device0", "99000\n"),
        ] {
            fs::create_dir_all(zones.join(name)).unwrap();
            fs::write(zones.join(name).join("temp"), temp).unwrap();
        }
        assert_eq!(hottest(&zones), Some(61.5));
        fs::remove_dir_all(&zones).unwrap();
        assert_eq!(hottest(&zones), None);
    }

    #[test]
    fn it_is_not_read_more_often_than_it_changes() {
        let (mut thermometer, now) = (Thermometer::default(), clock::now());
        thermometer.look(now);
        assert_eq!(thermometer.look(now + EVERY / 2), None);
        assert_eq!(thermometer.read, Some(now));
        thermometer.look(now + EVERY);
        assert_eq!(thermometer.read, Some(now + EVERY));
    }
}
