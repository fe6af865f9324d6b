//! The program killed without warning while it works: what it acknowledged is there afterwards.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "a kill wants a process of its own")]
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawproof-runtime"));
    command.env_remove("CLAWPROOF_MASTER_PASSWORD").stderr(Stdio::null());
    command
}

/// A served runtime; killed when it is dropped.
struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn start(folder: &Path) -> Self {
        let config = folder.join("openclaw.json");
        let raised = "{ rates: { requestsPerMinute: 1000000, messagesPerMinute: 1000000 } }";
        std::fs::write(&config, raised).unwrap();
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--workspace")
            .arg(folder.join("workspace"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").unwrap().1.to_owned();
        Self { child, address }
    }

    /// The result of a call; none where no whole answer came.
    fn call(&self, token: &str, method: &str, params: &Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = body.to_string();
        let mut socket = TcpStream::connect(&self.address).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let head = format!(
            "POST /rpc HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        socket.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str::<Value>(body).ok()?.get("result").cloned()
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workspace")).unwrap();
    let created = program()
        .args(["token", "create", "--role", "admin", "--state"])
        .arg(folder.path().join("state"))
        .output()
        .unwrap();
    let token = String::from_utf8(created.stdout).unwrap().trim().to_owned();
    // Session and the texts in it that were answered for.
    let mut acknowledged: Vec<(String, Vec<String>)> = Vec::new();
    for round in 0..4_u64 {
        let served = Served::start(folder.path());
        for (session, texts) in &acknowledged {
            let history = served.call(&token, "session.history", &json!({ "session": session }));
            let entries = history.unwrap()["entries"].clone();
            let said: Vec<&str> = entries
                .as_array()
                .unwrap()
                .iter()
                .filter(|entry| entry["role"] == "user")
                .filter_map(|entry| entry["text"].as_str())
                .collect();
            // One more may be there: it was stored, and the answer lost.
            assert!(texts.iter().all(|text| said.contains(&text.as_str())), "{texts:?} {said:?}");
            assert!(said.len() <= texts.len() + 1, "{said:?}");
        }
        let pid = served.child.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150 + 170 * round));
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        'working: while let Some(made) = served.call(&token, "session.create", &json!({})) {
            let session = made["session"].as_str().unwrap().to_owned();
            acknowledged.push((session.clone(), Vec::new()));
            for number in 0..3 {
                let text = format!("hello {round} {number}");
                let params = json!({ "session": session, "text": text });
                if served.call(&token, "session.message", &params).is_none() {
                    break 'working;
                }
                acknowledged.last_mut().unwrap().1.push(text);
            }
        }
        killer.join().unwrap();
    }
    assert!(!acknowledged.is_empty(), "it was killed before it did anything");
}
