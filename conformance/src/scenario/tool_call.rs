//! Tool calls in a target's own naming. It must never know what one is to show.

use crate::corpus::payload::{fill, mixed, shell_word};
use crate::driver::DriverError;
use crate::stage::model::ToolCall;
use crate::target::manifest::Manifest;
use crate::target::template::json_literal;

/// A tool call by role in the target's own naming; values are JSON texts by parameter name.
///
/// # Errors
/// `Unsupported` where the manifest maps no such tool, `Harness` where a value is missing.
pub(super) fn tool_call(
    manifest: &Manifest,
    role: &str,
    values: &[(&str, Vec<u8>)],
) -> Result<ToolCall, DriverError> {
    let tool = manifest.tools.get(role);
    let tool = tool.ok_or_else(|| DriverError::Unsupported(format!("tool `{role}`")))?;
    let mut members = Vec::new();
    for (key, template) in &tool.arguments {
        let value_of = |name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            let missing = || DriverError::Harness(format!("tools.{role}: no ${{{name}}}"));
            found.map(|(_, value)| value.clone()).ok_or_else(missing)
        };
        let alone = template.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}'));
        let value = match (mixed(template), alone) {
            // A text in which values stand, such as the command of a runtime that has a shell alone.
            (Some(pieces), _) => json_literal(&fill(&pieces, |name| {
                let literal = value_of(name)?;
                let text = serde_json::from_slice::<String>(&literal);
                let wrong = || DriverError::Unsupported(format!("text for ${{{name}}}"));
                text.map(String::into_bytes).map_err(|_| wrong())
            })?),
            (None, Some(name)) => value_of(name)?,
            (None, None) => template.to_string().into_bytes(),
        };
        members.push([json_literal(key.as_bytes()), value].join(b":".as_slice()));
    }
    let arguments = [b"{".as_slice(), &members.join(b",".as_slice()), b"}"].concat();
    Ok(ToolCall::new(tool.name.as_str(), arguments))
}

/// A call of the `exec` tool with this command line.
///
/// # Errors
/// As [`tool_call`].
pub(super) fn exec_call<S: AsRef<[u8]>>(
    manifest: &Manifest,
    argv: &[S],
) -> Result<ToolCall, DriverError> {
    let literals: Vec<Vec<u8>> = argv.iter().map(|item| json_literal(item.as_ref())).collect();
    let quoted: Vec<Vec<u8>> = argv.iter().map(|item| shell_word(item.as_ref())).collect();
    let list = [b"[".as_slice(), &literals.join(b",".as_slice()), b"]"].concat();
    let command = json_literal(&quoted.join(b" ".as_slice()));
    tool_call(manifest, "exec", &[("argv", list), ("command", command)])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_tool_that_is_a_shell_is_given_one_word() {
        let text = "name = \"a\"\ndriver = \"launcher\"\nlauncher.prefix = [\"x\"]\n\
                    [tools.read]\nname = \"sh\"\narguments = { command = \"cat -- ${path|shell}\" }\n";
        let manifest = Manifest::parse(text, Path::new("t.toml")).unwrap();
        let call = tool_call(&manifest, "read", &[("path", json_literal(b"it's"))]).unwrap();
        assert_eq!(call.arguments, br#"{"command":"cat -- 'it'\\''s'"}"#);
    }
}
