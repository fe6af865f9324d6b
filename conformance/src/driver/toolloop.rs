//! The turn loop of an agent, for an adapter that can run tools and has no agent of its own: it
//! asks the suite's model and runs what that asks for. It must never change or judge a call.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::DriverError;
use super::adapter::{Adapter, Hello, MESSAGE, Problem, TOOL, string};
use super::http::Request;

/// How often the model is asked in one turn.
const STEPS: usize = 16;

/// One turn: the user's text to the model, its calls to the adapter, until it answers in words.
///
/// # Errors
/// As [`Adapter::ask`]; an error that the adapter gives for a call goes to the model as its result.
pub(super) async fn run(
    adapter: &mut Adapter,
    hello: &Hello,
    model: &str,
    text: &str,
) -> Result<String, Problem> {
    let tools: Vec<Value> = hello
        .tools
        .iter()
        .map(|tool| {
            let function = json!({
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            });
            json!({ "type": "function", "function": function })
        })
        .collect();
    let mut messages = vec![json!({ "role": "user", "content": text })];
    for _ in 0..STEPS {
        let body = json!({ "model": "suite", "messages": messages, "tools": tools });
        let message = ask(model, &body).await.map_err(failed)?;
        let calls = message.get("tool_calls").and_then(Value::as_array).cloned();
        messages.push(message.clone());
        let Some(calls) = calls.filter(|calls| !calls.is_empty()) else {
            let words = message.get("content").and_then(Value::as_str);
            return Ok(words.unwrap_or_default().to_owned());
        };
        for call in calls {
            let part = |place: &str| call.pointer(place).and_then(Value::as_str).unwrap_or("");
            let asked = json!({
                "call": part("/id"),
                "name": part("/function/name"),
                "arguments": part("/function/arguments"),
            });
            let content = match adapter.ask("tool", asked, TOOL).await {
                Ok(result) => string(&result, "output", "tool")?,
                Err(Problem::Said { code, message }) => format!("{code}: {message}"),
                Err(problem) => return Err(problem),
            };
            messages.push(json!({
                "role": "tool", "tool_call_id": part("/id"), "content": content,
            }));
        }
    }
    Err(failed("the model asked for tools without end".to_owned()))
}

fn failed(message: String) -> Problem {
    Problem::Said { code: "failed".to_owned(), message }
}

/// The message that the model answers with.
async fn ask(model: &str, body: &Value) -> Result<Value, String> {
    let wrong = || format!("the model's URL is not of this host: {model}");
    let (host, path) =
        model.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
    let address: SocketAddr = host.parse().map_err(|_| wrong())?;
    let request = Request {
        method: "POST".to_owned(),
        path: format!("/{path}/chat/completions"),
        headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
        pieces: vec![body.to_string().into_bytes()],
        ..Request::default()
    };
    let reply =
        request.send(address, MESSAGE).await.map_err(|error: DriverError| error.to_string())?;
    let message = reply.json().and_then(|json| json.pointer("/choices/0/message").cloned());
    message.ok_or_else(|| format!("the model's answer holds no message: {}", reply.summary()))
}
