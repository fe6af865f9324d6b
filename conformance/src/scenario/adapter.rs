//! The self-check of an adapter: the protocol is spoken with it, rightly and wrongly, beside a model
//! of the suite's, and each frame is said to be right or wrong. It must never judge the target behind it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::driver::adapter::{
    Adapter, CAPABILITIES, Hello, MESSAGE, Problem, SHORT, STATUS, TOOL, introduction, result_of,
    string,
};
use crate::stage::model::{Answer, Model};
use crate::target::world::{World, random_hex};

/// How long an adapter may take to end.
const END: Duration = Duration::from_secs(5);

/// What was seen of one frame.
#[derive(Clone, Debug)]
pub struct Step {
    /// The method, or what was done to the streams.
    pub frame: &'static str,
    /// Right, wrong, or neither: a remark.
    pub right: Option<bool>,
    /// One sentence.
    pub sentence: String,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The adapter's program does not start.
    #[error("{0}")]
    Start(String),
    /// The suite's own side failed.
    #[error("{0}")]
    Suite(String),
}

/// What is told each step as it is seen.
type Say<'a> = &'a mut (dyn FnMut(Step) + Send);

/// Speaks the whole protocol with an adapter, in a world of its own.
///
/// # Errors
/// See [`CheckError`]; what the adapter does wrong is told to `say`.
pub async fn check(argv: &[String], say: Say<'_>) -> Result<(), CheckError> {
    let suite = |error: &dyn ToString| CheckError::Suite(error.to_string());
    let world = World::new().map_err(|error| suite(&error))?;
    let model = Model::start().await.map_err(|error| suite(&error))?;
    let bench = Bench { argv, world: Arc::new(world), model };
    let Some((mut adapter, hello)) = bench.hello(say).await? else { return Ok(()) };
    if let Err(problem) = bench.speak(&mut adapter, &hello, say).await {
        wrong(say, "any", format!("nothing more can be asked: {problem}"));
        return Ok(());
    }
    shut_down(&mut adapter, say).await;
    drop(adapter);
    let mut second = bench.start()?;
    second.lines().close();
    let ended = second.lines().ended(END).await;
    let sentence = "its input was closed before a word was said";
    judge(say, "(end of input)", ended.is_some(), sentence, "it ended", "it still runs after 5 s");
    Ok(())
}

fn step(say: Say<'_>, frame: &'static str, right: Option<bool>, sentence: String) {
    say(Step { frame, right, sentence });
}

fn wrong(say: Say<'_>, frame: &'static str, sentence: String) {
    step(say, frame, Some(false), sentence);
}

fn judge(say: Say<'_>, frame: &'static str, right: bool, did: &str, good: &str, bad: &str) {
    step(say, frame, Some(right), format!("{did}: {}", if right { good } else { bad }));
}

struct Bench<'a> {
    argv: &'a [String],
    world: Arc<World>,
    model: Model,
}

