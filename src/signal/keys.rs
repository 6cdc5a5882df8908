//! The state folder: the device's id (`device.json`), its viewers' keys (`viewers.json`), and the key by which other
//! agents' brokers know it (`login.json`). Blocks on the disk:
//! call it from a blocking task, not from the desk's. Not here: how keys come about (`pairing`).
//!
//! A file is written beside the old one, synced, and renamed over it, so that a power cut leaves one or the other.
//! Nothing here is ever made anew because it could not be read: that would lock every viewer out without a word.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{
    envelope::{ViewerKey, from_base64, to_base64},
    login::{LoginKey, SEED_BYTES},
    message::Role,
    topic::{DeviceId, KeyId},
    whep::token::TokenHash,
};

/// Viewers that a device knows at most.
pub const MAX_VIEWERS: usize = 256;
/// Bytes of a state file that are read at most; 256 viewers need less than a tenth.
const MAX_FILE: u64 = 1024 * 1024;
/// 2020-01-01, in seconds since 1970: a clock before it was never set.
const CLOCK_IS_SET: u64 = 1_577_836_800;

const DEVICE_FILE: &str = "device.json";
const VIEWERS_FILE: &str = "viewers.json";
const LOGIN_FILE: &str = "login.json";

/// A viewer that was paired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewerRecord {
    /// `k`.
    pub id: KeyId,
    /// `K_v`.
    pub key: ViewerKey,
    pub role: Role,
    /// For people; printable, at most 64 characters.
    pub name: String,
    /// Seconds since 1970; `None` where the clock was not set.
    pub paired_at: Option<u64>,
    /// When it was last heard of, as far as that was saved; the same.
    pub seen_at: Option<u64>,
    /// When its key ends, in seconds since 1970; `None`: never.
    pub expires_at: Option<u64>,
    /// Of a WHEP client, whose `K_v` nobody was ever told: what it proves itself with instead.
    pub token: Option<TokenHash>,
}

