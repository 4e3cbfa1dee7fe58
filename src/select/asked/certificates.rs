//! Where TLS libraries look for the certificates of authorities: OpenSSL and its relatives by the directory they were
//! built with or by variables, GnuTLS by what it was configured with, Go by a list (`crypto/x509/root_linux.go`), Java
//! in a key store of its own, Python programs in the package `certifi`.

use crate::base::ImagePath;
use crate::image::Rootfs;
use crate::select::SelectError;
use crate::select::asked::Place;

/// Files that hold many certificates.
const BUNDLES: [&str; 11] = [
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/share/ssl/certs/ca-bundle.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
];

/// Directories of certificates, one per file, and what else belongs to them. None of these holds private keys.
const DIRECTORIES: [&str; 9] = [
    "/etc/ca-certificates/extracted",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/java",
    "/etc/pki/tls/certs",
    "/etc/ssl/certs",
    "/usr/lib/ssl/cert.pem",
    "/usr/lib/ssl/certs",
    "/usr/local/ssl/certs",
    "/var/lib/ca-certificates/pem",
];

/// Without it OpenSSL's own tools complain; programs read it first.
pub(super) const CONFIGURATION: [&str; 3] =
    ["/etc/pki/tls/openssl.cnf", "/etc/ssl/openssl.cnf", "/usr/lib/ssl/openssl.cnf"];

/// Variables that name other places, of OpenSSL, Python's requests, Node and curl.
const VARIABLES: [&str; 5] =
    ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"];

/// Whether `path` is one of the files or directories with certificates.
pub(in crate::select) fn is_bundle(path: &ImagePath) -> bool {
    let is_listed = BUNDLES.iter().any(|bundle| path.as_bytes() == bundle.as_bytes());
    is_listed || is_of_runtime(path) || DIRECTORIES.iter().any(|directory| is_below(path, directory))
}

/// Whether the base has certificates.
pub(in crate::select) fn has_bundle(rootfs: &Rootfs) -> Result<bool, SelectError> {
    for bundle in BUNDLES {
        if rootfs.resolve(bundle.as_bytes(), true)?.entry.is_some_and(|entry| entry.is_file()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_below(path: &ImagePath, directory: &str) -> bool {
    path.as_bytes().strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The key store of a Java runtime, or the bundle of `certifi` or of what has it inside.
fn is_of_runtime(path: &ImagePath) -> bool {
    let text = path.as_bytes();
    text.ends_with(b"/lib/security/cacerts") || text.ends_with(b"/certifi/cacert.pem")
}

/// All places that may hold certificates.
pub(super) fn paths(place: &Place<'_>) -> Result<Vec<String>, SelectError> {
    let fixed = BUNDLES.iter().chain(&DIRECTORIES).map(|path| path.to_string());
    let mut paths: Vec<String> = fixed.collect();
    for variable in VARIABLES {
        let value = place.execution.variable(variable).unwrap_or_default();
        paths.extend(value.split(':').filter(|path| path.starts_with('/') && path.len() > 1).map(String::from));
    }
    // Those of runtimes that the application used: a base may have several.
    for path in place.rootfs.entries().into_iter().flat_map(|entries| entries.iter()).map(|(path, _)| path) {
        let runtime = path.ancestors().nth(2).filter(|_| is_of_runtime(path));
        let is_used = |runtime: ImagePath| place.observation.paths.subtree(&runtime).next().is_some();
        if let Ok(text) = std::str::from_utf8(path.as_bytes())
            && runtime.is_some_and(is_used)
        {
            paths.push(text.to_owned());
        }
    }
    Ok(paths)
}
