//! The inputs that the benches share. They are made here, of a fixed size and the same each time;
//! this crate must never know what is fast.

/// A `session.message` request whose text is about `bytes` long and reads like a chat: words,
/// punctuation, line breaks, an emoji now and then.
#[must_use]
pub fn chat_request(bytes: usize) -> String {
    const LINE: &str = "Could you look at the second half again? It reads well, but the numbers \
                        do not add up: 42 of 97, not 43. Thanks \u{1f642}\n";
    let text = LINE.repeat(bytes.div_ceil(LINE.len()).saturating_sub(1));
    request(&serde_json::json!({ "session": "s-0123456789abcdef", "text": text }))
}

/// A `session.message` request whose metadata is about `bytes` of small objects with many keys.
#[must_use]
pub fn structured_request(bytes: usize) -> String {
    let item = |n: usize| {
        serde_json::json!({
            "id": n, "name": format!("item {n}"), "tags": ["a", "b"], "ok": n.is_multiple_of(2),
            "at": { "x": n, "y": -1.5 }
        })
    };
    let size = item(100).to_string().len() + 1;
    let items: Vec<_> = (0..bytes / size).map(item).collect();
    request(&serde_json::json!({
        "session": "s-0123456789abcdef", "text": "see the metadata", "metadata": items
    }))
}

fn request(params: &serde_json::Value) -> String {
    serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "session.message", "params": params })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inputs_are_of_the_size_they_say() {
        for request in [chat_request(99_000), structured_request(99_000)] {
            assert!((95_000..105_000).contains(&request.len()), "{}", request.len());
        }
    }
}
