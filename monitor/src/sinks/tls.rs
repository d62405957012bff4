//! TLS to receivers: the system's roots, or those of a file; a certificate of ours where a receiver asks for one. No
//! older version than 1.2.

use std::{fmt, path::Path, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DEFAULT_VERSIONS, RootCertStore, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

use super::secret;
use crate::model::receiver::Identity;

/// Whom a receiver is believed to be.
pub struct Tls(TlsConnector);

impl Tls {
    /// By the certificates of a file, or by those that the system trusts.
    ///
    /// # Errors
    /// There are none.
    pub fn new(roots: Option<&Path>) -> Result<Self, String> {
        config(roots, DEFAULT_VERSIONS, None).map(|config| Self(TlsConnector::from(config)))
    }

    /// Shakes hands.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        self.0.connect(name(host)?, stream).await.map_err(|error| format!("{host}: {error}"))
    }
}

/// What TLS is spoken by: whom to believe, in which versions, and who we are.
///
/// # Errors
/// There is no certificate to believe, or ours is of no use.
pub(super) fn config(
    roots: Option<&Path>,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, String> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(file) => {
            for certificate in certificates(file)? {
                store.add(certificate).map_err(|error| wrong(file, &error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err("this system trusts no certificates: install ca-certificates, or name a file".into());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_protocol_versions(versions).map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(store);
    let Some(Identity { certificate, key }) = identity else { return Ok(Arc::new(config.with_no_client_auth())) };
    // What the reader of PEM says may have the key in it.
    let key = PrivateKeyDer::from_pem_slice(secret::read(key)?.bytes())
        .map_err(|_| "the key is none that is known (PEM: PKCS#8, PKCS#1 or SEC1)".to_owned())?;
    let config = config.with_client_auth_cert(certificates(certificate)?, key);
    config.map(Arc::new).map_err(|error| wrong(certificate, &error))
}

/// The certificates of a file: one at least.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(file, &error))?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|error| wrong(file, &error))?;
    if certificates.is_empty() { Err(wrong(file, &"no certificate in it")) } else { Ok(certificates) }
}

fn wrong(file: &Path, error: &dyn fmt::Display) -> String {
    format!("{}: {error}", file.display())
}

/// Who a certificate has to be of.
///
/// # Errors
/// It is neither a name nor an address.
pub(super) fn name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))
}
