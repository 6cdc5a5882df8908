//! Files that the configuration names: where they are, and the secrets in them. A name is a path, from beside the
//! configuration file where it does not begin with `/`, or `credential:NAME`, a file that systemd hands to the service
//! (systemd.exec(5), LoadCredential). No secret itself stands in the configuration's errors.
//! Not here: what the files mean, and the environment.

use std::path::{Component, Path, PathBuf};

use super::{ConfigError, value};
use crate::signal::mqtt::Secret;

/// What stands before the name of a credential.
const CREDENTIAL: &str = "credential:";

/// Where files are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The configuration file's folder.
    pub folder: &'a Path,
    /// systemd's folder with the service's credentials, where it runs as a service that has some.
    pub credentials: Option<&'a Path>,
}

impl Files<'_> {
    /// The path of the file that `key` names.
    ///
    /// # Errors
    /// It names a credential that the service does not have.
    pub fn path(&self, key: &str, named: &Path) -> Result<PathBuf, ConfigError> {
        let Some(name) = named.to_str().and_then(|named| named.strip_prefix(CREDENTIAL)) else {
            return Ok(self.folder.join(named));
        };
        let mut parts = Path::new(name).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) || name.ends_with('/')
        {
            return Err(value(
                key,
                format!("`{CREDENTIAL}{name}` does not fit: give a name without a slash"),
            ));
        }
        match self.credentials.map(|folder| folder.join(name)) {
            Some(path) if path.exists() => Ok(path),
            Some(_) | None => {
                Err(ConfigError::Credential { key: key.to_owned(), credential: name.to_owned() })
            }
        }
    }

    /// The text of the file that `key` names, without the line end.
    ///
    /// # Errors
    /// It cannot be read, or is empty.
    pub fn secret(&self, key: &str, named: &Path) -> Result<Secret, ConfigError> {
        let path = self.path(key, named)?;
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::File {
            key: key.to_owned(),
            path: path.clone(),
            source,
        })?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(value(key, format!("{} is empty: write the password into it", path.display())));
        }
        Ok(Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(credentials: Option<&Path>) -> Files<'_> {
        Files { folder: Path::new("/etc/pinhole"), credentials }
    }

    #[test]
    fn a_path_is_taken_from_beside_the_configuration() {
        let path = |named| files(None).path("k", Path::new(named)).unwrap();
        assert_eq!(path("password"), Path::new("/etc/pinhole/password"));
        assert_eq!(path("/run/password"), Path::new("/run/password"));
    }

    #[test]
    fn a_credential_is_read_from_systemds_folder() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
        let path = files(Some(folder)).path("k", Path::new("credential:vectors.json")).unwrap();
        assert_eq!(path, folder.join("vectors.json"));
    }

    #[test]
    fn a_credential_that_is_missing_is_told_with_the_line_that_gives_it() {
        for credentials in [None, Some(Path::new("/nonexistent"))] {
            let named = Path::new("credential:broker-password");
            let said = files(credentials).secret("broker.password_file", named).unwrap_err().to_string();
            assert!(said.starts_with("broker.password_file: "), "{said}");
            assert!(said.contains("LoadCredential=broker-password:/etc/pinhole/broker-password"), "{said}");
        }
    }

    #[test]
    fn a_credentials_name_leads_nowhere_else() {
        for name in ["", "../shadow", "a/b", "/etc/shadow", ".", "..", "a/"] {
            let named = format!("credential:{name}");
            let said = files(Some(Path::new("/etc"))).path("k", Path::new(&named)).unwrap_err().to_string();
            assert!(said.contains("without a slash"), "{name}: {said}");
        }
    }
}
