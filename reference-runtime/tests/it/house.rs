//! A whole runtime in a disposable folder, served on a loopback port, with a model that says what
//! a test tells it to. It must never know what a test expects.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use clawproof_runtime::agent::{Agent, Model, Store};
use clawproof_runtime::audit::{Audit, Redactor};
use clawproof_runtime::config::{Config, Provider};
use clawproof_runtime::gateway::{Gateway, Role, Server, Tokens, serve};
use clawproof_runtime::registry::ToolRegistry;
use clawproof_runtime::sandbox::Sandbox;
use clawproof_runtime::vault::{MasterPassword, Vault};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// The runtime; everything of it is gone when it is dropped.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

impl House {
    /// A runtime with the default configuration, changed by `change`.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        let state = folder.path().to_path_buf();
        let mut config = Config { workspace: Some(workspace), ..Config::default() };
        config.rates.requests_per_minute = 1_000_000;
        config.rates.messages_per_minute = 1_000_000;
        change(&mut config);

        let audit = Audit::open(&state, Redactor::new()).unwrap();
        let agent = Agent::new(
            &config,
            ToolRegistry::new(&config).unwrap(),
            Sandbox::new(&config),
            Store::open(&state).unwrap(),
            Model::new(&config.model, None).unwrap(),
            audit,
        );
        let tokens = Tokens::at(&state);
        let token = tokens.create(Role::Admin, None).unwrap().1.expose_secret().to_owned();
        let vault = Vault::open(&state, MasterPassword::new("a password".into())).unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let server = server.secured(config.gateway.tls.as_ref()).unwrap();
        let address = server.address();
        let gateway = Gateway::new(config, address, Arc::new(agent), tokens, Some(Arc::new(vault)));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(server, Arc::new(gateway), async {
            let _ = stopped.await;
        }));
        Self { folder, address, token, stop: Some(stop), served }
    }

    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// A token of another role.
    pub(crate) fn another_token(&self, role: Role) -> String {
        Tokens::at(self.folder.path()).create(role, None).unwrap().1.expose_secret().to_owned()
    }

    /// One request of the admin.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Answer {
        self.call_as(&self.token, method, params).await
    }

    pub(crate) async fn call_as(&self, token: &str, method: &str, params: Value) -> Answer {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(token, "", body.to_string().as_bytes()).await
    }

    /// A body as it is, with more header lines, each ending in CR LF.
    pub(crate) async fn post(&self, token: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST /rpc HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n{headers}Connection: close\r\n\r\n",
            self.address,
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Bytes as they are; the answer is what comes until the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        // The server may refuse before everything is sent.
        let _ = socket.write_all(bytes).await;
        Answer::read(&mut socket).await
    }

    /// The same, with the answer as it is: it need not be HTTP.
    #[cfg(unix)]
    pub(crate) async fn raw_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let _ = socket.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        answer
    }

    pub(crate) async fn session(&self) -> String {
        let answer = self.call("session.create", json!({})).await;
        answer.result("session").as_str().unwrap().to_owned()
    }

    pub(crate) async fn say(&self, session: &str, text: &str) -> Answer {
        self.call("session.message", json!({ "session": session, "text": text })).await
    }

    /// An upload of a body as it is, under a name that stands in the query as it is.
    pub(crate) async fn upload(&self, token: &str, query: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST /attachments?{query} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// The audit records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        std::fs::read_to_string(self.folder.path().join("audit/audit.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Whether there is a record of this kind, outcome and requirement.
    pub(crate) fn recorded(&self, kind: &str, outcome: &str, requirement: Option<&str>) -> bool {
        self.records().iter().any(|record| {
            record["kind"] == kind
                && record["outcome"] == outcome
                && record["requirement"].as_str() == requirement
        })
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(mut self) -> TempDir {
        drop(self.stop.take());
        self.served.await.unwrap();
        self.folder
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn read(socket: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        Self { status, head: head.to_ascii_lowercase(), body }
    }

    pub(crate) fn result(&self, key: &str) -> &Value {
        &self.body["result"][key]
    }

    pub(crate) fn requirement(&self) -> &str {
        self.body["error"]["data"]["requirement"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A model on a loopback port: answers from a list, and keeps what it was asked.
#[derive(Clone)]
pub(crate) struct Puppet {
    address: SocketAddr,
    state: Arc<Mutex<(VecDeque<String>, Vec<Value>)>>,
}

impl Puppet {
    pub(crate) async fn saying(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            Arc::new(Mutex::new((answers.into_iter().collect::<VecDeque<_>>(), Vec::new())));
        let shared = Arc::clone(&state);
        let answer = move |body: String| {
            let mut state = shared.lock().unwrap();
            state.1.push(serde_json::from_str(&body).unwrap());
            let answer = state.0.pop_front().unwrap_or_else(|| text("done"));
            let stream = answer.starts_with("data:");
            let kind = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
            // In small pieces, so that nothing that belongs together comes together.
            let pieces: Vec<_> = answer.as_bytes().chunks(7).map(<[u8]>::to_vec).collect();
            let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
            let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
            std::future::ready(([("content-type", kind)], body))
        };
        let router = axum::Router::new()
            .route("/v1/chat/completions", axum::routing::post(answer.clone()))
            .route("/v1/messages", axum::routing::post(answer))
            .layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    /// Makes it the model of a runtime.
    pub(crate) fn config(&self) -> impl FnOnce(&mut Config) {
        let base = format!("http://{}/v1", self.address);
        move |config| {
            config.model.provider = Provider::OpenAi;
            config.model.base_url = Some(base);
        }
    }

    /// The bodies of the requests so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.state.lock().unwrap().1.clone()
    }

    /// The texts of one role in the last request.
    pub(crate) fn heard(&self, role: &str) -> Vec<String> {
        let asked = self.asked();
        let messages = asked.last().map(|last| last["messages"].clone()).unwrap_or_default();
        let of_role = |message: &&Value| message["role"] == role;
        let text = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
        messages.as_array().into_iter().flatten().filter(of_role).map(text).collect()
    }
}

/// An answer of plain text.
pub(crate) fn text(content: &str) -> String {
    completion("stop", &json!({ "role": "assistant", "content": content }))
}

/// An answer of calls: id, name, text of the arguments.
pub(crate) fn calls(finish: &str, calls: &[(&str, &str, &str)]) -> String {
    let calls: Vec<Value> = calls
        .iter()
        .map(|(id, name, arguments)| {
            json!({ "id": id, "type": "function",
                    "function": { "name": name, "arguments": arguments } })
        })
        .collect();
    completion(finish, &json!({ "role": "assistant", "content": null, "tool_calls": calls }))
}

fn completion(finish: &str, message: &Value) -> String {
    json!({ "choices": [{ "index": 0, "finish_reason": finish, "message": message }] }).to_string()
}

/// A stream of chat-completion chunks: the delta of each, and why the last one ends.
pub(crate) fn stream(deltas: &[Value], finish: Option<&str>) -> String {
    let chunk = |delta: &Value, finish: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        format!("data: {}\n\n", json!({ "choices": [choice] }))
    };
    let mut text: String = deltas.iter().map(|delta| chunk(delta, None)).collect();
    if finish.is_some() {
        text.push_str(&chunk(&json!({}), finish));
        text.push_str("data: [DONE]\n\n");
    }
    text
}
