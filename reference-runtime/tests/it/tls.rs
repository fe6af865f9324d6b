//! The listener with TLS: what a client that trusts the certificate gets, and what a plain one does
//! not.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use clawproof_runtime::config::Tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::house::House;

async fn health(
    house: &House,
    trusted: Option<CertificateDer<'static>>,
) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted);
    let provider = ring::default_provider();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(house.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut socket = TlsConnector::from(Arc::new(client)).connect(name, socket).await?;
    socket
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn the_listener_speaks_tls_to_who_trusts_it_and_nothing_to_plain_http() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let house = House::with(|config| config.gateway.tls = Some(Tls { certificate, key })).await;

    let answer = health(&house, Some(made.cert.der().clone())).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(health(&house, None).await.is_err(), "a client that does not trust it goes on");
    let plain = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", house.address);
    assert!(!house.raw_bytes(plain.as_bytes()).await.starts_with(b"HTTP"));
    assert!(health(&house, Some(made.cert.der().clone())).await.is_ok(), "and it still serves");
}
