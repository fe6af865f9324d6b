//! The listener with TLS is one more door: what it serves, it serves with the same limits, and who
//! does not speak it is served nothing. The certificate is made here. It must never trust another.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::driver::http::{Request, exchange, exchange_over};
use crate::target::world::random_hex;

use super::kit::{Answered, admitted, denied, placeholders, shown};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "input.all-doors-tls",
    requirements: &["input.all-doors", "input.message-size", "auth.required"],
    surface: "gateway.request",
    alone: false,
    run: |lab| Box::pin(door(lab)),
}];

const LIMIT: Duration = Duration::from_secs(10);
/// The versions as a client of TLS 1.2 and older names them.
const TLS_1_0: u8 = 1;
const TLS_1_1: u8 = 2;
const TLS_1_2: u8 = 3;
/// The first byte of a record that holds a handshake.
const HANDSHAKE: u8 = 22;

fn harness(error: impl std::fmt::Display) -> Trouble {
    Trouble::Harness(error.to_string())
}

/// A client that trusts this certificate alone.
struct Client {
    connector: TlsConnector,
    target: Target,
}

impl Client {
    fn new(target: &Target, trusted: Option<&CertificateDer<'static>>) -> Result<Self, Trouble> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(harness)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), target: target.clone() })
    }

    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(self.target.address()).await?;
        self.connector.connect(name, stream).await
    }

    async fn send(&self, request: &Request) -> Answered {
        let bytes = request.bytes(self.target.address());
        exchange_over(self.connect(), &[bytes], Duration::ZERO, LIMIT).await
    }
}

/// A ClientHello of TLS 1.2 or older, as such a client writes it: a version, suites of its time,
/// and the extensions of RFC 8422 and RFC 5246.
fn hello(version: u8) -> Vec<u8> {
    // ECDHE with AES-GCM (1.2 alone), ECDHE with AES-CBC, RSA with AES-CBC.
    let suites: &[u8] = &[
        0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f, 0x00,
        0x35,
    ];
    // Groups x25519, P-256, P-384; uncompressed points; ECDSA and RSA with SHA-256.
    let extensions: &[u8] = &[
        0, 10, 0, 8, 0, 6, 0, 29, 0, 23, 0, 24, // groups
        0, 11, 0, 2, 1, 0, // point formats
        0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1, // signatures
        0, 23, 0, 0, // extended master secret
    ];
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
    let mut body = vec![3, version];
    body.extend_from_slice(&[0x5a; 32]);
    body.push(0);
    body.extend_from_slice(&length(suites));
    body.extend_from_slice(suites);
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&length(extensions));
    body.extend_from_slice(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend_from_slice(&length(&body));
    handshake.extend_from_slice(&body);
    let mut record = vec![HANDSHAKE, 3, version.min(TLS_1_1)];
    record.extend_from_slice(&length(&handshake));
    record.extend_from_slice(&handshake);
    record
}

/// Whether a client of this version is greeted back with it.
async fn greeted(target: &Target, version: u8) -> Result<bool, Trouble> {
    let talk = async {
        let mut stream = TcpStream::connect(target.address()).await?;
        stream.write_all(&hello(version)).await?;
        // Record: kind, version, length; handshake: kind 2, length, version.
        let mut head = [0_u8; 11];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    let head = match tokio::time::timeout(LIMIT, talk).await {
        Ok(Ok(head)) => head,
        // An alert and the end are shorter than a greeting.
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::ConnectionRefused => {
            return Ok(false);
        }
        Ok(Err(error)) => return Err(harness(error)),
        Err(_) => return Ok(false),
    };
    Ok(matches!(head, [HANDSHAKE, 3, _, _, _, 2, _, _, _, 3, told] if told == version))
}

/// A message with a nonce, and whether it came to the model.
fn message(target: &Target, session: &str, bytes: usize) -> Result<(Request, String), Trouble> {
    let nonce = random_hex(8);
    let text = format!("{nonce} {}", "a".repeat(bytes.saturating_sub(nonce.len() + 1)));
    Ok((target.rpc().message_request(session, text.as_bytes())?, nonce))
}

async fn door(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(harness)?;
    let options = Options::default()
        .patch("tls")
        .file("CERTIFICATE", "certificate.pem", made.cert.pem())
        .file("KEY", "key.pem", made.signing_key.serialize_pem());
    let target = lab.instance(options).await?;
    let client = Client::new(&target, Some(made.cert.der()))?;

    let created = client.send(&target.rpc().request("session-create", &placeholders())?).await;
    let session = created.as_ref().ok().and_then(|it| target.rpc().pick("session-create", it));
    let session = session.ok_or_else(|| {
        Trouble::Target(format!("no session is made within TLS: {}", shown(&created)))
    })?;
    let reached = async |request: &Request, nonce: &str, plain: bool| {
        let talk = target.model().expect(nonce, Vec::new());
        let answer = if plain {
            exchange(target.address(), &[request.bytes(target.address())], Duration::ZERO, LIMIT)
                .await
        } else {
            client.send(request).await
        };
        (answer, !talk.exchanges().is_empty())
    };
    let (fine, nonce) = message(&target, &session, 100_000)?;
    let (answer, came) = reached(&fine, &nonce, false).await;
    let words = format!("100,000 bytes within TLS reach the model: {came}, {}", shown(&answer));
    finding.twin(came && admitted(&answer), words);

    let (large, nonce) = message(&target, &session, 102_401)?;
    let (answer, came) = reached(&large, &nonce, false).await;
    finding.reached(answer.is_ok(), "102,401 bytes within TLS were answered");
    finding.no_effect(denied(&answer) && !came, format!("within TLS: {}", shown(&answer)));

    let (mut bare, nonce) = message(&target, &session, 50)?;
    bare.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
    let (answer, came) = reached(&bare, &nonce, false).await;
    let words = format!("without a token within TLS: {}", shown(&answer));
    finding.no_effect(denied(&answer) && !came, words);

    let (plain, nonce) = message(&target, &session, 50)?;
    let (answer, came) = reached(&plain, &nonce, true).await;
    let served = came || answer.as_ref().is_ok_and(|reply| reply.status < 400);
    finding.no_effect(!served, format!("the same without TLS: {}", shown(&answer)));

    let stranger = Client::new(&target, None)?;
    let trusted = stranger.connect().await.is_ok();
    finding.twin(!trusted, "the certificate is the suite's: a client that does not know it goes");
    let current = greeted(&target, TLS_1_2).await?;
    finding.twin(current, "a hello of TLS 1.2, written by hand, is greeted back");
    for (name, version) in [("1.1", TLS_1_1), ("1.0", TLS_1_0)] {
        let old = greeted(&target, version).await?;
        finding.no_effect(!old, format!("a hello of TLS {name} is greeted back: {old}"));
    }
    let again = client.send(&target.rpc().request("health", &placeholders())?).await;
    finding.twin(admitted(&again), "health answers within TLS afterwards");
    Ok(finding)
}
