//! openclaw.json: JSON5, through the boundary like any other input, then key by key. It must never
//! guess: what it does not know is refused, with the nearest thing that it knows.

use std::{fs::File, io::Read, path::Path};

use serde_json::Value;

use super::{Config, Provider, Rates};
use crate::{
    audit::Rejection,
    boundary::{Limits, json, text::no_null},
    requirement,
};

/// The keys of each section, for the sentence about an unknown one. A test holds this table
/// against the types.
const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "gateway",
            "limits",
            "rates",
            "workspace",
            "sandbox",
            "model",
            "tools",
            "agent",
            "audit",
            "plugins",
        ],
    ),
    ("gateway", &["listen", "origins", "hosts", "tls"]),
    ("limits", &["messageBytes", "jsonDepth", "attachmentBytes", "attachments"]),
    ("rates", &["requestsPerMinute", "messagesPerMinute"]),
    ("sandbox", &["level", "tools", "uid", "timeoutSeconds"]),
    ("model", &["provider", "baseUrl", "name", "apiKey", "stream", "maxTokens", "timeoutSeconds"]),
    ("tools", &["disabled", "enabled", "capabilities"]),
    ("agent", &["maxSteps", "timeoutSeconds"]),
    ("audit", &["segmentBytes", "durable"]),
];

const UNREADABLE: &str = "the configuration cannot be read";
const INVALID: &str = "the configuration is not valid";

pub(super) fn load(path: &Path) -> Result<Config, Rejection> {
    let longest = Limits::default().body_bytes as u64;
    let mut bytes = Vec::new();
    File::open(path)
        // One byte more than allowed is enough to see that it is too long.
        .and_then(|file| file.take(longest + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            requirement::ERROR_DENY.refuse(UNREADABLE, format!("{}: {error}", path.display()))
        })?;
    parse(&bytes)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Config, Rejection> {
    let value = json::relaxed(bytes, &Limits::default())?.into_inner();
    known_keys(&value)?;
    let mut config: Config = serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        invalid(format!("{path}: {inner}"))
    })?;
    sound(&config).map_err(invalid)?;
    if let Some(url) = &mut config.model.base_url {
        url.truncate(url.trim_end_matches('/').len());
    }
    if !requirement::RATE_OVERRIDE.enforced() {
        config.rates = Rates::default();
    }
    Ok(config)
}

fn known_keys(value: &Value) -> Result<(), Rejection> {
    for (section, keys) in KEYS {
        let members = if section.is_empty() { Some(value) } else { value.get(section) };
        // A struct would also be read from a list, value by value.
        let Some(members) = members else { continue };
        let Some(members) = members.as_object() else {
            let name = if section.is_empty() { "the file" } else { section };
            return Err(invalid(format!("{name} is not an object of keys and values")));
        };
        if let Some(unknown) = members.keys().find(|key| !keys.contains(&key.as_str())) {
            let place = if section.is_empty() { String::new() } else { format!("{section}.") };
            let hint = nearest(unknown, keys);
            return Err(invalid(format!("{place}{unknown} is not a key; {hint}")));
        }
    }
    Ok(())
}

fn nearest(unknown: &str, keys: &[&str]) -> String {
    let near = keys
        .iter()
        .map(|key| (strsim::jaro_winkler(&unknown.to_lowercase(), &key.to_lowercase()), key))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .filter(|(likeness, _)| *likeness > 0.7);
    match near {
        Some((_, key)) => format!("the nearest is {key}"),
        None => format!("the keys here are {}", keys.join(", ")),
    }
}

/// What types cannot say.
fn sound(config: &Config) -> Result<(), String> {
    let within = |name: &str, value: u64, least: u64, most: u64| {
        if (least..=most).contains(&value) {
            Ok(())
        } else {
            Err(format!("{name} is {value}; it may be {least} to {most}"))
        }
    };
    let Config { gateway, limits, rates, sandbox, model, agent, audit, .. } = config;
    within("limits.messageBytes", limits.message_bytes as u64, 1, 10_000_000)?;
    within("limits.jsonDepth", limits.json_depth as u64, 1, json::MAX_DEPTH as u64)?;
    within("limits.attachmentBytes", limits.attachment_bytes as u64, 0, 1_000_000_000)?;
    within("limits.attachments", limits.attachments as u64, 0, 1000)?;
    within("rates.requestsPerMinute", rates.requests_per_minute.into(), 1, 1_000_000)?;
    within("rates.messagesPerMinute", rates.messages_per_minute.into(), 1, 1_000_000)?;
    within("sandbox.timeoutSeconds", sandbox.timeout.as_secs(), 1, 3600)?;
    within("model.timeoutSeconds", model.timeout.as_secs(), 1, 3600)?;
    within("agent.timeoutSeconds", agent.timeout.as_secs(), 1, 3600)?;
    within("audit.segmentBytes", audit.segment_bytes, 65_536, 1 << 30)?;
    within("agent.maxSteps", agent.max_steps.into(), 1, 1000)?;
    if sandbox.uid == Some(0) {
        return Err("sandbox.uid is 0; it must name an unprivileged user".into());
    }
    let plain =
        |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !gateway.origins.iter().chain(&gateway.hosts).all(plain) {
        return Err("gateway.origins and gateway.hosts hold printable ASCII without spaces".into());
    }
    let digest = |text: &str| {
        text.len() == 64 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    if let Some(plugin) = config.plugins.iter().find(|plugin| !digest(&plugin.sha256)) {
        let path = plugin.path.display();
        return Err(format!("plugins: sha256 of {path} is not 64 lower-case hexadecimal digits"));
    }
    if config.plugins.iter().any(|plugin| plugin.level == super::Level::None) {
        return Err("plugins: level is strict or relaxed; a plugin never runs without".into());
    }
    if config.plugins.len() > 32 {
        return Err("plugins: there may be 32".into());
    }
    if let Some(url) = &model.base_url {
        base_url(url)?;
    }
    within("model.maxTokens", model.max_tokens.into(), 1, 1_000_000)?;
    if model.provider != Provider::Scripted && (model.base_url.is_none() || model.name.is_none()) {
        return Err("model.provider is a server; it needs model.baseUrl and model.name".into());
    }
    Ok(())
}

fn base_url(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if authority.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("model.baseUrl must begin with http:// or https:// and name a host".into());
    }
    if authority.contains('@') {
        return Err("model.baseUrl holds a password; put the key in the vault".into());
    }
    Ok(())
}

