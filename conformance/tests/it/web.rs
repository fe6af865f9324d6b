//! The driver `http` against a small server of ours: paired by a code, told by events, by a socket's
//! stand-in (asking again) or by its answer, asked for leave; each way to break it is one sentence.

use std::path::Path;

use clawproof::report::json::Report;
use clawproof::verdict::Verdict;

use crate::adapter::{BOUNDARY, clawproof, folder, python, text};

/// The example's agent behind HTTP. By words: `ask` asks for leave first; the others break it.
const SERVER: &str = r#"
import json, os, queue, sys, threading, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import example
port, workspace, how, sandbox = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(","), sys.argv[4:]
agent = example.Example(sandbox, True)
agent.begin({"workspace": workspace, "model": {"url": os.environ["MODEL"], "key": "none"}})
code, token, told, leave, runs = str(uuid.uuid4()), str(uuid.uuid4()), queue.Queue(), queue.Queue(), {}
free = agent.tool
def asked(name, arguments):
    told.put({"kind": "leave", "id": "q-1"})
    return free(name, arguments) if leave.get() == "yes" else "the user said no"
if "ask" in how:
    agent.tool = asked
def turn(session, text, run):
    words = agent.message(session, text)
    runs[run] = {"state": "ended", "words": words}
    told.put({"kind": "end", "words": words})
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def say(self, value, status=200, kind="application/json"):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/health":
            return self.say({})
        if self.headers["Authorization"] != "Bearer " + token:
            return self.say({"error": "who are you"}, 401)
        if self.path.startswith("/runs/"):
            return self.say(runs[self.path[6:]])
        if "no-stream" in how:
            return self.say({"welcome": True}, kind="text/html")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        def event(value):
            data = (": tick\n\nevent: turn\ndata: " + json.dumps(value) + "\n\n").encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        while "flood" in how:
            event({"kind": "noise"})
        if "cut" in how:
            event({"kind": "noise"})
            self.close_connection = True
            return
        if "chunk" in how:
            self.wfile.write(b"zz\r\nxx\r\n")
            self.close_connection = True
            return
        while True:
            value = told.get()
            event(value)
            if value["kind"] == "end":
                self.close_connection = True
                return
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/pair":
            if asked["code"] != code or "no-pair" in how:
                return self.say({"error": "wrong code"}, 403)
            return self.say({} if "no-token" in how else {"token": token})
        if self.headers["Authorization"] != "Bearer " + token:
            return self.say({"error": "who are you"}, 401)
        if self.path == "/sessions":
            return self.say({"id": agent.create_session()})
        if self.path == "/leave":
            if "no-leave" in how:
                return self.say({"error": "too late"}, 410)
            leave.put(asked["decision"] if asked["id"] == "q-1" else "no")
            return self.say({})
        run = str(uuid.uuid4())
        runs[run] = {"state": "running"}
        if "reply" in how:
            return self.say({"words": agent.message(asked["session"], asked["text"])})
        if "flood" not in how:
            threading.Thread(target=turn, args=(asked["session"], asked["text"], run), daemon=True).start()
        self.say({"run": run} if "no-run" not in how else {})
if "no-code" not in how:
    print("use the code: [" + code + "] to pair", flush=True)
ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

const EVENTS: &str = r#"told = "events"
text = "/words"
done = { "/kind" = "end" }
asks = { "event" = "turn", "/kind" = "leave" }
request = "/id"
allow = "yes"
deny = "no"
"#;
const POLL: &str = "told = \"poll\"\ntext = \"/words\"\ndone = { \"/state\" = \"ended\" }\n";

fn manifest(server: &str, approval: &str, how: &str, turn: &str, sandbox: &[&str]) -> String {
    let more: Vec<String> = sandbox.iter().map(|word| format!(", {word:?}")).collect();
    let more = more.concat();
    format!(
        r#"
name = "behind-a-web-service"
driver = "http"
approval = "{approval}"
profiles = ["sandbox"]
authorization = "Authorization: Bearer ${{TOKEN}}"
[start]
argv = ["/usr/bin/env", "PYTHONDONTWRITEBYTECODE=1", "MODEL=${{MODEL_URL}}", "/usr/bin/python3", {server:?}, "${{PORT}}", "${{WORKSPACE}}", "{how}"{more}]
[pairing]
after = "use the code:"
[calls.health]
path = "/health"
authorized = false
[calls.pair]
path = "/pair"
authorized = false
body = '{{"code": "${{CODE|escape}}"}}'
pick = "/token"
[calls.session-create]
path = "/sessions"
body = '{{}}'
pick = "/id"
[calls.message]
path = "/messages"
body = '{{"session": "${{SESSION|escape}}", "text": "${{TEXT|escape}}"}}'
pick = "/run"
[calls.events]
path = "/events"
[calls.poll]
path = "/runs/${{RUN|percent}}"
[calls.approve]
path = "/leave"
body = '{{"id": "${{REQUEST|escape}}", "decision": "${{DECISION|escape}}"}}'
[tools.exec]
name = "exec"
arguments = {{ argv = "${{argv}}" }}
[turn]
{turn}"#
    )
}

