//! TLS for the listener: a certificate chain and its key from files, TLS 1.2 and 1.3, nothing
//! older. It must never show the key, nor take one that others may read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::{config, private};

/// A PEM file larger than this is refused: bytes.
const MAX_FILE: u64 = 1 << 20;

/// The acceptor that the configuration asks for.
///
/// # Errors
/// One sentence for the operator: a file is missing, open to others, or does not hold what it
/// should.
pub(super) fn acceptor(tls: &config::Tls) -> io::Result<TlsAcceptor> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {why}", path.display()))
    };
    let certificates = read(&tls.certificate, false)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&tls.certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(&tls.certificate, &"it holds no certificate"));
    }
    let key = read(&tls.key, true)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| wrong(&tls.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&tls.key, &error))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// What `input.all-doors` prevents beside TLS: a door that serves who does not speak it.
#[cfg(feature = "knockout")]
pub(super) async fn unguarded(socket: &tokio::net::TcpStream) -> bool {
    const HANDSHAKE: u8 = 0x16;
    let mut first = [0];
    !crate::requirement::INPUT_ALL_DOORS.enforced()
        && socket.peek(&mut first).await.is_ok_and(|count| count == 1)
        && first != [HANDSHAKE]
}

fn read(path: &Path, secret: bool) -> io::Result<Zeroizing<Vec<u8>>> {
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(named)?;
    let metadata = file.metadata().map_err(named)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(named(io::Error::other("it is not a file of a sane size")));
    }
    if secret && !private::is_closed(&file).map_err(named)? {
        return Err(named(io::Error::other("the key is open to other users (it wants mode 0600)")));
    }
    // As large as it may get at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or(0)));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(named)?;
    Ok(bytes)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(folder: &Path) -> config::Tls {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tls = config::Tls {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
        std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&tls.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        tls
    }

    #[test]
    fn a_key_that_others_may_read_and_a_wrong_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tls = files(folder.path());
        assert!(acceptor(&tls).is_ok());
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&tls.key, open).unwrap();
        let told = acceptor(&tls).err().unwrap().to_string();
        assert!(told.contains("0600") && told.contains("key.pem"), "{told}");
        let swapped = config::Tls { certificate: tls.certificate.clone(), key: tls.certificate };
        assert!(acceptor(&swapped).is_err());
    }
}
