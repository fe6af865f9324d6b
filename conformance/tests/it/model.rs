//! The hostile model against schemas of the APIs that it speaks, written from their public documents:
//! an answer that is not meant to be malformed is exactly what a client of that API may expect, so
//! that a fault of the suite is never a target's failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clawproof::driver::http::Request;
use clawproof::stage::model::{Answer, Model, ToolCall};
use jsonschema::Validator;
use serde_json::{Value, json};

/// One API: its name, as the schemas have it, and a request that holds a key.
struct Api {
    name: &'static str,
    path: fn(bool) -> String,
    body: fn(&str, bool) -> Value,
}

const APIS: &[Api] = &[
    Api {
        name: "chat",
        path: |_| "/v1/chat/completions".into(),
        body: |key, stream| json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": key}]}),
    },
    Api {
        name: "responses",
        path: |_| "/v1/responses".into(),
        body: |key, stream| json!({"model": "m", "stream": stream, "input": key}),
    },
    Api {
        name: "messages",
        path: |_| "/v1/messages".into(),
        body: |key, stream| {
            json!({"model": "m", "max_tokens": 9, "stream": stream,
                "messages": [{"role": "user", "content": key}]})
        },
    },
    Api {
        name: "generate",
        path: |stream| {
            let method = if stream { "streamGenerateContent" } else { "generateContent" };
            format!("/v1/models/m:{method}")
        },
        body: |key, _| json!({"contents": [{"role": "user", "parts": [{"text": key}]}]}),
    },
];

fn schema(name: &str) -> Validator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn calls(count: usize) -> Vec<ToolCall> {
    (0..count)
        .map(|n| ToolCall::new(format!("tool_{n}"), r#"{"path":"a\"b\u00e9","n":[1]}"#))
        .collect()
}

/// What the model may say that is meant to be sound.
fn answers() -> Vec<Answer> {
    vec![
        Answer::default(),
        Answer::Text("quotes \" line ends \n tabs \t null \u{0} emoji \u{1f980}".into()),
        Answer::Text(Vec::new()),
        Answer::Calls(calls(1)),
        Answer::Calls(calls(3)),
        Answer::Unfinished(calls(1)),
        Answer::Pieces(7, Box::new(Answer::Calls(calls(2)))),
        Answer::Late(Duration::from_millis(5), Box::new(Answer::Text("late".into()))),
    ]
}

/// What one request brings: the content type, and the objects of the body or of its events.
async fn ask(
    model: &Model,
    api: &Api,
    answer: Answer,
    stream: bool,
) -> (String, Vec<Value>, String) {
    let key = clawproof::target::world::random_hex(8);
    let _talk = model.expect(key.as_str(), vec![answer]);
    let request = Request {
        method: "POST".into(),
        path: (api.path)(stream),
        headers: vec![("Content-Type".into(), "application/json".into())],
        pieces: vec![(api.body)(&key, stream).to_string().into_bytes()],
        ..Request::default()
    };
    let address = ([127, 0, 0, 1], model.port()).into();
    let reply = request.send(address, Duration::from_secs(10)).await.unwrap();
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body.clone()).unwrap();
    let kind = reply.header("content-type").unwrap().to_owned();
    let objects = if stream {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|it| serde_json::from_str(it).unwrap()).collect()
    } else {
        vec![serde_json::from_str(&text).unwrap()]
    };
    (kind, objects, text)
}

#[tokio::test]
async fn every_sound_answer_is_one_of_its_api_streamed_and_not() {
    let model = Model::start().await.unwrap();
    for api in APIS {
        for stream in [false, true] {
            let name = if stream { format!("{}-event", api.name) } else { api.name.to_owned() };
            let validator = schema(&name);
            for answer in answers() {
                let said = format!("{name}: {answer:?}");
                let (kind, objects, text) = ask(&model, api, answer, stream).await;
                assert_eq!(kind == "text/event-stream", stream, "{said}");
                assert!(!objects.is_empty(), "{said}");
                for object in &objects {
                    let faults: Vec<String> =
                        validator.iter_errors(object).map(|it| it.to_string()).collect();
                    assert!(faults.is_empty(), "{said}: {object:#}: {faults:?}");
                }
                if stream {
                    in_order(api.name, &objects, &text, &said);
                }
            }
        }
    }
}

