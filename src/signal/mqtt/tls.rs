//! TLS towards a broker: which authorities are trusted, and the agent's own certificate. Reads its files at the start, and
//! again before an attempt when they have changed: certificates are renewed while the agent runs.
//! Not here: the handshake (`connect`).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

use super::{MqttError, MqttSettings};

/// The newest TLS configuration that works.
pub(super) struct Tls {
    settings: MqttSettings,
    /// Held while a few small files are read: one attempt at a time asks.
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ClientConfig>,
    /// When the files were changed last, as of the reading.
    stamps: Vec<Option<SystemTime>>,
}

impl Tls {
    /// Reads the files of `settings`.
    ///
    /// # Errors
    /// A file that cannot be read or used, or a system without any certificate authority.
    pub(super) fn new(settings: MqttSettings) -> Result<Self, MqttError> {
        let stamps = stamps(&settings);
        let config = configure(&settings)?;
        Ok(Self { settings, current: Mutex::new(Current { config, stamps }) })
    }

    /// What to use for the next attempt. Files that have become unusable are told once, and what was read before them
    /// stays in use.
    pub(super) fn current(&self) -> Arc<ClientConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.settings);
        if stamps != current.stamps {
            current.stamps = stamps;
            match configure(&self.settings) {
                Ok(config) => {
                    tracing::info!(
                        broker = self.settings.url,
                        "certificates have changed, and were read again"
                    );
                    current.config = config;
                }
                Err(error) => {
                    tracing::warn!(broker = self.settings.url, "{error}; the one before stays in use")
                }
            }
        }
        Arc::clone(&current.config)
    }
}

fn stamps(settings: &MqttSettings) -> Vec<Option<SystemTime>> {
    let pair = settings.client_cert.iter().flat_map(|(certificate, key)| [certificate, key]);
    let files = settings.ca.iter().chain(pair);
    files.map(|file| fs::metadata(file).and_then(|file| file.modified()).ok()).collect()
}

fn configure(settings: &MqttSettings) -> Result<Arc<ClientConfig>, MqttError> {
    let roots = match &settings.ca {
        Some(file) => roots_of(file)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(MqttError::Tls)?
        .with_root_certificates(roots);
    let mut config =
        match &settings.client_cert {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "client certificate")?;
                builder.with_client_auth_cert(chain, private_key(key)?).map_err(|source| {
                    MqttError::KeyPair { certificate: certificate.clone(), key: key.clone(), source }
                })?
            }
        };
    config.alpn_protocols = settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(Arc::new(config))
}

fn roots_of(file: &Path) -> Result<RootCertStore, MqttError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "CA certificate")? {
        roots.add(certificate).map_err(|error| MqttError::Pem {
            what: "CA certificate",
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, MqttError> {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::debug!(%error, "a system certificate cannot be read");
    }
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        return Err(MqttError::NoSystemRoots);
    }
    Ok(roots)
}

fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, MqttError> {
    let chain = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(what, file, error))?;
    if chain.is_empty() {
        return Err(unusable(what, file, pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, MqttError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| unusable("client key", file, error))
}

fn unusable(what: &'static str, file: &Path, error: pem::Error) -> MqttError {
    let file: PathBuf = file.to_owned();
    match error {
        pem::Error::Io(source) => MqttError::Unreadable { what, file, source },
        pem::Error::NoItemsFound => MqttError::Pem { what, file, reason: "it holds none".to_owned() },
        other => MqttError::Pem { what, file, reason: other.to_string() },
    }
}
