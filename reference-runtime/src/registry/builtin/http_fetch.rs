//! `http_fetch`: one page of the public internet. It exists only where the sandbox level leaves a
//! network, and it must never reach this machine, its networks or a cloud's metadata service.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use reqwest::{Client, Url, header};
use serde_json::{Value, json};

use super::{Kind, read_file::MAX, text};
use crate::{
    boundary::path::{FileError, Workspace},
    outbound::{self, PublicNames},
    registry::{Capabilities, Capability, Tool},
};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) static TOOL: Tool = Tool {
    name: "http_fetch",
    description: "Fetches one http or https URL of the public internet with GET. Redirects are not \
                  followed: location says where one leads. Answers with status, contentType, \
                  location and content, at most 1 MB, and cut where there was more.",
    capabilities: Capabilities::of(&[Capability::Read, Capability::Network]),
    schema: r#"{
        "type": "object",
        "properties": {
            "url": {"type": "string", "minLength": 1, "maxLength": 2000, "description": "an absolute http or https URL"}
        },
        "required": ["url"],
        "additionalProperties": false
    }"#,
    paths: &[],
    opt_in: false,
    kind: Kind::Worker(run),
};

fn run(_: &Workspace, arguments: &Value) -> Result<Value, FileError> {
    let url = url(text(arguments, "url")?, outbound::is_public)?;
    let client = outbound::client().map_err(io::Error::other).and_then(|client| {
        client.dns_resolver(Arc::new(PublicNames)).build().map_err(io::Error::other)
    });
    let client = client.map_err(failed)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?
        .block_on(async {
            tokio::time::timeout(LIMIT, fetch(&client, url))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
        .map_err(failed)
}

fn failed(error: io::Error) -> FileError {
    FileError::Failed("the page could not be fetched", error)
}

/// The URL, if it may be asked for. A name is looked at again when it is resolved.
fn url(text: &str, allowed: fn(IpAddr) -> bool) -> Result<Url, FileError> {
    let refused = |words| FileError::Failed(words, io::ErrorKind::InvalidInput.into());
    let url = Url::parse(text).map_err(|_| refused("the URL is not valid"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("only http and https can be fetched"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("the URL must hold no name and no password"));
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if literal.is_ok_and(|address| !allowed(address)) {
        return Err(refused("the address is not one of the public internet"));
    }
    Ok(url)
}

async fn fetch(client: &Client, url: Url) -> io::Result<Value> {
    let mut response = client.get(url).send().await.map_err(io::Error::other)?;
    let mut content = Vec::new();
    let mut cut = false;
    while let Some(chunk) = response.chunk().await.map_err(io::Error::other)? {
        let room = MAX - content.len();
        content.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            cut = true;
            break;
        }
    }
    let of = |name| {
        let value = response.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Ok(json!({
        "status": response.status().as_u16(),
        "contentType": of(header::CONTENT_TYPE),
        "location": of(header::LOCATION),
        "content": String::from_utf8_lossy(&content),
        "cut": cut,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// Answers one request on loopback with these bytes.
    fn served(answer: Vec<u8>) -> Value {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            // A client that has enough goes away.
            let _ = stream.write_all(&answer);
        });
        let client = outbound::client().unwrap().build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let page = runtime.block_on(fetch(&client, url)).unwrap();
        server.join().unwrap();
        page
    }

    #[test]
    fn a_page_is_read_up_to_its_limit() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
        let page = served([head.as_bytes(), b"hello"].concat());
        assert_eq!((&page["status"], &page["content"]), (&json!(200), &json!("hello")));
        assert_eq!((&page["contentType"], &page["cut"]), (&json!("text/plain"), &json!(false)));
        let flood = served([head.as_bytes(), &vec![b'x'; MAX + 1]].concat());
        assert_eq!(flood["content"].as_str().unwrap().len(), MAX);
        assert_eq!(flood["cut"], true);
    }

    #[test]
    fn a_redirect_is_told_and_not_followed() {
        let head = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\
                    Content-Length: 0\r\n\r\n";
        let page = served(head.into());
        assert_eq!(page["status"], 302);
        assert_eq!(page["location"], "http://169.254.169.254/");
    }

    #[test]
    fn only_public_addresses_and_plain_urls_are_asked_for() {
        for bad in [
            "file:///etc/passwd",
            "ftp://example.org/",
            "/etc/passwd",
            "http://user@example.org/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://169.254.169.254/latest",
        ] {
            assert!(url(bad, outbound::is_public).is_err(), "{bad}");
        }
        assert!(url("https://example.org/a?b", outbound::is_public).is_ok());
        assert!(url("http://1.1.1.1/", outbound::is_public).is_ok());
    }

    #[test]
    fn a_name_that_means_this_machine_is_not_reached() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(folder.path()).unwrap();
        let arguments = json!({ "url": format!("http://localhost:{port}/") });
        assert!(matches!(run(&workspace, &arguments), Err(FileError::Failed(..))));
        assert!(listener.accept().is_err(), "nobody called");
    }
}