/// The events of a stream come in the order that the API's documents give, each named as its data is.
fn in_order(api: &str, objects: &[Value], text: &str, said: &str) {
    let kinds: Vec<&str> = objects.iter().filter_map(|it| it["type"].as_str()).collect();
    let named: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(kinds, named, "{said}");
    match api {
        "chat" => {
            assert!(text.ends_with("data: [DONE]\n\n"), "{said}");
            let finished = |it: &&Value| !it["choices"][0]["finish_reason"].is_null();
            assert_eq!(objects.iter().filter(finished).count(), 1, "{said}");
            assert!(finished(&objects.last().unwrap()), "{said}");
        }
        "responses" => {
            let numbers: Vec<u64> =
                objects.iter().map(|it| it["sequence_number"].as_u64().unwrap()).collect();
            assert!(numbers.iter().copied().eq(0..objects.len() as u64), "{said}: {numbers:?}");
            assert_eq!(kinds[0], "response.created", "{said}");
            assert!(["response.completed", "response.incomplete"].contains(kinds.last().unwrap()));
            let last = &objects.last().unwrap()["response"]["output"];
            let done = objects.iter().filter(|it| it["type"] == "response.output_item.done");
            let done: Vec<&Value> = done.map(|it| &it["item"]).collect();
            assert!(last.as_array().unwrap().iter().eq(done), "{said}");
            told_in_pieces(objects, said);
        }
        "messages" => {
            assert_eq!(kinds[0], "message_start", "{said}");
            assert_eq!(kinds[kinds.len() - 2..], ["message_delta", "message_stop"], "{said}");
            let mut open = None;
            for event in objects {
                match event["type"].as_str().unwrap() {
                    "content_block_start" => {
                        assert!(open.is_none(), "{said}");
                        open = Some(event["index"].clone());
                    }
                    "content_block_delta" => assert_eq!(open.as_ref(), Some(&event["index"])),
                    "content_block_stop" => assert_eq!(open.take().as_ref(), Some(&event["index"])),
                    _ => assert!(open.is_none(), "{said}"),
                }
            }
        }
        _ => {
            let finished =
                objects.iter().filter(|it| it["candidates"][0]["finishReason"].is_string());
            assert_eq!(finished.count(), 1, "{said}");
        }
    }
}

/// What a client gathers from the pieces of a response is what its items say in the end.
fn told_in_pieces(objects: &[Value], said: &str) {
    let mut gathered: BTreeMap<u64, String> = BTreeMap::new();
    for event in objects {
        let Some(index) = event["output_index"].as_u64() else { continue };
        let so_far = gathered.entry(index).or_default();
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(event["item"]["status"], "in_progress", "{said}");
                assert!(event["item"]["content"].as_array().is_none_or(Vec::is_empty), "{said}");
                assert!(event["item"]["arguments"].as_str().is_none_or(str::is_empty), "{said}");
            }
            "response.output_text.delta" | "response.function_call_arguments.delta" => {
                so_far.push_str(event["delta"].as_str().unwrap());
            }
            "response.output_item.done" => {
                let item = &event["item"];
                let whole = item["arguments"].as_str().or(item["content"][0]["text"].as_str());
                assert_eq!(Some(so_far.as_str()), whole, "{said}");
            }
            _ => {}
        }
    }
}

/// Every member of every object in a value, as a pointer.
fn members(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                found.push(format!("{at}/{key}"));
                members(inner, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                members(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_is_refused_by_the_schema() {
    let model = Model::start().await.unwrap();
    for api in APIS {
        let validator = schema(api.name);
        let (_, objects, _) = ask(&model, api, Answer::Calls(calls(1)), false).await;
        let good = &objects[0];
        assert!(validator.is_valid(good));
        let mut places = Vec::new();
        members(good, "", &mut places);
        // Every member that is replaced by one of another type is noticed, but inside the arguments,
        // which are the tool's own.
        for place in places.iter().filter(|it| !it.contains("/args/") && !it.contains("/input/")) {
            let mut changed = good.clone();
            *changed.pointer_mut(place).unwrap() = json!([[true]]);
            assert!(!validator.is_valid(&changed), "{}: {place} may be anything", api.name);
        }
        let mut more = good.clone();
        more["unknown"] = json!(1);
        assert!(!validator.is_valid(&more), "{}", api.name);
        let none = json!({});
        assert!(!validator.is_valid(&none), "{}", api.name);
    }
}
