//! Writes what was decided: the password, systemd's drop-in, the configuration, in this order, so that no configuration
//! names what is not there; and starts the service anew. Not here: what is written (`plan`).

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::SetupError;

const UNIT: &str = "pinhole.service";
/// Where an administrator's additions to the unit stand (systemd.unit(5)).
const DROP_INS: &str = "/etc/systemd/system/pinhole.service.d";

/// Writes a file as a whole, synced, with this mode. Where `keep` wants it, the old one stays beside it as NAME.bak, and
/// gives the new one its mode.
pub(super) fn write(path: &Path, text: &str, mode: u32, keep: Keep) -> Result<(), SetupError> {
    let failed = |error| SetupError::Write { path: path.to_owned(), error };
    let beside = |end: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(end);
        path.with_file_name(name)
    };
    let mode = match keep {
        // What its owner has chosen stays.
        Keep::Backup => fs::metadata(path).map_or(mode, |there| there.permissions().mode() & 0o777),
        Keep::Nothing => mode,
    };
    let new = beside(&format!(".{}.new", std::process::id()));
    let written = write_new(&new, text, mode).and_then(|()| {
        if keep == Keep::Backup && path.exists() {
            fs::copy(path, beside(".bak"))?;
        }
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(failed)
}

/// Whether the old file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Backup,
    Nothing,
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The mode as it is meant, whatever umask says.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The drop-in's path; its folder is made.
pub(super) fn drop_in_path() -> Result<PathBuf, SetupError> {
    let folder = Path::new(DROP_INS);
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|error| SetupError::Write { path: folder.to_owned(), error })?;
    Ok(folder.join("broker-password.conf"))
}

/// Whether systemd runs here and knows the unit.
pub(super) fn is_service() -> bool {
    Path::new("/run/systemd/system").is_dir() && systemctl(&["cat", UNIT]).is_ok()
}

/// Starts the service with its new configuration, and waits until it can serve.
///
/// # Errors
/// It does not start; where its reason is.
pub(super) fn restart() -> Result<(), SetupError> {
    systemctl(&["daemon-reload"])
        .and_then(|()| systemctl(&["restart", UNIT]))
        .map_err(|_| SetupError::Restart)
}

fn systemctl(arguments: &[&str]) -> io::Result<()> {
    let status = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("systemctl failed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_the_old_one_is_kept() {
        let folder = std::env::temp_dir().join(format!("pinhole-setup-write-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let file = folder.join("pinhole.toml");
        write(&file, "one", 0o600, Keep::Backup).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        write(&file, "two", 0o600, Keep::Backup).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(fs::read_to_string(folder.join("pinhole.toml.bak")).unwrap(), "one");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing else is left");
        let error = write(&folder.join("none/a"), "x", 0o600, Keep::Nothing).unwrap_err().to_string();
        assert!(error.contains("none/a"), "{error}");
        write(&file, "three", 0o600, Keep::Nothing).unwrap();
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "a secret is never readable"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
