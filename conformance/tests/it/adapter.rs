//! Adapters: the example speaks the protocol and is attacked through it, with and without a boundary;
//! each way to break the protocol is named, and none holds the suite up.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use clawproof::report::json::Report;
#[cfg(target_os = "linux")]
use clawproof::verdict::Verdict;

#[expect(clippy::disallowed_methods, reason = "the command is what is tested")]
pub(crate) fn clawproof(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawproof"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The example and its module in a folder that the target's uid may read, and one more file.
pub(crate) fn folder(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/python");
    for name in ["clawproof_adapter.py", "example.py"] {
        std::fs::copy(python.join(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("broken.py"), more).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
    }
    folder
}

/// Whether there is a Python on this machine; adapters of other languages need none.
pub(crate) fn python() -> bool {
    // Wine shows the file of the system below it, and starts no program of that system.
    let found = cfg!(unix) && Path::new("/usr/bin/python3").is_file();
    if !found {
        eprintln!("not run: there is no /usr/bin/python3 here");
    }
    found
}

fn check(arguments: &[&str]) -> (Option<i32>, String) {
    let all = [&["adapter", "check", "--", "/usr/bin/python3"], arguments].concat();
    let Output { status, stdout, .. } = clawproof(&all);
    (status.code(), String::from_utf8(stdout).unwrap())
}

pub(crate) fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_example_speaks_the_protocol_with_an_agent_and_without() {
    if !python() {
        return;
    }
    let folder = folder("");
    let example = text(folder.path().join("example.py"));
    for (arguments, frame) in
        [(vec![&*example], "message"), (vec![&*example, "--tools-only"], "tool")]
    {
        let (code, said) = check(&arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.lines().any(|line| line.starts_with("ok") && line.contains(frame)), "{said}");
    }
}

/// The example with one thing broken, by the first argument.
const BROKEN: &str = r#"
import json, sys, time, os
import clawproof_adapter, example
how = sys.argv[1]
answer = clawproof_adapter._answer
class Broken(example.Example):
    def create_session(self):
        name = super().create_session()
        self.sessions["s"] = []
        return "s" if how == "one-session" else name
    def message(self, session, text):
        if how == "changes":
            text = text.replace("\n", " ")
        if how == "no-model":
            return "done"
        if how == "own-words":
            super().message(session, text)
            return "done"
        if how == "dies":
            os._exit(3)
        return super().message(session, text)
    def status(self):
        return {"alive": "yes"} if how == "status" else super().status()
    def tool(self, name, arguments):
        return super().tool(name, arguments)
def changed(adapter, method, params):
    if how == "protocol" and method == "hello":
        return {**answer(adapter, method, params), "protocol": "other/9"}
    if how == "takes-all" and method not in clawproof_adapter.__dict__ and method == "no.such.method":
        return {}
    if how == "any-tool" and method == "tool":
        return {"output": "done"}
    if how == "code" and method == "no.such.method":
        class Strange(clawproof_adapter.Refused):
            code = "nope"
        raise Strange("no")
    if how == "chatter":
        print("starting up", file=out, flush=True)
    if how == "flood":
        while True:
            out.write("x" * 65536)
    if how == "hang" and method == "session.create":
        time.sleep(600)
    return answer(adapter, method, params)
out = sys.stdout
clawproof_adapter._answer = changed
if how == "wrong-id":
    error = clawproof_adapter._respond
    clawproof_adapter._respond = lambda a, l: ({**error(a, l)[0], "id": 7}, False)
if how == "both":
    respond = clawproof_adapter._respond
    clawproof_adapter._respond = lambda a, l: ({**respond(a, l)[0], "error": {"code": "failed", "message": ""}}, False)
if how == "silent-end":
    sys.exit(0)
if how == "stays":
    clawproof_adapter.serve(Broken([], True))
    time.sleep(600)
clawproof_adapter.serve(Broken([], True))
"#;

#[test]
fn each_way_to_break_the_protocol_is_named_and_ends_with_1_in_bounded_time() {
    if !python() {
        return;
    }
    let folder = folder(BROKEN);
    let broken = text(folder.path().join("broken.py"));
    for (how, words) in [
        ("protocol", "it speaks `other/9`"),
        ("wrong-id", "an answer has the id 7"),
        ("both", "exactly one of `result` and `error`"),
        ("silent-end", "it closed its output"),
        ("chatter", "no JSON object"),
        ("flood", "longer than 4000000 bytes"),
        ("hang", "no answer within 10000 ms"),
        ("takes-all", "must be an error `unknown-method`"),
        ("code", "unknown error code `nope`"),
        ("one-session", "have one name"),
        ("changes", "the text was changed on the way"),
        ("no-model", "was never asked"),
        ("own-words", "the model's words are not in the reply"),
        ("dies", "and ended (exit status: 3)"),
        ("any-tool", "must be an error; got"),
        ("status", "`alive` must be true"),
        ("stays", "it still runs after 5 s"),
    ] {
        let begun = Instant::now();
        let (code, said) = check(&[&broken, how]);
        assert_eq!(code, Some(1), "{how}: {said}");
        let faults: Vec<&str> = said.lines().filter(|line| line.starts_with("FAULT")).collect();
        assert!(faults.iter().any(|line| line.contains(words)), "{how}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(40), "{how} took {:?}", begun.elapsed());
    }
    let none = clawproof(&["adapter", "check", "--", "/no/such/program"]);
    assert_eq!(none.status.code(), Some(2));
}

/// Plays cases on the target behind an adapter.
#[cfg(target_os = "linux")]
fn run(folder: &Path, arguments: &[&str], cases: &[&str]) -> (Option<i32>, Option<Report>) {
    run_by("driver = \"process\"", folder, arguments, cases)
}

/// The same, by another driver.
#[cfg(target_os = "linux")]
fn run_by(
    driver: &str,
    folder: &Path,
    arguments: &[&str],
    cases: &[&str],
) -> (Option<i32>, Option<Report>) {
    let argv: Vec<String> = arguments.iter().map(|word| format!("{word:?}")).collect();
    let manifest = format!(
        r#"
name = "behind-an-adapter"
{driver}
profiles = ["sandbox", "registry"]
[start]
argv = ["/usr/bin/env", "PYTHONDONTWRITEBYTECODE=1", "MODEL=${{MODEL_URL}}", "/usr/bin/python3", {}]
[tools.read]
name = "read"
arguments = {{ path = "${{path}}" }}
[tools.write]
name = "write"
arguments = {{ path = "${{path}}", content = "${{content}}" }}
[tools.exec]
name = "exec"
arguments = {{ argv = "${{argv}}" }}
"#,
        argv.join(", ")
    );
    let (file, report) = (folder.join("target.toml"), folder.join("report.json"));
    std::fs::write(&file, manifest).unwrap();
    let _ = std::fs::remove_file(&report);
    let (file, place) = (text(file), text(report.clone()));
    let mut all = vec!["run", "--quiet", "--jobs", "2", "--target", &file, "--json", &place];
    for case in cases {
        all.extend(["--case", case]);
    }
    let ended = clawproof(&all);
    let read = std::fs::read(report).ok();
    (ended.status.code(), read.map(|bytes| serde_json::from_slice(&bytes).unwrap()))
}

#[cfg(target_os = "linux")]
fn verdicts(report: &Report) -> Vec<(&str, Verdict)> {
    report.cases.iter().map(|case| (case.case.as_str(), case.verdict)).collect()
}

/// A boundary for the example: bubblewrap, for ordinary users' namespaces.
#[cfg(target_os = "linux")]
pub(crate) const BOUNDARY: &str = "bwrap --unshare-all --die-with-parent --ro-bind /usr /usr --symlink usr/bin \
    /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev \
    --bind WORKSPACE WORKSPACE";

#[cfg(target_os = "linux")]
#[test]
fn the_target_behind_an_adapter_fails_without_a_boundary_and_holds_with_one() {
    let bubblewrap = Path::new("/usr/bin/bwrap").is_file();
    if !python() || !bubblewrap {
        return;
    }
    let folder = folder("");
    let example = text(folder.path().join("example.py"));
    let probes = ["probe:fs.write-outside-workspace", "probe:net.tcp4"];
    let boundary: Vec<&str> = BOUNDARY.split_whitespace().collect();
    for agent in [vec![], vec!["--tools-only"]] {
        let open = [vec![&*example], agent.clone()].concat();
        let (code, report) = run(folder.path(), &open, &probes);
        let report = report.unwrap();
        assert_eq!(code, Some(1));
        assert!(verdicts(&report).iter().all(|(_, it)| *it == Verdict::Fail), "{report:#?}");
        assert!(report.cases.iter().all(|it| it.reason.contains("BREACHED")), "{report:#?}");
        let closed = [open, vec!["--"], boundary.clone()].concat();
        let (_, report) = run(folder.path(), &closed, &probes);
        let report = report.unwrap();
        assert!(verdicts(&report).iter().all(|(_, it)| *it == Verdict::Pass), "{report:#?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_adapter_that_is_broken_passes_nothing_and_holds_nothing_up() {
    if !python() {
        return;
    }
    let folder = folder(BROKEN);
    let broken = text(folder.path().join("broken.py"));
    let cases = ["probe:net.tcp4", "TC-001"];
    for how in ["protocol", "wrong-id", "silent-end", "flood", "dies", "hang"] {
        let begun = Instant::now();
        let (code, report) = run(folder.path(), &[&broken, how], &cases);
        assert!(code.is_some_and(|code| code != 0), "{how} was certified");
        let passed =
            report.iter().flat_map(|it| &it.cases).filter(|it| it.verdict == Verdict::Pass);
        assert_eq!(passed.count(), 0, "{how}");
        assert!(begun.elapsed() < Duration::from_secs(200), "{how} took {:?}", begun.elapsed());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_target_that_ends_in_the_middle_is_told_from_one_that_is_silent() {
    if !python() {
        return;
    }
    let folder = folder(BROKEN);
    let broken = text(folder.path().join("broken.py"));
    let (_, report) = run(folder.path(), &[&broken, "dies"], &["TC-001.001"]);
    let report = report.unwrap();
    let reasons: Vec<&str> = report.cases.iter().map(|it| it.reason.as_str()).collect();
    assert!(reasons.iter().any(|it| it.contains("died")), "{report:#?}");
}

/// The example's agent behind the Agent Client Protocol. `--ask`: it asks for leave first; `--hang`,
/// `--flood`, `--die`: it does so at a prompt; `--no-tools`: it offers none.
#[cfg(target_os = "linux")]
const ACP: &str = r#"
import json, sys, os, time
import example
def say(frame):
    print(json.dumps({"jsonrpc": "2.0", **frame}), flush=True)
sandbox = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else []
agent = example.Example(sandbox, True)
if "--no-tools" in sys.argv:
    agent.tools = [{**agent.tools[0], "name": "other"}]
    agent.tool = lambda name, arguments: "there is no such tool"
elif "--ask" in sys.argv:
    free = agent.tool
    def asked(name, arguments):
        options = [{"optionId": "y", "name": "Yes", "kind": "allow_once"}, {"optionId": "n", "name": "No", "kind": "reject_once"}]
        say({"id": "leave", "method": "session/request_permission", "params": {"sessionId": "s1", "toolCall": {"toolCallId": "1"}, "options": options}})
        while True:
            answer = json.loads(sys.stdin.readline())
            if answer.get("id") == "leave":
                break
        if answer["result"]["outcome"].get("optionId") != "y":
            return "the user said no"
        return free(name, arguments)
    agent.tool = asked
for line in sys.stdin:
    frame = json.loads(line)
    method, params = frame["method"], frame.get("params", {})
    result = {}
    if method == "initialize":
        url = os.environ["MODEL"]
        result = {"protocolVersion": 1, "agentCapabilities": {}}
    elif method == "session/new":
        agent.begin({"workspace": params["cwd"], "model": {"url": os.environ["MODEL"], "key": "none"}})
        result = {"sessionId": agent.create_session()}
    elif method == "session/prompt":
        say({"id": 7, "method": "fs/read_text_file", "params": {"path": "/etc/passwd"}})
        refused = json.loads(sys.stdin.readline())
        assert refused["error"]["code"] == -32601
        if "--hang" in sys.argv:
            time.sleep(600)
        if "--die" in sys.argv:
            os._exit(3)
        while "--flood" in sys.argv:
            say({"method": "session/update", "params": {"update": {"sessionUpdate": "x"}}})
        words = agent.message(params["sessionId"], params["prompt"][0]["text"])
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": words}}
        say({"method": "session/update", "params": {"sessionId": "s1", "update": update}})
        result = {"stopReason": "end_turn"}
    say({"id": frame["id"], "result": result})
"#;

#[cfg(target_os = "linux")]
#[test]
fn an_agent_of_an_editor_fails_without_a_boundary_and_its_outcomes_are_told_apart() {
    if !python() {
        return;
    }
    let folder = folder(ACP);
    let agent = text(folder.path().join("broken.py"));
    let boundary: Vec<&str> = BOUNDARY.split_whitespace().collect();
    let probe = ["probe:net.tcp4"];
    let deny = "driver = \"acp\"";
    let allow = "driver = \"acp\"\napproval = \"allow\"";
    let seen = |driver: &str, more: &[&str]| {
        let arguments = [&[&*agent], more].concat();
        let (_, report) = run_by(driver, folder.path(), &arguments, &probe);
        let case = report.unwrap().cases.remove(0);
        (case.verdict, format!("{} | {}", case.reason, case.evidence.join(" | ")))
    };
    let (verdict, said) = seen(deny, &[]);
    assert!(verdict == Verdict::Fail && said.contains("outcome: ran free"), "{said}");
    let tight = [&["--"], boundary.as_slice()].concat();
    let (verdict, said) = seen(deny, &tight);
    assert!(verdict == Verdict::Pass && said.contains("outcome: ran confined"), "{said}");
    let (verdict, said) = seen(deny, &["--ask"]);
    assert!(verdict == Verdict::Fail, "{said}");
    assert!(said.contains("approval asked: leave was asked for 1 times, answered: deny"), "{said}");
    let (_, said) = seen(allow, &["--ask"]);
    assert!(said.contains("outcome: ran free"), "{said}");
    // What is not offered is not executed: nothing is known, and nothing is certified.
    let (code, report) = run_by(deny, folder.path(), &[&agent, "--no-tools"], &probe);
    assert!(code == Some(3) && report.is_none(), "{code:?}");
    // Nor is anything known of one that never asked its model: neither a pass nor a breach.
    for how in ["--die", "--flood"] {
        let (verdict, said) = seen(deny, &[how]);
        let told = said.contains("no answer: the agent did not ask its model");
        assert!(verdict == Verdict::Inconclusive && told, "{how}: {verdict:?} {said}");
    }
}
