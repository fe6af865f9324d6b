//! What the first door costs on a message of 100 KB, beside two peers in the same run: a parse into
//! `serde_json::Value` with a walk over its depth, and the same with what such runtimes do besides,
//! a pass that drops control characters and a normalisation to NFKC. The peers do less: they see no
//! repeated key.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use std::hint::black_box;

use clawproof_benches::{chat_request, structured_request};
use clawproof_runtime::boundary::{Limits, json, text};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use unicode_normalization::UnicodeNormalization as _;

/// The envelope as a gateway reads it: parameters stay as they came until the method is known.
#[derive(Deserialize)]
struct Envelope<'text> {
    method: &'text str,
    #[serde(borrow)]
    params: &'text RawValue,
}

#[derive(Deserialize)]
struct Parameters<'text> {
    text: String,
    #[serde(borrow)]
    metadata: Option<&'text RawValue>,
}

/// One scan, the envelope, typed parameters where they stand, text rules: as the gateway does.
fn boundary(body: &[u8], limits: &Limits) -> usize {
    let document = json::Document::read(body, limits).expect("a fine request");
    let envelope: Envelope<'_> = document.parse().expect("a fine envelope").into_inner();
    let parameters: Parameters<'_> =
        document.part(envelope.params).expect("fine parameters").into_inner();
    let message = text::message(parameters.text, limits).expect("a fine message");
    let metadata = parameters.metadata.map_or(0, |metadata| metadata.get().len());
    envelope.method.len() + message.get().as_str().len() + metadata
}

/// The text of a message, out of the tree.
fn walked(value: &Value, limits: &Limits) -> String {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    assert!(depth(value) <= limits.json_depth);
    let text = value.pointer("/params/text").and_then(Value::as_str).unwrap_or_default();
    assert!(text.len() <= limits.message_bytes);
    text.to_owned()
}

fn value_and_walk(body: &[u8], limits: &Limits) -> usize {
    let value: Value = serde_json::from_slice(body).expect("a fine request");
    walked(&value, limits).len()
}

/// The peer of the project's goal: value, walk, sanitise, NFKC.
fn value_walk_and_normalise(body: &[u8], limits: &Limits) -> usize {
    let value: Value = serde_json::from_slice(body).expect("a fine request");
    let text = walked(&value, limits);
    let plain = |c: &char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    let clean: String = text.chars().filter(plain).collect();
    clean.nfkc().collect::<String>().len()
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
        group.bench_function("value, walk and NFKC", |bencher| {
            bencher.iter(|| value_walk_and_normalise(black_box(body), &limits));
        });
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
