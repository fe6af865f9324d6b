//! The HTML pages in a real browser: they load nothing, run no script of a target's, fit a phone,
//! filter and unfold, and can be used by ear. Where there is no browser, nothing is shown: the test
//! says so, and `cargo xtask test` counts the step as not checked.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use clawproof::oracle::matrix::KillMatrix;
use clawproof::report::contrast::Again;
use clawproof::report::json::Report;
use clawproof::report::{compare, html};
use command_fds::{CommandFdExt as _, FdMapping};
use serde_json::{Value, json};

const EVIL: &str =
    "</pre><script>window.owned=1</script><img src=x onerror=window.owned=2><svg onload=owned=3>";

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("NOT RUN: there is no chromium here, so the page was not looked at in a browser");
    }
    found
}

/// A browser that is spoken to through two pipes.
struct Page {
    child: Child,
    to: File,
    from: BufReader<File>,
    number: u64,
    session: Option<String>,
    _profile: tempfile::TempDir,
}

impl Page {
    #[expect(clippy::disallowed_methods, reason = "starts the browser that looks at the page")]
    fn open(program: &Path, file: &Path, width: u32) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (their_in, to) = std::io::pipe().unwrap();
        let (from, their_out) = std::io::pipe().unwrap();
        let mut command = std::process::Command::new(program);
        command
            .args(["--headless=new", "--no-first-run", "--disable-gpu", "--remote-debugging-pipe"])
            .args(["--disable-background-networking", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if rustix::process::geteuid().is_root() {
            // Chromium has no sandbox for root; what it shows here is a page of our own.
            command.arg("--no-sandbox");
        }
        command
            .fd_mappings(vec![
                FdMapping { parent_fd: their_in.into(), child_fd: 3 },
                FdMapping { parent_fd: their_out.into(), child_fd: 4 },
            ])
            .unwrap();
        let child = command.spawn().unwrap();
        drop(command); // and with it our copies of the browser's ends
        let to = File::from(std::os::fd::OwnedFd::from(to));
        let from = BufReader::new(File::from(std::os::fd::OwnedFd::from(from)));
        let mut page = Self { child, to, from, number: 0, session: None, _profile: profile };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = page.call("Target.attachToTarget", attach);
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        let size =
            json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600});
        page.call("Emulation.setDeviceMetricsOverride", size);
        page.go(file);
        page
    }

    fn go(&mut self, file: &Path) {
        self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        let done = "document.readyState === 'complete' && location.protocol === 'file:'";
        let loaded = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            self.value(done) == true
        });
        assert!(loaded, "the page did not load");
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser ended");
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == self.number {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Sets a field of the filter as a person does, and says how many rows are shown.
    fn filter(&mut self, name: &str, value: &str) -> u64 {
        self.value(&format!(
            "(() => {{ const field = document.querySelector('[name={name}]'); field.value = '{value}';
               field.dispatchEvent(new Event('input', {{bubbles: true}}));
               return [...document.querySelectorAll('[data-verdict]')].filter(it => it.offsetParent).length }})()"
        ))
        .as_u64()
        .unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn report(os: &str) -> Report {
    let case = |id: &str, requirement: &str, verdict: &str, effect: &str| {
        json!({
            "case": id, "requirements": [requirement], "surface": "message.text",
            "verdict": verdict, "reason": EVIL, "evidence": [EVIL, "second line"],
            "legs": {"reached": "stood", "twin": "stood", "no_effect": effect, "control": "stood"},
            "milliseconds": 3,
        })
    };
    let row = |id: &str, layer: &str, verdict: Value| {
        json!({
            "id": id, "layer": layer, "level": "must", "sentence": "What it asks for.",
            "verdict": verdict, "reason": EVIL, "cases": 1, "passed": 0,
        })
    };
    let probes =
        (0..120).map(|it| row(&format!("sandbox.fs.probe-{it}"), "sandbox", json!("pass")));
    let mut rows = vec![
        row("input.utf8", "input", json!("pass")),
        row("path.traversal", "input", json!("fail")),
        row("plugin.peer", "plugins", Value::Null),
    ];
    rows.splice(2..2, probes);
    serde_json::from_value(json!({
        "schema": "clawproof.report/1", "suite": "0.1.0", "revision": "2026-11", "corpus": "1",
        "target": {"name": EVIL, "title": EVIL, "program": "ab".repeat(32), "manifest": "cd"},
        "environment": {"os": os, "arch": "x86_64", "kernel": EVIL, "uid": 1},
        "profiles": ["boundary"], "seed": 7, "knockout": null, "partial": false,
        "time": "2026-11-24T00:00:00Z", "milliseconds": 1234,
        "summary": {"exit": 1, "sentence": EVIL, "musts_passed": 1, "musts": 3, "cases": {},
            "requirements": {}},
        "requirements": rows,
        "cases": [case("UC-001.001", "input.utf8", "pass", "stood"),
            case("PT-001.001", "path.traversal", "fail", "fell")],
        "digests": {},
    }))
    .unwrap()
}

