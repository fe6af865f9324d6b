//! JSON merge patches, in which manifests say how a configuration differs. It must never know what a
//! member means.

use serde_json::Value;

/// JSON merge patch (RFC 7396).
pub(crate) fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, Value::Object(patch)) => {
            *into = Value::Object(serde_json::Map::new());
            merge(into, Value::Object(patch));
        }
        (into, patch) => *into = patch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merges_as_rfc_7396_says() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut base, json!({"a": {"b": null, "e": {"f": null, "g": 3}}, "d": {"x": 1}}));
        assert_eq!(base, json!({"a": {"c": 2, "e": {"g": 3}}, "d": {"x": 1}}));
    }
}
