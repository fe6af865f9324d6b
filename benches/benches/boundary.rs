//! What the first door costs on a message of 100 KB, beside a parse into `serde_json::Value` with
//! a walk over its depth, in the same run. The peer does less: it sees no repeated key, no control
//! character and no null byte.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use std::hint::black_box;

use clawproof_benches::{chat_request, structured_request};
use clawproof_runtime::boundary::{Limits, json, text};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The envelope as a gateway reads it: parameters stay as they came until the method is known.
#[derive(Deserialize)]
struct Envelope {
    method: String,
    params: Box<RawValue>,
}

#[derive(Deserialize)]
struct Parameters {
    text: String,
    metadata: Option<Box<RawValue>>,
}

/// Scan, strict parse of the envelope, typed parameters, text rules.
fn boundary(body: &[u8], limits: &Limits) -> usize {
    let envelope: Envelope = json::parse(body, limits).expect("a fine request").into_inner();
    let parameters: Parameters =
        serde_json::from_str(envelope.params.get()).expect("fine parameters");
    let message = text::message(parameters.text, limits).expect("a fine message");
    let metadata = parameters.metadata.map_or(0, |metadata| metadata.get().len());
    envelope.method.len() + message.get().as_str().len() + metadata
}

fn value_and_walk(body: &[u8], limits: &Limits) -> usize {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    let value: Value = serde_json::from_slice(body).expect("a fine request");
    assert!(depth(&value) <= limits.json_depth);
    let text = value.pointer("/params/text").and_then(Value::as_str).unwrap_or_default();
    assert!(text.len() <= limits.message_bytes);
    text.len()
}

fn benches(criterion: &mut Criterion) {
    let limits = Limits::default();
    let inputs = [("chat", chat_request(99_000)), ("structured", structured_request(99_000))];
    for (name, body) in inputs {
        let body = body.as_bytes();
        let mut group = criterion.benchmark_group(format!("boundary/{name}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("boundary", |bencher| {
            bencher.iter(|| boundary(black_box(body), &limits));
        });
        group.bench_function("scan alone", |bencher| {
            bencher.iter(|| json::scan(black_box(body), &limits).is_ok());
        });
        group.bench_function("value and walk", |bencher| {
            bencher.iter(|| value_and_walk(black_box(body), &limits));
        });
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
