//! TLS towards a broker: which authorities are trusted, and the agent's own certificate. Reads files once, at start.
//! Not here: the handshake (`connect`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

use super::{MqttError, MqttSettings};

/// The TLS configuration for `settings`.
///
/// # Errors
/// A file that cannot be read or used, or a system without any certificate authority.
pub(super) fn configure(settings: &MqttSettings) -> Result<Arc<ClientConfig>, MqttError> {
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
