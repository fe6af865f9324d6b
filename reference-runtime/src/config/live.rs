//! What of a new configuration a running process can take over, and what a change of it is called. It
//! must never know how a setting is used.

use serde::Serialize;
use serde_json::Value;

use super::{Config, Sandbox};

/// One setting that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its place in the file, such as `limits.messageBytes`.
    pub key: String,
    /// What it was; null where it was not set.
    pub from: Value,
    /// What it is.
    pub to: Value,
}

/// A configuration that is to be in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    /// The old one with what can be taken over: limits, rates, tools, `sandbox.tools`,
    /// `sandbox.timeoutSeconds` and agent.
    pub config: Config,
    /// What that changes.
    pub changed: Vec<Change>,
    /// What differs besides, and waits for the next start.
    pub waiting: Vec<Change>,
}

impl Config {
    /// What this configuration becomes where `wanted` is asked for. The workspace is what it was: the
    /// command line may have named it.
    #[must_use]
    pub fn adopt(&self, mut wanted: Self) -> Adopted {
        wanted.workspace.clone_from(&self.workspace);
        let sandbox = Sandbox {
            tools: wanted.sandbox.tools.clone(),
            timeout: wanted.sandbox.timeout,
            ..self.sandbox.clone()
        };
        let config = Self {
            limits: wanted.limits,
            rates: wanted.rates,
            tools: wanted.tools.clone(),
            agent: wanted.agent,
            sandbox,
            ..self.clone()
        };
        let (changed, waiting) = (changes(self, &config), changes(&config, &wanted));
        Adopted { config, changed, waiting }
    }

    /// This configuration with a JSON merge patch (RFC 7396) in the keys of the file.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn patched(&self, patch: &Value) -> Result<Self, crate::audit::Rejection> {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        merge(&mut value, patch);
        Self::parse(value.to_string().as_bytes())
    }
}

fn changes(from: &Config, to: &Config) -> Vec<Change> {
    let mut found = Vec::new();
    let value = |config| serde_json::to_value(config).unwrap_or_default();
    compare(String::new(), &value(from), &value(to), &mut found);
    found
}

fn compare(key: String, from: &Value, to: &Value, found: &mut Vec<Change>) {
    match (from, to) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                let place = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let part =
                    |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                compare(place, &part(old), &part(new), found);
            }
        }
        _ if from != to => {
            found.push(Change { key, from: from.clone(), to: to.clone() });
        }
        _ => {}
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        into.clone_from(patch);
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(into) = into {
        for (key, value) in patch {
            if value.is_null() {
                into.remove(key);
            } else {
                merge(into.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_and_tool_policies_are_taken_over_and_the_rest_waits() {
        let old = Config::default();
        let new = old
            .patched(&json!({
                "limits": {"messageBytes": 5000},
                "sandbox": {"level": "relaxed", "tools": {"exec": "relaxed"}},
                "tools": {"disabled": ["exec"]},
                "gateway": {"listen": "127.0.0.1:9"},
            }))
            .unwrap();
        let adopted = old.adopt(new);
        let keys = |changes: &[Change]| -> Vec<String> {
            changes.iter().map(|change| change.key.clone()).collect()
        };
        assert_eq!(
            keys(&adopted.changed),
            ["limits.messageBytes", "sandbox.tools.exec", "tools.disabled"]
        );
        assert_eq!(keys(&adopted.waiting), ["gateway.listen", "sandbox.level"]);
        assert_eq!(adopted.config.limits.message_bytes, 5000);
        assert_eq!(adopted.config.sandbox.level, old.sandbox.level);
        assert!(adopted.config.adopt(adopted.config.clone()).changed.is_empty());
    }

    #[test]
    fn a_patch_takes_settings_back_and_is_checked_like_a_file() {
        let low = Config::default().patched(&json!({"limits": {"messageBytes": 5000}})).unwrap();
        assert_eq!(low.patched(&json!({"limits": null})).unwrap(), Config::default());
        for wrong in
            [json!({"limit": {}}), json!({"limits": {"jsonDepth": 0}}), json!([]), json!(1)]
        {
            assert!(low.patched(&wrong).is_err(), "{wrong}");
        }
    }
}
