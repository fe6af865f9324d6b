//! CPU of a request through all layers of the gateway (host, token, rate, boundary, JSON-RPC, two
//! audit records on the disk), beside an axum server that parses JSON and sends it back, in the
//! same run, with 32 connections busy at a time. What is measured is the CPU time of every thread
//! but the client's, so waiting for the disk does not count and work on other threads does. Linux
//! alone can say that of a thread.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::{Json, Router, routing::post};
use clawproof_runtime::agent::{Agent, Model, Store};
use clawproof_runtime::audit::{Audit, Redactor};
use clawproof_runtime::config::Config;
use clawproof_runtime::gateway::{Gateway, Role, Server, Tokens, serve};
use clawproof_runtime::registry::ToolRegistry;
use clawproof_runtime::sandbox::Sandbox;
use criterion::{Criterion, criterion_group, criterion_main};
use secrecy::ExposeSecret as _;
use serde_json::Value;

/// CPU time of every thread of this process but the calling one.
fn others() -> Duration {
    let own = fs::read_link("/proc/thread-self").expect("Linux");
    let own = own.file_name().expect("a thread id").to_owned();
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let spent = tasks.flatten().filter(|task| task.file_name() != own).filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// Connections that are kept and busy at the same time, as under load.
const CONNECTIONS: usize = 32;

/// The connections, and the request that is sent over each again and again.
struct Client {
    sockets: Vec<TcpStream>,
    request: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr, path: &str, token: &str, body: &str) -> Self {
        let connect = |_| {
            let socket = TcpStream::connect(address).expect("a server");
            socket.set_nodelay(true).expect("a socket");
            socket
        };
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { sockets: (0..CONNECTIONS).map(connect).collect(), request: request.into_bytes() }
    }

    /// Sends so many requests, one at a time over each connection, and reads the whole answers,
    /// which must be successes.
    fn ask(&mut self, mut times: usize) {
        while times > 0 {
            let busy = times.min(self.sockets.len());
            for socket in self.sockets.iter_mut().take(busy) {
                socket.write_all(&self.request).expect("a server that listens");
            }
            self.sockets.iter_mut().take(busy).for_each(hear);
            times -= busy;
        }
    }
}

fn hear(socket: &mut TcpStream) {
    let (mut answer, mut buffer) = (Vec::new(), [0_u8; 65_536]);
    loop {
        let count = socket.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the server closed");
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
            return;
        }
    }
}

fn echo(runtime: &tokio::runtime::Runtime) -> SocketAddr {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/", post(async |Json(value): Json<Value>| Json(value)));
    runtime.spawn(async move { axum::serve(listener, router).await });
    address
}

fn gateway(runtime: &tokio::runtime::Runtime, state: &Path) -> (SocketAddr, String) {
    let workspace = state.join("workspace");
    fs::create_dir(&workspace).expect("a folder");
    let mut config = Config { workspace: Some(workspace), ..Config::default() };
    config.rates.requests_per_minute = 1_000_000;
    let tokens = Tokens::at(state);
    let token = tokens.create(Role::Admin, None).expect("a token").1.expose_secret().to_owned();
    let _entered = runtime.enter();
    let agent = Agent::new(
        &config,
        ToolRegistry::new(&config).expect("tools"),
        Sandbox::new(&config),
        Store::open(state).expect("a store"),
        Model::new(&config.model, None).expect("a model"),
        Audit::open(state, Redactor::new()).expect("a log"),
    );
    let local = "127.0.0.1:0".parse().expect("an address");
    let server = runtime.block_on(Server::bind(local)).expect("a port");
    let address = server.address();
    let gateway = Gateway::new(config, address, Arc::new(agent), tokens, None);
    runtime.spawn(serve(server, Arc::new(gateway), std::future::pending()));
    (address, token)
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let state = tempfile::tempdir().expect("a folder");
    let plain = echo(&runtime);
    let (guarded, token) = gateway(&runtime, state.path());
    let small = r#"{"jsonrpc":"2.0","id":1,"method":"system.version","params":{}}"#;
    let mut group = criterion.benchmark_group("gateway");
    let mut measure = |name: &str, mut client: Client| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let before = others();
                client.ask(usize::try_from(times).expect("a small number"));
                others().saturating_sub(before)
            });
        });
    };
    measure("axum echo, small", Client::new(plain, "/", "", small));
    measure("gateway, small", Client::new(guarded, "/rpc", &token, small));
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
