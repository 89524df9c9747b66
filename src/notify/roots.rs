//! Whom an encrypted connection trusts: the operating system's roots, and those in a file of the operator's.

use std::{fs, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::domain::error::Invalid;

/// The system's roots, which `SSL_CERT_FILE` and `SSL_CERT_DIR` may name. A machine may have none: then every
/// encrypted delivery fails and says so, but plain ones work.
pub(super) fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(errors = ?found.errors, "this machine has no trusted certificates; install ca-certificates");
    }
    roots
}

/// # Errors
/// [`Invalid`] for `ca_file` when it can't be read, or holds no certificate or a damaged one.
pub(super) fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let invalid = |problem: String| Invalid::new("ca_file", format!("{} {problem}", path.display()));
    let text = fs::read(path).map_err(|error| invalid(format!("can't be read: {error}")))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| invalid(format!("isn't a PEM file: {error}")))?;
    if certificates.is_empty() {
        return Err(invalid("holds no certificate; give a PEM file with one or more".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| invalid(format!("holds a certificate that can't be used: {error}")))?;
    }
    Ok(certificates)
}