impl Bench<'_> {
    fn start(&self) -> Result<Adapter, CheckError> {
        let (program, rest) = self
            .argv
            .split_first()
            .ok_or_else(|| CheckError::Start("the adapter's command line is empty".to_owned()))?;
        // Where the person stands, so that relative paths mean what they look like.
        let mut command = self.world.command_as_suite(program);
        command.args(rest);
        if let Ok(here) = std::env::current_dir() {
            command.current_dir(here);
        }
        Adapter::start(&mut command)
            .map_err(|error| CheckError::Start(format!("cannot start {program}: {error}")))
    }

    async fn hello(&self, say: Say<'_>) -> Result<Option<(Adapter, Hello)>, CheckError> {
        let mut adapter = self.start()?;
        let key = format!("sk-{}", random_hex(20));
        let said = adapter.hello(introduction(&self.world, &self.model.url(), &key)).await;
        let hello = match said {
            Ok(hello) => hello,
            Err(problem) => {
                wrong(say, "hello", problem.to_string());
                return Ok(None);
            }
        };
        let named = !hello.name.is_empty();
        judge(say, "hello", named, "the target's name", &hello.name, "is empty");
        let unknown = hello.capabilities.iter().find(|it| !CAPABILITIES.contains(&it.as_str()));
        if let Some(unknown) = unknown {
            step(
                say,
                "hello",
                None,
                format!("the capability `{unknown}` is not known and ignored"),
            );
        }
        let useful = hello.can("message") || hello.can("tool");
        let list = hello.capabilities.join(", ");
        judge(say, "hello", useful, "capabilities", &list, "neither `message` nor `tool`");
        if hello.can("tool") {
            let good = !hello.tools.is_empty()
                && hello.tools.iter().all(|it| !it.name.is_empty() && it.parameters.is_object());
            let names: Vec<&str> = hello.tools.iter().map(|it| it.name.as_str()).collect();
            let bad = "each needs a `name` and `parameters`, a JSON Schema";
            judge(say, "hello", good, "tools", &names.join(", "), bad);
        }
        Ok(useful.then_some((adapter, hello)))
    }

    async fn speak(
        &self,
        adapter: &mut Adapter,
        hello: &Hello,
        say: Say<'_>,
    ) -> Result<(), Problem> {
        strange(adapter, say).await?;
        if hello.can("message") {
            self.messages(adapter, say).await?;
        }
        if hello.can("tool") {
            tools(adapter, hello, say).await?;
        }
        if hello.can("status") {
            let status = lasting(adapter.ask("status", json!({}), STATUS).await)?;
            let alive = status.as_ref().is_ok_and(|it| it.get("alive") == Some(&json!(true)));
            let got = status.map_or_else(|said| said, |status| status.to_string());
            let bad = format!("`alive` must be true while it runs; got {got}");
            judge(say, "status", alive, "asked", "`alive` is true", &bad);
        }
        Ok(())
    }

    async fn messages(&self, adapter: &mut Adapter, say: Say<'_>) -> Result<(), Problem> {
        let mut ids = Vec::new();
        for _ in 0..2 {
            match lasting(adapter.ask("session.create", json!({}), SHORT).await)? {
                Ok(result) => ids.push(string(&result, "session", "session.create")?),
                Err(said) => {
                    wrong(say, "session.create", format!("an error: {said}"));
                    return Ok(());
                }
            }
        }
        let [first, second] = ids.as_slice() else { return Ok(()) };
        judge(
            say,
            "session.create",
            first != second,
            "two sessions",
            "have names of their own",
            "have one name",
        );
        let long = "x".repeat(90_000);
        let texts = [
            ("a plain text", "please answer".to_owned()),
            (
                "a text with line ends, quotes, tabs and an emoji",
                "a\nb\r\n\"c\"\t\\ \u{1f980}".to_owned(),
            ),
            ("a text of 90,000 characters", long),
        ];
        for (what, text) in texts {
            let nonce = random_hex(8);
            let words = format!("words-{}", random_hex(8));
            let talk = self.model.expect(nonce.as_str(), vec![Answer::Text(words.clone().into())]);
            let sent = format!("{nonce} {text}");
            let params = json!({ "session": first, "text": sent });
            let reply = match lasting(adapter.ask("message", params, MESSAGE).await)? {
                Ok(result) => string(&result, "reply", "message")?,
                Err(said) => {
                    wrong(say, "message", format!("{what}: an error: {said}"));
                    continue;
                }
            };
            let exchanges = talk.exchanges();
            let arrived =
                exchanges.iter().any(|it| it.texts("user").iter().any(|it| it.contains(&sent)));
            let bad = if exchanges.is_empty() {
                "the model at `model.url` was never asked"
            } else {
                "the model was asked, and the text was changed on the way"
            };
            judge(say, "message", arrived, what, "arrived whole at the model", bad);
            let bad = format!("the model's words are not in the reply ({} bytes)", reply.len());
            judge(
                say,
                "message",
                reply.contains(&words),
                what,
                "the reply holds the model's words",
                &bad,
            );
        }
        let unknown = json!({ "session": random_hex(8), "text": "nothing" });
        let said = lasting(adapter.ask("message", unknown, MESSAGE).await)?;
        let sentence = match said {
            Ok(_) => "a session that was never created: it is taken".to_owned(),
            Err(said) => format!("a session that was never created: {said}"),
        };
        step(say, "message", None, sentence);
        Ok(())
    }
}

