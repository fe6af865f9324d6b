//! The way out: an HTTP client with TLS and compiled-in roots, no proxy and no redirect, and which
//! addresses lie on the public internet. It must never know what is asked or answered.

mod address;

use std::{io, net::SocketAddr, sync::Arc};

use reqwest::{ClientBuilder, dns, redirect};

pub(crate) use address::is_public;

/// A client of this runtime's own making; the caller adds its time limit.
///
/// # Errors
/// The TLS library offers no protocol version that is safe.
pub(crate) fn client() -> Result<ClientBuilder, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(ClientBuilder::new()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false))
}

/// Gives the public addresses of a name: the ones that are connected to, so that a name which
/// answers differently the second time gains nothing. A literal address never passes here.
#[derive(Debug)]
pub(crate) struct PublicNames;

impl dns::Resolve for PublicNames {
    fn resolve(&self, name: dns::Name) -> dns::Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| is_public(at.ip())).collect();
            if public.is_empty() {
                return Err(io::Error::other("the name has no public address").into());
            }
            Ok(Box::new(public.into_iter()) as dns::Addrs)
        })
    }
}