impl ViewerRecord {
    /// A viewer that was not saved yet, and does not expire.
    pub const fn new(id: KeyId, key: ViewerKey, role: Role, name: String) -> Self {
        Self { id, key, role, name, paired_at: None, seen_at: None, expires_at: None, token: None }
    }
}

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("cannot {action} {}: {error}; {remedy}", .path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error, remedy: &'static str },
    #[error("{} is used by another pinhole: stop it, or give this one a state folder of its own", .0.display())]
    InUse(PathBuf),
    #[error("the state folder {} may be changed by others (mode {mode:04o}): run chmod 700 on it, and pair \
             again if you do not trust everybody on this machine", .path.display())]
    OpenFolder { path: PathBuf, mode: u32 },
    #[error("the keys in {} may be read by others (mode {mode:04o}): run chmod 600 on it, and pair again if you \
             do not trust everybody on this machine", .path.display())]
    OpenFile { path: PathBuf, mode: u32 },
    #[error("cannot understand {}: {reason}; restore it from a backup, or move it away, {loss}", .path.display())]
    Malformed { path: PathBuf, reason: String, loss: &'static str },
    #[error("{} is missing beside {VIEWERS_FILE}: restore it from a backup, or move {VIEWERS_FILE} away too, \
             which begins anew without any viewer", .0.display())]
    DeviceMissing(PathBuf),
    #[error("{MAX_VIEWERS} viewers are paired, and there is no room for more: revoke one first")]
    Full,
}

/// The state folder, locked for this process.
#[derive(Debug)]
pub struct KeyStore {
    folder: PathBuf,
    /// Open for its lock.
    _lock: File,
    device: DeviceId,
    viewers: Vec<ViewerRecord>,
}

impl KeyStore {
    /// Opens the state folder; makes it, and the device's id, when there is none.
    ///
    /// # Errors
    /// When the folder cannot be used; the message says what to do.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        let lock = open_folder(folder)?;
        let viewers = read_file::<ViewersFile>(&folder.join(VIEWERS_FILE), LOSS_OF_VIEWERS)?;
        let device = read_file::<DeviceFile>(&folder.join(DEVICE_FILE), LOSS_OF_DEVICE)?;
        let device = match (device, &viewers) {
            (Some(file), _) => file.check(folder)?,
            (None, Some(_)) => return Err(KeyError::DeviceMissing(folder.join(DEVICE_FILE))),
            (None, None) => make_device(folder)?,
        };
        let viewers = viewers.map_or(Ok(Vec::new()), |file| file.check(folder))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock, device, viewers })
    }

    /// The device's id.
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// The key by which other agents' brokers know the device; made when it is first asked for.
    ///
    /// # Errors
    /// When it cannot be read, or not be saved.
    pub fn login_key(&self) -> Result<LoginKey, KeyError> {
        let path = self.folder.join(LOGIN_FILE);
        if let Some(file) = read_file::<LoginFile>(&path, LOSS_OF_LOGIN)? {
            return file.check(self.device, &path);
        }
        let mut seed = [0; SEED_BYTES];
        random(&mut seed);
        write_file(&self.folder, LOGIN_FILE, &LoginFile { v: 1, seed: to_base64(&seed) })?;
        Ok(LoginKey::from_seed(self.device, &seed))
    }

    /// All viewers, in the order in which they were paired.
    pub fn viewers(&self) -> &[ViewerRecord] {
        &self.viewers
    }

    /// Saves a viewer. `since_epoch` is the wall clock's, for people.
    ///
    /// # Errors
    /// When it cannot be saved; then it is not a viewer.
    pub fn add(&mut self, mut record: ViewerRecord, since_epoch: Duration) -> Result<(), KeyError> {
        if self.viewers.len() >= MAX_VIEWERS {
            return Err(KeyError::Full);
        }
        record.paired_at = date(since_epoch);
        let mut viewers = self.viewers.clone();
        viewers.retain(|viewer| viewer.id != record.id);
        viewers.push(record);
        self.save(viewers)
    }

    /// Removes a viewer; says whether there was one.
    ///
    /// # Errors
    /// When the change cannot be saved; then the viewer stays.
    pub fn remove(&mut self, id: KeyId) -> Result<bool, KeyError> {
        let left: Vec<_> = self.viewers.iter().filter(|viewer| viewer.id != id).cloned().collect();
        if left.len() == self.viewers.len() {
            return Ok(false);
        }
        self.save(left).map(|()| true)
    }

    /// Saves when viewers were last heard of, in seconds since 1970; writes nothing when nothing is new.
    ///
    /// # Errors
    /// When it cannot be saved; then nothing has changed.
    pub fn note_seen(&mut self, seen: &BTreeMap<KeyId, u64>) -> Result<(), KeyError> {
        let mut viewers = self.viewers.clone();
        for viewer in &mut viewers {
            viewer.seen_at = seen.get(&viewer.id).copied().or(viewer.seen_at);
        }
        if viewers == self.viewers { Ok(()) } else { self.save(viewers) }
    }

    fn save(&mut self, viewers: Vec<ViewerRecord>) -> Result<(), KeyError> {
        let viewers_file = ViewersFile { v: 1, viewers: viewers.iter().map(RawViewer::from).collect() };
        write_file(&self.folder, VIEWERS_FILE, &viewers_file)?;
        self.viewers = viewers;
        Ok(())
    }
}

/// The wall clock's time in seconds since 1970; `None` while nobody has set the clock.
pub fn date(since_epoch: Duration) -> Option<u64> {
    Some(since_epoch.as_secs()).filter(|&seconds| seconds >= CLOCK_IS_SET)
}

/// Fills `bytes` from the kernel's generator.
pub fn random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("Linux gives random bytes to whoever asks, since 3.17");
}

const LOSS_OF_VIEWERS: &str = "and pair every viewer again";
const LOSS_OF_LOGIN: &str = "and give the hub the new key that pinhole device-key prints";
const LOSS_OF_DEVICE: &str = "together with viewers.json, and pair every viewer again";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    v: u32,
    device: String,
}