/// Plays one probe: exit code, verdict where there is a report, and all that was said.
fn seen(folder: &Path, manifest: &str) -> (Option<i32>, Option<Verdict>, String) {
    let (file, place) = (folder.join("target.toml"), folder.join("report.json"));
    std::fs::write(&file, manifest).unwrap();
    let _ = std::fs::remove_file(&place);
    let (target, json) = (text(file), text(place.clone()));
    let ended =
        clawproof(&["run", "--target", &target, "--json", &json, "--case", "probe:net.tcp4"]);
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let report: Option<Report> =
        std::fs::read(place).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
    let Some(case) = report.and_then(|mut report| report.cases.pop()) else {
        return (ended.status.code(), None, said);
    };
    let evidence = case.evidence.join(" | ");
    (ended.status.code(), Some(case.verdict), format!("{} | {evidence} | {said}", case.reason))
}

#[test]
fn an_agent_behind_a_web_service_is_paired_and_its_turns_are_read_by_every_way() {
    if !python() {
        return;
    }
    let folder = folder(SERVER);
    let server = text(folder.path().join("broken.py"));
    let boundary: Vec<&str> = BOUNDARY.split_whitespace().collect();
    for (how, turn) in [("events", EVENTS), ("poll", POLL), ("reply", "")] {
        let open = manifest(&server, "deny", how, turn, &[]);
        let (_, verdict, said) = seen(folder.path(), &open);
        assert!(verdict == Some(Verdict::Fail), "{how}: {said}");
        assert!(said.contains("outcome: ran free"), "{how}: {said}");
    }
    if Path::new("/usr/bin/bwrap").is_file() {
        let tight = manifest(&server, "deny", "events", EVENTS, &boundary);
        let (_, verdict, said) = seen(folder.path(), &tight);
        assert!(verdict == Some(Verdict::Pass), "{said}");
        assert!(said.contains("outcome: ran confined"), "{said}");
    }
    let (_, _, said) = seen(folder.path(), &manifest(&server, "deny", "ask", EVENTS, &[]));
    assert!(said.contains("approval asked: leave was asked for 1 times, answered: deny"), "{said}");
    let (_, _, said) = seen(folder.path(), &manifest(&server, "allow", "ask", EVENTS, &[]));
    assert!(said.contains("outcome: ran free"), "{said}");
}

#[test]
fn each_way_to_break_a_web_service_is_one_sentence_and_passes_nothing() {
    if !python() {
        return;
    }
    let folder = folder(SERVER);
    let server = text(folder.path().join("broken.py"));
    for (how, turn, words) in [
        ("no-code", EVENTS, "the server's output holds no code behind `use the code:` in 10 s"),
        ("no-pair", EVENTS, "the pairing was refused: HTTP 403"),
        ("no-token", EVENTS, "the pairing gave nothing at the place that calls.pair picks"),
        ("no-stream", EVENTS, "of type `text/html`, which is no stream of events"),
        ("cut", EVENTS, "the stream of events ended before the turn did; its last event:"),
        ("chunk", EVENTS, "a chunk of the stream is broken: zz"),
        ("flood", EVENTS, "the server told 20000 events and did not end the turn"),
        ("ask,no-leave", EVENTS, "the answer to its question was refused: HTTP 410"),
        ("no-run", POLL, "calls.message picks nothing to poll"),
    ] {
        let (code, verdict, said) = seen(folder.path(), &manifest(&server, "deny", how, turn, &[]));
        assert!(code.is_some_and(|code| code != 0), "{how} was certified: {said}");
        assert!(verdict != Some(Verdict::Pass), "{how}: {said}");
        assert!(said.contains(words), "{how}: {said}");
    }
}