/// No horizontal scrolling of the page as a whole, nothing fetched, nothing of a target's run.
fn sound(page: &mut Page) {
    let wide = page.value("document.documentElement.scrollWidth - window.innerWidth");
    assert!(wide.as_i64().unwrap() <= 0, "the page is {wide} pixels wider than the screen");
    assert_eq!(page.value("performance.getEntriesByType('resource').length"), 0);
    assert_eq!(page.value("typeof window.owned"), "undefined");
    assert_eq!(page.value("document.images.length"), 0);
    // Even where escaping failed, the page's policy would run nothing.
    page.value(
        "(() => { const it = document.createElement('script'); it.textContent = 'window.owned = 4';
         document.body.append(it); const link = document.createElement('p');
         link.setAttribute('onclick', 'window.owned = 5'); document.body.append(link); link.click(); })()",
    );
    assert_eq!(page.value("typeof window.owned"), "undefined", "the policy does not hold");
}

/// Everything that can be used has a name, and the page has a language and one title.
fn by_ear(page: &mut Page) {
    assert_eq!(page.value("document.documentElement.lang"), "en");
    assert_eq!(page.value("document.querySelectorAll('h1').length"), 1);
    let levels = page.value("[...document.querySelectorAll('h1,h2,h3')].map(it => +it.tagName[1])");
    let levels: Vec<i64> = levels.as_array().unwrap().iter().flat_map(Value::as_i64).collect();
    assert!(levels.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{levels:?}");
    let tree = page.call("Accessibility.getFullAXTree", json!({}));
    let used = ["button", "combobox", "searchbox", "link", "region", "image", "DisclosureTriangle"];
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if used.contains(&role) && node["ignored"] != true {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.trim().is_empty(), "a {role} has no name: {node}");
        }
    }
}

#[test]
fn the_report_works_on_a_phone_offline_and_against_hostile_evidence() {
    let Some(program) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let matrix = KillMatrix::shipped().unwrap();
    let text = html::render(&[report("linux"), report("macos")], &matrix, "clawproof run").unwrap();
    std::fs::write(&file, text).unwrap();
    let mut page = Page::open(&program, &file, 390);
    sound(&mut page);
    by_ear(&mut page);
    // 123 requirements and 2 cases, on two systems.
    assert_eq!(page.filter("verdict", ""), 250);
    assert_eq!(page.value("document.querySelectorAll('[data-brick]').length"), 246);
    assert_eq!(page.filter("verdict", "fail"), 4);
    assert_eq!(page.filter("os", "macos"), 2);
    assert_eq!(page.filter("layer", "sandbox"), 0);
    assert_eq!(page.value("document.querySelector('output').textContent"), "0 of 250 shown");
    page.value("document.querySelector('form').reset()");
    page.value("new Promise(done => setTimeout(done, 20))");
    assert_eq!(page.filter("text", "utf8"), 4);
    page.filter("text", "");
    // Evidence unfolds, as text.
    let pre = "document.querySelector('#r0-PT-001\\\\.001 pre')";
    assert_eq!(page.value(&format!("{pre}.checkVisibility()")), false);
    page.value("document.querySelector('#r0-PT-001\\\\.001 summary').click()");
    assert_eq!(page.value(&format!("{pre}.checkVisibility()")), true);
    let shown = page.value(&format!("{pre}.textContent"));
    assert!(shown.as_str().unwrap().contains("<script>window.owned=1</script>"), "{shown}");
    // A brick leads to its requirement.
    let brick = "a[href=\"#r0-path.traversal\"]";
    page.value(&format!(
        "document.querySelector('{brick}').dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"
    ));
    page.value("new Promise(done => setTimeout(done, 50))");
    assert_eq!(page.value("document.getElementById('r0-path.traversal').open"), true);
    // Without scripts all is there, and nothing pretends to filter.
    page.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    page.go(&file);
    assert_eq!(page.value("document.querySelector('form').hidden"), true);
    assert_eq!(page.value("document.querySelectorAll('[data-verdict]:not([hidden])').length"), 250);
}

#[test]
fn the_comparison_works_on_a_phone_and_shows_what_differs() {
    let Some(program) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compare.html");
    let mut other = report("linux");
    other.target.name = "other".to_owned();
    other.requirements[1].verdict = Some(clawproof::verdict::Verdict::Pass);
    std::fs::write(&file, compare::html(&[report("linux"), other], Again::default()).unwrap())
        .unwrap();
    let mut page = Page::open(&program, &file, 390);
    sound(&mut page);
    by_ear(&mut page);
    assert_eq!(page.filter("differs", ""), 123);
    assert_eq!(page.filter("differs", "yes"), 1);
}