/// An error frame is an answer; what ends the conversation is not.
fn lasting(said: Result<Value, Problem>) -> Result<Result<Value, String>, Problem> {
    match said {
        Ok(result) => Ok(Ok(result)),
        Err(Problem::Said { code, message }) => Ok(Err(format!("{code}: {message}"))),
        Err(problem) => Err(problem),
    }
}

/// What is no proper request must be answered as such, and harm nothing.
async fn strange(adapter: &mut Adapter, say: Say<'_>) -> Result<(), Problem> {
    let unknown = adapter.ask("no.such.method", json!({}), SHORT).await;
    let good = matches!(&unknown, Err(Problem::Said { code, .. }) if code == "unknown-method");
    let got = match lasting(unknown)? {
        Ok(result) => format!("must be an error `unknown-method`; got {result}"),
        Err(said) => format!("must be an error `unknown-method`; got {said}"),
    };
    judge(say, "no.such.method", good, "an unknown method", "is refused as such", &got);
    for (what, line) in [
        ("a line that is no JSON", "this is no frame {"),
        ("a frame that is a list", "[1, 2]"),
        ("a frame without a method", "{\"params\": {}}"),
    ] {
        adapter.lines().send(line.as_bytes(), SHORT).await?;
        let answer =
            adapter.lines().next(SHORT).await.map_err(|error| match Problem::from(error) {
                Problem::Gone(words) => Problem::Gone(format!("{what}: {words}")),
                Problem::Silent(limit) => {
                    Problem::Fault(format!("{what} got no answer in {limit} ms"))
                }
                other => other,
            })?;
        let said = result_of(&answer, &Value::Null);
        let good = matches!(&said, Err(Problem::Said { code, .. }) if code == "invalid");
        let bad = format!("must be an error `invalid` with the id null; got {answer}");
        judge(say, "(bad line)", good, what, "is refused, and it goes on", &bad);
    }
    Ok(())
}

async fn tools(adapter: &mut Adapter, hello: &Hello, say: Say<'_>) -> Result<(), Problem> {
    let unknown = format!("tool_{}", random_hex(4));
    let call = |name: &str, arguments: &str| json!({ "call": random_hex(4), "name": name, "arguments": arguments });
    let said = lasting(adapter.ask("tool", call(&unknown, "{}"), TOOL).await)?;
    let got = said.as_ref().map_or_else(String::clone, Value::to_string);
    let bad = format!("must be an error; got {got}");
    judge(say, "tool", said.is_err(), "a tool that it does not have", "is refused", &bad);
    if let Some(tool) = hello.tools.first() {
        let said = lasting(adapter.ask("tool", call(&tool.name, "no JSON {"), TOOL).await)?;
        let got = said.as_ref().map_or_else(String::clone, Value::to_string);
        let bad = format!("must be an error; got {got}");
        judge(say, "tool", said.is_err(), "arguments that are no JSON", "are refused", &bad);
    }
    Ok(())
}

async fn shut_down(adapter: &mut Adapter, say: Say<'_>) {
    match adapter.ask("shutdown", json!({}), SHORT).await {
        Ok(_) => step(say, "shutdown", Some(true), "answered".to_owned()),
        Err(problem) => {
            wrong(say, "shutdown", problem.to_string());
            return;
        }
    }
    let ended = adapter.lines().ended(END).await;
    let good = ended.is_some_and(|status| status.success());
    let bad = ended.map_or_else(|| "it still runs after 5 s".to_owned(), |it| it.to_string());
    judge(say, "shutdown", good, "afterwards", "it ended with success", &bad);
}
