//! The control socket's file: made so that nobody but the agent's user can open it at any moment, in place of one that
//! an agent left behind. Not here: what is said on it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: File,
}

/// The file of a socket, removed when it is dropped.
#[derive(Debug)]
pub struct File(PathBuf);

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    #[error("cannot make {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} may be changed by others (mode {mode:04o}): run chmod 700 on it", .folder.display())]
    OpenFolder { folder: PathBuf, mode: u32 },
    #[error("{} is used by another pinhole: give this one a folder of its own", .0.display())]
    InUse(PathBuf),
    #[error("{} is there, and no socket: move it away", .0.display())]
    NotASocket(PathBuf),
}

impl Socket {
    /// Listens at `path`, in a folder that exists.
    ///
    /// # Errors
    /// When that cannot be done safely.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io { path: path.to_owned(), error };
        let folder = path.parent().unwrap_or(Path::new("."));
        let mode = fs::metadata(folder).map_err(failed)?.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(SocketError::OpenFolder { folder: folder.to_owned(), mode });
        }
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse(path.to_owned()));
        }
        let there = fs::symlink_metadata(path).map(|metadata| metadata.mode() & libc::S_IFMT);
        if there.is_ok_and(|kind| kind != libc::S_IFSOCK) {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        // A socket's first mode follows from the umask. Nobody else can reach it in here until it has its own.
        let nest = Nest::make(folder.join("control.new")).map_err(failed)?;
        let made = nest.0.join("s");
        let listener = UnixListener::bind(&made).map_err(failed)?;
        fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        fs::rename(&made, path).map_err(failed)?;
        Ok(Self { listener, file: File(path.to_owned()) })
    }

    /// The listener, which does not block, and what removes its file.
    pub fn into_parts(self) -> (UnixListener, File) {
        (self.listener, self.file)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Whatever is left of it refuses connections, and the next agent replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

/// A private folder, removed with what is in it.
struct Nest(PathBuf);

impl Nest {
    fn make(path: PathBuf) -> io::Result<Self> {
        // An agent that was killed may have left one.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes when the test does.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("pinhole-socket-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            DirBuilder::new().mode(0o755).create(&folder).unwrap();
            Self(folder)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("control.sock")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_its_owner_can_open_it_and_nothing_is_left() {
        let folder = Folder::new("mode");
        let socket = Socket::bind(&folder.socket()).unwrap();
        assert_eq!(fs::metadata(folder.socket()).unwrap().mode() & 0o7777, 0o600);
        assert!(UnixStream::connect(folder.socket()).is_ok());
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
        drop(socket);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_agent_left_is_replaced() {
        let folder = Folder::new("stale");
        drop(UnixListener::bind(folder.socket()).unwrap());
        fs::create_dir(folder.0.join("control.new")).unwrap();
        fs::write(folder.0.join("control.new/s"), "").unwrap();
        assert!(UnixStream::connect(folder.socket()).is_err());
        let _socket = Socket::bind(&folder.socket()).unwrap();
        assert!(UnixStream::connect(folder.socket()).is_ok());
    }

    #[test]
    fn a_living_agents_socket_is_not_taken() {
        let folder = Folder::new("living");
        let _first = Socket::bind(&folder.socket()).unwrap();
        assert!(matches!(Socket::bind(&folder.socket()), Err(SocketError::InUse(_))));
    }

    #[test]
    fn other_files_and_open_folders_are_left_alone() {
        let folder = Folder::new("other");
        fs::write(folder.socket(), "notes").unwrap();
        assert!(matches!(Socket::bind(&folder.socket()), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(folder.socket()).unwrap(), "notes");
        fs::remove_file(folder.socket()).unwrap();
        fs::set_permissions(&folder.0, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Socket::bind(&folder.socket()), Err(SocketError::OpenFolder { mode: 0o777, .. })));
    }
}