/// The cause is for the operator; it names keys and values of his own file.
fn invalid(cause: String) -> Rejection {
    no_null(&cause).err().unwrap_or_else(|| requirement::ERROR_DENY.refuse(INVALID, cause))
}

/// Whole seconds.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

/// The limits under the names of the file.
pub(super) mod limits {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::boundary::Limits;

    /// `limits`
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default, rename_all = "camelCase")]
    #[schemars(rename = "Limits")]
    pub(in super::super) struct Keys {
        /// The longest message, in bytes. Default 100,000.
        message_bytes: usize,
        /// Open containers in a document. Default 32.
        json_depth: usize,
        /// The largest attachment, in bytes. Default 50,000,000.
        attachment_bytes: usize,
        /// Attachments of one message. Default 10.
        attachments: usize,
    }

    impl Default for Keys {
        fn default() -> Self {
            Self::from(&Limits::default())
        }
    }

    impl From<&Limits> for Keys {
        fn from(limits: &Limits) -> Self {
            Self {
                message_bytes: limits.message_bytes,
                json_depth: limits.json_depth,
                attachment_bytes: limits.attachment_bytes,
                attachments: limits.attachments,
            }
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(
        limits: &Limits,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Keys::from(limits).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Limits, D::Error> {
        let keys = Keys::deserialize(deserializer)?;
        let default = Limits::default();
        // A longer message, every byte of it escaped, must fit into a body.
        let room = default.body_bytes - 6 * default.message_bytes;
        let body_bytes = keys.message_bytes.saturating_mul(6).saturating_add(room);
        Ok(Limits {
            message_bytes: keys.message_bytes,
            json_depth: keys.json_depth,
            attachment_bytes: keys.attachment_bytes,
            attachments: keys.attachments,
            body_bytes: body_bytes.max(default.body_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_keys_is_that_of_the_types() {
        let full = parse(FULL.as_bytes()).unwrap();
        let value = serde_json::to_value(full).unwrap();
        for (section, keys) in KEYS {
            let members = if section.is_empty() { &value } else { &value[section] };
            let mut written: Vec<_> = members.as_object().unwrap().keys().collect();
            let mut known: Vec<_> = keys.to_vec();
            written.sort();
            known.sort_unstable();
            assert_eq!(written, known, "{section}");
        }
    }

    #[test]
    fn the_written_form_reads_back() {
        for config in [Config::default(), parse(FULL.as_bytes()).unwrap()] {
            let mut written = serde_json::to_value(&config).unwrap();
            // What is not set is left out of a file.
            written.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            assert_eq!(parse(written.to_string().as_bytes()).unwrap(), config);
        }
    }

    const FULL: &str = "// every key
        {
          gateway: { listen: '127.0.0.1:9', origins: ['http://a'], hosts: ['a:9'],
                     tls: { certificate: '/c.pem', key: '/k.pem' } },
          limits: { messageBytes: 200000, jsonDepth: 16, attachmentBytes: 5, attachments: 1 },
          rates: { requestsPerMinute: 7, messagesPerMinute: 8 },
          workspace: '/srv/w',
          sandbox: { level: 'relaxed', tools: { exec: 'none' }, uid: 60123, timeoutSeconds: 5 },
          model: { provider: 'openai', baseUrl: 'http://127.0.0.1:1/v1', name: 'm', apiKey: 'k',
                   stream: false, maxTokens: 9, timeoutSeconds: 6 },
          tools: { disabled: ['exec'], capabilities: { write_file: ['read'] } },
          agent: { maxSteps: 3, timeoutSeconds: 9 },
          audit: { segmentBytes: 100000, durable: true },
          plugins: [{ path: '/p', level: 'relaxed', grants: ['log', 'tool.list'],
            sha256: '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff' }],
        }";
}