impl DeviceFile {
    fn check(self, folder: &Path) -> Result<DeviceId, KeyError> {
        let path = || folder.join(DEVICE_FILE);
        check_version(self.v, path, LOSS_OF_DEVICE)?;
        DeviceId::parse(&self.device)
            .ok_or_else(|| malformed(path(), "\"device\" is not a device's id", LOSS_OF_DEVICE))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFile {
    v: u32,
    /// base64url.
    seed: String,
}

impl LoginFile {
    fn check(self, device: DeviceId, path: &Path) -> Result<LoginKey, KeyError> {
        check_version(self.v, || path.to_owned(), LOSS_OF_LOGIN)?;
        let seed: Option<[u8; SEED_BYTES]> = from_base64(&self.seed).and_then(|seed| seed.try_into().ok());
        let seed = seed.ok_or_else(|| malformed(path.to_owned(), "\"seed\" is no key", LOSS_OF_LOGIN))?;
        Ok(LoginKey::from_seed(device, &seed))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewersFile {
    v: u32,
    viewers: Vec<RawViewer>,
}

impl ViewersFile {
    fn check(self, folder: &Path) -> Result<Vec<ViewerRecord>, KeyError> {
        let path = || folder.join(VIEWERS_FILE);
        check_version(self.v, path, LOSS_OF_VIEWERS)?;
        let mut viewers: Vec<ViewerRecord> = Vec::with_capacity(self.viewers.len());
        for (at, raw) in self.viewers.into_iter().enumerate() {
            let viewer = raw.check().filter(|new| viewers.iter().all(|viewer| viewer.id != new.id));
            let reason =
                || format!("viewer {} has a wrong key, or an id that is wrong or comes twice", at + 1);
            viewers.push(viewer.ok_or_else(|| malformed(path(), reason(), LOSS_OF_VIEWERS))?);
        }
        Ok(viewers)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawViewer {
    k: String,
    /// base64url.
    key: String,
    role: Role,
    name: String,
    paired_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// base64url of its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl From<&ViewerRecord> for RawViewer {
    fn from(record: &ViewerRecord) -> Self {
        Self {
            k: record.id.to_string(),
            key: to_base64(record.key.as_bytes()),
            role: record.role,
            name: record.name.clone(),
            paired_at: record.paired_at,
            seen_at: record.seen_at,
            expires_at: record.expires_at,
            token: record.token.map(TokenHash::to_text),
        }
    }
}

impl RawViewer {
    fn check(self) -> Option<ViewerRecord> {
        Some(ViewerRecord {
            id: KeyId::parse(&self.k)?,
            key: ViewerKey::from_bytes(from_base64(&self.key)?.try_into().ok()?),
            role: self.role,
            name: self.name,
            paired_at: self.paired_at,
            seen_at: self.seen_at,
            expires_at: self.expires_at,
            // A token that cannot be read is not the same as none.
            token: self.token.map(|token| TokenHash::parse(&token).ok_or(())).transpose().ok()?,
        })
    }
}

fn check_version(version: u32, path: impl Fn() -> PathBuf, loss: &'static str) -> Result<(), KeyError> {
    if version == 1 {
        return Ok(());
    }
    let reason = format!("it is of version {version}, and this pinhole knows version 1");
    Err(malformed(path(), reason, loss))
}

fn malformed(path: PathBuf, reason: impl Into<String>, loss: &'static str) -> KeyError {
    KeyError::Malformed { path, reason: reason.into(), loss }
}

/// Turns an error of the system into ours.
fn failed<'a>(
    action: &'static str,
    path: &'a Path,
    remedy: &'static str,
) -> impl FnOnce(io::Error) -> KeyError + 'a {
    move |error| KeyError::Io { action, path: path.to_owned(), error, remedy }
}

const CHECK_OWNER: &str = "check that it belongs to the user that pinhole runs as";
const CHECK_DISK: &str = "check that the disk is neither full nor read-only, and the folder's owner";

/// The device's id, for who only looks: it takes no lock, and makes none. `None`: there is none yet, or it may not be read.
pub fn device_in(folder: &Path) -> Option<DeviceId> {
    read_file::<DeviceFile>(&folder.join(DEVICE_FILE), LOSS_OF_DEVICE).ok().flatten()?.check(folder).ok()
}

/// The same, and where there is none an id that nobody has.
pub fn some_device(folder: Option<&Path>) -> DeviceId {
    folder.and_then(device_in).unwrap_or_else(|| {
        let mut bytes = [0; 10];
        random(&mut bytes);
        DeviceId::from_random(bytes)
    })
}

fn open_folder(folder: &Path) -> Result<File, KeyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(
        "make the state folder",
        folder,
        CHECK_DISK,
    ))?;
    let lock = File::open(folder).map_err(failed("open the state folder", folder, CHECK_OWNER))?;
    let metadata = lock.metadata().map_err(failed("examine the state folder", folder, CHECK_OWNER))?;
    // Listing it harms nothing (systemd makes 0755 by default); who may write in it can replace the keys.
    if metadata.mode() & 0o022 != 0 {
        return Err(KeyError::OpenFolder { path: folder.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(KeyError::InUse(folder.to_owned())),
        Err(fs::TryLockError::Error(error)) => {
            Err(failed("lock the state folder", folder, "use a folder on a local disk")(error))
        }
    }
}

fn make_device(folder: &Path) -> Result<DeviceId, KeyError> {
    let mut bytes = [0; 10];
    random(&mut bytes);
    let device = DeviceId::from_random(bytes);
    write_file(folder, DEVICE_FILE, &DeviceFile { v: 1, device: device.to_string() })?;
    Ok(device)
}

pub(crate) fn read_file<T: DeserializeOwned>(path: &Path, loss: &'static str) -> Result<Option<T>, KeyError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("open", path, CHECK_OWNER))?,
    };
    let metadata = file.metadata().map_err(failed("examine", path, CHECK_OWNER))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(KeyError::OpenFile { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    let mut json = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut json).map_err(failed("read", path, CHECK_OWNER))?;
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(|error| malformed(path.to_owned(), error.to_string(), loss))
}

pub(crate) fn write_file<T: Serialize>(folder: &Path, name: &str, content: &T) -> Result<(), KeyError> {
    let path = folder.join(name);
    let mut json = serde_json::to_vec_pretty(content).expect("strings, numbers and lists are always JSON");
    json.push(b'\n');
    replace(folder, &path, &json).map_err(failed("write", &path, CHECK_DISK))
}

fn replace(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // What is left of a failed attempt holds keys; the failure itself is what is reported.
        let _ = fs::remove_file(&temporary);
    }
    // The rename itself is on the disk only when the folder is.
    renamed.and_then(|()| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process};

    use super::*;

    const TODAY: Duration = Duration::from_secs(1_790_000_000);

    /// A folder that goes when the test does.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("pinhole-keys-{}-{name}", process::id()));
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }

        fn write(&self, name: &str, content: &str) {
            fs::write(self.0.join(name), content).unwrap();
            self.chmod(name, 0o600);
        }

        fn chmod(&self, name: &str, mode: u32) {
            fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn mode(&self, name: &str) -> u32 {
            fs::metadata(self.0.join(name)).unwrap().mode() & 0o7777
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn record(id: u8) -> ViewerRecord {
        let (id, key) = (KeyId::from_bytes([id; 8]), ViewerKey::from_bytes([id; 32]));
        ViewerRecord::new(id, key, Role::View, format!("viewer {id}"))
    }

    #[test]
    fn keeps_device_and_viewers() {
        let folder = Folder::new("keeps");
        let mut store = KeyStore::open(&folder.0).unwrap();
        let device = store.device();
        for id in 1..=3 {
            store.add(record(id), TODAY).unwrap();
        }
        assert!(store.remove(KeyId::from_bytes([2; 8])).unwrap());
        assert!(!store.remove(KeyId::from_bytes([2; 8])).unwrap());
        drop(store);
        let store = KeyStore::open(&folder.0).unwrap();
        assert_eq!(store.device(), device);
        let paired_at = Some(TODAY.as_secs());
        assert_eq!(
            store.viewers(),
            [ViewerRecord { paired_at, ..record(1) }, ViewerRecord { paired_at, ..record(3) }]
        );
        assert_eq!(
            [folder.mode(DEVICE_FILE), folder.mode(VIEWERS_FILE), folder.mode("")],
            [0o600, 0o600, 0o700]
        );
        let names = fs::read_dir(&folder.0).unwrap().count();
        assert_eq!(names, 2, "nothing temporary is left");
    }

    #[test]
    fn the_login_key_is_made_once_and_kept_from_others() {
        let folder = Folder::new("login");
        let store = KeyStore::open(&folder.0).unwrap();
        let public = store.login_key().unwrap().public();
        assert_eq!(store.login_key().unwrap().public(), public);
        assert_eq!(folder.mode(LOGIN_FILE), 0o600);
        drop(store);
        let store = KeyStore::open(&folder.0).unwrap();
        assert_eq!(store.login_key().unwrap().public(), public);
        folder.write(LOGIN_FILE, r#"{"v":1,"seed":"AAAA"}"#);
        let error = store.login_key().unwrap_err().to_string();
        assert!(error.contains("login.json") && error.contains("pinhole device-key"), "{error}");
        folder.chmod(LOGIN_FILE, 0o640);
        assert!(matches!(store.login_key(), Err(KeyError::OpenFile { mode: 0o640, .. })));
    }

    #[test]
    fn a_clock_that_was_never_set_gives_no_date() {
        let folder = Folder::new("clock");
        let mut store = KeyStore::open(&folder.0).unwrap();
        store.add(record(1), Duration::from_secs(86_400)).unwrap();
        assert_eq!(store.viewers()[0].paired_at, None);
    }

    #[test]
    fn keeps_when_viewers_were_seen_and_when_they_expire() {
        let folder = Folder::new("times");
        let mut store = KeyStore::open(&folder.0).unwrap();
        store.add(ViewerRecord { expires_at: Some(1_800_000_000), ..record(1) }, TODAY).unwrap();
        store.add(record(2), TODAY).unwrap();
        let written = |folder: &Folder| fs::metadata(folder.0.join(VIEWERS_FILE)).unwrap().ino();
        let before = written(&folder);
        store.note_seen(&BTreeMap::from([(record(9).id, 5)])).unwrap();
        assert_eq!(written(&folder), before, "nothing is new of those who are there");
        store.note_seen(&BTreeMap::from([(record(2).id, 1_790_000_060)])).unwrap();
        drop(store);
        let store = KeyStore::open(&folder.0).unwrap();
        let times = |viewer: &ViewerRecord| (viewer.seen_at, viewer.expires_at);
        assert_eq!(times(&store.viewers()[0]), (None, Some(1_800_000_000)));
        assert_eq!(times(&store.viewers()[1]), (Some(1_790_000_060), None));
    }

    #[test]
    fn nothing_unreadable_is_made_anew() {
        let folder = Folder::new("malformed");
        drop(KeyStore::open(&folder.0).unwrap());
        let viewer = r#"{"k":"0101010101010101","key":"AQ","role":"view","name":"","paired_at":null}"#;
        for content in [
            "",
            "{",
            r#"{"v":2,"viewers":[]}"#,
            r#"{"v":1,"viewers":[],"x":0}"#,
            &format!(r#"{{"v":1,"viewers":[{viewer}]}}"#),
        ] {
            folder.write(VIEWERS_FILE, content);
            let error = KeyStore::open(&folder.0).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, KeyError::Malformed { .. }), "{text}");
            assert!(text.contains("viewers.json") && text.contains("pair every viewer again"), "{text}");
            assert_eq!(fs::read_to_string(folder.0.join(VIEWERS_FILE)).unwrap(), content);
        }
        folder.write(VIEWERS_FILE, r#"{"v":1,"viewers":[]}"#);
        folder.write(DEVICE_FILE, r#"{"v":1,"device":"../../etc"}"#);
        assert!(matches!(KeyStore::open(&folder.0), Err(KeyError::Malformed { .. })));
        fs::remove_file(folder.0.join(DEVICE_FILE)).unwrap();
        assert!(matches!(KeyStore::open(&folder.0), Err(KeyError::DeviceMissing(_))));
    }

    #[test]
    fn keys_open_to_others_are_refused() {
        let folder = Folder::new("modes");
        KeyStore::open(&folder.0).unwrap().add(record(1), TODAY).unwrap();
        folder.chmod(VIEWERS_FILE, 0o640);
        let text = KeyStore::open(&folder.0).unwrap_err().to_string();
        assert!(text.contains("0640") && text.contains("chmod 600"), "{text}");
        folder.chmod(VIEWERS_FILE, 0o600);
        folder.chmod("", 0o775);
        assert!(matches!(KeyStore::open(&folder.0), Err(KeyError::OpenFolder { mode: 0o775, .. })));
        folder.chmod("", 0o755);
        assert!(KeyStore::open(&folder.0).is_ok(), "as systemd makes it");
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = Folder::new("lock");
        let first = KeyStore::open(&folder.0).unwrap();
        assert!(matches!(KeyStore::open(&folder.0), Err(KeyError::InUse(_))));
        drop(first);
        assert!(KeyStore::open(&folder.0).is_ok());
    }

    #[test]
    fn what_cannot_be_saved_is_not_a_viewer() {
        let folder = Folder::new("unsaved");
        let mut store = KeyStore::open(&folder.0).unwrap();
        // A folder in the place of the temporary file stops root, too.
        fs::create_dir(folder.0.join("viewers.new")).unwrap();
        let text = store.add(record(1), TODAY).unwrap_err().to_string();
        assert!(text.contains("viewers.json") && text.contains("disk"), "{text}");
        assert!(store.viewers().is_empty());
        fs::remove_dir(folder.0.join("viewers.new")).unwrap();
        store.add(record(1), TODAY).unwrap();
        assert_eq!(store.viewers().len(), 1);
    }

    #[test]
    fn viewers_are_bounded() {
        let folder = Folder::new("full");
        drop(KeyStore::open(&folder.0).unwrap());
        let mut store = KeyStore::open(&folder.0).unwrap();
        store.viewers = (0..MAX_VIEWERS).map(|_| record(1)).collect();
        assert!(matches!(store.add(record(2), TODAY), Err(KeyError::Full)));
    }
}
