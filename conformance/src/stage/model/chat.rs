//! OpenAI chat completions: the bytes of an answer. Knows no script.

use crate::target::template::json_literal;

use super::answer::{Break, Said, ToolCall, halves};

pub(super) fn whole(said: &Said<'_>) -> Vec<u8> {
    let (message, finish) = match said {
        Said::Text(text) => (whole_content(text), "stop"),
        Said::Calls(calls, finished) => (tool_calls(calls), reason(*finished)),
        Said::Broken(_, call) => (tool_calls(std::slice::from_ref(*call)), "length"),
    };
    envelope("chat.completion", "message", &message, Some(finish))
}

pub(super) fn stream(said: &Said<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut finish = Some("tool_calls");
    match said {
        Said::Text(text) => {
            // In two deltas, cut where a character ends.
            let (head, tail) = match std::str::from_utf8(text) {
                Ok(text) => {
                    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at));
                    text.as_bytes().split_at(middle.unwrap_or(0))
                }
                Err(_) => (*text, b"".as_slice()),
            };
            delta(&mut out, &content(head));
            delta(&mut out, &content(tail));
            finish = Some("stop");
        }
        Said::Calls(calls, finished) => {
            for (index, call) in calls.iter().enumerate() {
                let (head, tail) = halves(&call.arguments);
                piece(&mut out, index, Some((call.id.as_str(), call.name.as_slice())), head);
                piece(&mut out, index, None, tail);
            }
            finish = Some(reason(*finished));
        }
        Said::Broken(how, call) => {
            let (head, tail) = halves(&call.arguments);
            let first: &[u8] = if *how == Break::OtherName { b"harmless" } else { &call.name };
            if *how == Break::AfterEnd {
                finished(&mut out, "tool_calls");
            }
            piece(&mut out, 0, Some((call.id.as_str(), first)), head);
            match how {
                Break::OtherId => {
                    piece(&mut out, 0, Some(("call_other", call.name.as_slice())), tail)
                }
                Break::OtherName => {
                    piece(&mut out, 0, Some((call.id.as_str(), call.name.as_slice())), tail)
                }
                Break::NoEnd | Break::AfterEnd => piece(&mut out, 0, None, tail),
            }
            if *how == Break::NoEnd {
                return out;
            }
            if *how == Break::AfterEnd {
                finish = None;
            }
        }
    }
    if let Some(finish) = finish {
        finished(&mut out, finish);
    }
    out.extend(b"data: [DONE]\n\n");
    out
}

fn reason(finished: bool) -> &'static str {
    if finished { "tool_calls" } else { "length" }
}

fn finished(out: &mut Vec<u8>, reason: &str) {
    event(out, &envelope("chat.completion.chunk", "delta", b"{}", Some(reason)));
}

fn delta(out: &mut Vec<u8>, message: &[u8]) {
    event(out, &envelope("chat.completion.chunk", "delta", message, None));
}

fn event(out: &mut Vec<u8>, data: &[u8]) {
    out.extend(b"data: ");
    out.extend(data);
    out.extend(b"\n\n");
}

/// A piece of a call: its id and name where it is the first, and some of its arguments.
fn piece(out: &mut Vec<u8>, index: usize, named: Option<(&str, &[u8])>, arguments: &[u8]) {
    let mut message = format!(r#"{{"tool_calls":[{{"index":{index},"#).into_bytes();
    if let Some((id, _)) = named {
        message.extend(br#""id":"#);
        message.extend(json_literal(id.as_bytes()));
        message.extend(br#","type":"function","#);
    }
    message.extend(br#""function":{"#);
    if let Some((_, name)) = named {
        message.extend(br#""name":"#);
        message.extend(json_literal(name));
        message.push(b',');
    }
    message.extend(br#""arguments":"#);
    message.extend(json_literal(arguments));
    message.extend(b"}}]}");
    delta(out, &message);
}

fn content(text: &[u8]) -> Vec<u8> {
    [br#"{"role":"assistant","content":"#.as_slice(), &json_literal(text), b"}"].concat()
}

/// As [`content`], in an answer that is no stream.
fn whole_content(text: &[u8]) -> Vec<u8> {
    let head = br#"{"role":"assistant","refusal":null,"content":"#;
    [head.as_slice(), &json_literal(text), b"}"].concat()
}

fn tool_calls(calls: &[ToolCall]) -> Vec<u8> {
    let mut out = br#"{"role":"assistant","refusal":null,"content":null,"tool_calls":["#.to_vec();
    for (index, call) in calls.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend(br#"{"id":"#);
        out.extend(json_literal(call.id.as_bytes()));
        out.extend(br#","type":"function","function":{"name":"#);
        out.extend(json_literal(&call.name));
        out.extend(br#","arguments":"#);
        out.extend(json_literal(&call.arguments));
        out.extend(b"}}");
    }
    out.extend(b"]}");
    out
}

fn envelope(object: &str, part: &str, message: &[u8], finish: Option<&str>) -> Vec<u8> {
    let last = finish.is_some();
    let finish = finish.map_or_else(|| "null".to_owned(), |word| format!("\"{word}\""));
    let head = format!(
        r#"{{"id":"chatcmpl-1","object":"{object}","created":1700000000,"model":"hostile","choices":[{{"index":0,"{part}":"#
    );
    // What it took is said once, at the end.
    let usage: &[u8] = if last {
        br#","usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
    } else {
        b"}"
    };
    let tail = format!(r#","logprobs":null,"finish_reason":{finish}}}]"#);
    [head.as_bytes(), message, tail.as_bytes(), usage].concat()
}
