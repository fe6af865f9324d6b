//! Layer 2: tools exist only by registration. A call becomes [`Authorized`] here or nowhere; this
//! room must never know how a tool is contained or who asked for it.

pub mod builtin;
mod capability;
mod name;
mod schema;
mod worker;

/// The protocol of the file tools' process, for the room that starts it.
pub(crate) mod protocol {
    #[cfg(windows)]
    pub(crate) use super::worker::MAX_CALL;
    pub(crate) use super::worker::{Request, Response};
}

use serde::Serialize;
use serde_json::Value;

pub use builtin::{Kind, Operation};
pub use capability::{Capabilities, Capability};
pub use worker::main as worker;

use crate::{
    audit::Rejection,
    boundary::{path, text},
    config::{Config, Level},
    requirement::{self, variant},
};

/// What a model asks for: nothing of it is trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The model's id of the call.
    pub id: String,
    /// The tool's name, byte for byte as the model gave it.
    pub name: String,
    /// The arguments; anything but an object of the tool's schema is refused.
    pub arguments: Value,
}

/// The proof that a call names a registered tool and that its arguments fit. Only this room can
/// build one.
#[derive(Clone, Debug)]
pub struct Authorized<T> {
    value: T,
    tool: &'static Tool,
    capabilities: Capabilities,
}

impl<T> Authorized<T> {
    /// The authorised value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// The tool that the call resolved to.
    #[must_use]
    pub const fn tool(&self) -> &'static Tool {
        self.tool
    }

    /// What this call may do: what its tool declared.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The value without its proof.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

/// A tool as data: what a model sees of it, what it may do and how it runs.
#[derive(Debug)]
pub struct Tool {
    /// The exact name.
    pub name: &'static str,
    /// One or two sentences for the model.
    pub description: &'static str,
    /// What it may do, and nothing else.
    pub capabilities: Capabilities,
    /// The JSON Schema of its arguments, as text.
    pub schema: &'static str,
    /// The names of the arguments that are paths in the workspace.
    pub paths: &'static [&'static str],
    /// Whether it is registered only where `tools.enabled` names it.
    pub opt_in: bool,
    /// How it runs.
    pub kind: Kind,
}

impl Tool {
    /// Whether it can do nothing without a network.
    fn is_network_alone(&self) -> bool {
        self.capabilities.has(Capability::Network) && !self.capabilities.has(Capability::Process)
    }
}

/// One line of [`ToolRegistry::list`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing {
    /// The exact name.
    pub name: &'static str,
    /// For the model.
    pub description: &'static str,
    /// The JSON Schema of the arguments.
    pub parameters: Value,
    /// What the tool may do.
    pub capabilities: Capabilities,
    /// The level that the configuration asks for.
    pub level: Level,
}

/// A tool that is not built in, as its plugin declared it before anything of it ran. It is never
/// changed and never freed: there is no way to another declaration but another start.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// The tool; its kind names the plugin.
    pub tool: &'static Tool,
    /// The level that its plugin runs at.
    pub level: Level,
}

struct Registered {
    tool: &'static Tool,
    schema: schema::Schema,
    level: Level,
    capabilities: Capabilities,
}

/// The tools that exist. There is no method that adds one after the start.
pub struct ToolRegistry {
    tools: Vec<Registered>,
    /// What plugins declared, also where the configuration leaves it out.
    declared: Vec<Declared>,
    /// The workspace's canonical path, for absolute paths that name a place inside it.
    workspace: Option<path::Workspace>,
}

impl ToolRegistry {
    /// Registers the built-in tools that the configuration does not disable, and of those that wait
    /// to be asked for the ones that it enables.
    ///
    /// # Errors
    /// `registry.schema` where a tool's own schema is not valid; `registry.only-registered` where
    /// the configuration names a tool that does not exist.
    pub fn new(config: &Config) -> Result<Self, Rejection> {
        Self::with(config, Vec::new())
    }

    /// As [`ToolRegistry::new`], with the tools of plugins behind the built-in ones.
    ///
    /// # Errors
    /// As there; `registry.no-shadow` where a plugin's tool has the name of another tool, or one
    /// that is easily taken for it.
    pub fn with(config: &Config, declared: Vec<Declared>) -> Result<Self, Rejection> {
        unshadowed(&declared)?;
        let tools = &config.tools;
        let of_plugin = |name: &String| declared.iter().any(|one| one.tool.name == name);
        let named = tools.disabled.iter().chain(&tools.enabled).chain(config.sandbox.tools.keys());
        for name in named.chain(tools.capabilities.keys()) {
            let disabled = tools.disabled.contains(name) && of_plugin(name);
            if builtin::find(name).is_none() && !disabled {
                return Err(requirement::REGISTRY_ONLY_REGISTERED.refuse(
                    "the configuration names a tool that does not exist",
                    format!("{name:?} is no tool of this runtime"),
                ));
            }
        }
        let mut tools = Vec::new();
        for tool in builtin::ALL.iter().copied() {
            let wanted = !tool.opt_in || config.tools.enabled.contains(tool.name);
            // What does nothing but ask the network is there where the level leaves one.
            let wanted =
                wanted && (!tool.is_network_alone() || config.level(tool.name) != Level::Strict);
            if wanted && !config.tools.disabled.contains(tool.name) {
                let schema = schema::Schema::new(tool.schema)?;
                let (level, capabilities) = (config.level(tool.name), granted(tool, config)?);
                tools.push(Registered { tool, schema, level, capabilities });
            }
        }
        for Declared { tool, level } in declared.iter().copied() {
            if !config.tools.disabled.contains(tool.name) {
                let schema = schema::Schema::new(tool.schema)?;
                let capabilities = tool.capabilities;
                let registered = Registered { tool, schema, level, capabilities };
                if requirement::REGISTRY_NO_SHADOW.enforced() {
                    tools.push(registered);
                } else {
                    // What is prevented: who comes later is found first.
                    tools.retain(|other| other.tool.name != tool.name);
                    tools.insert(0, registered);
                }
            }
        }
        let workspace = config.workspace.as_deref().map(path::Workspace::open).transpose()?;
        Ok(Self { tools, declared, workspace })
    }

    /// The registry of another configuration with the same declarations.
    ///
    /// # Errors
    /// As [`ToolRegistry::with`].
    pub fn renewed(&self, config: &Config) -> Result<Self, Rejection> {
        Self::with(config, self.declared.clone())
    }

    /// The registered tools, in a fixed order.
    #[must_use]
    pub fn list(&self) -> Vec<Listing> {
        let mut tools: Vec<&Registered> = self.tools.iter().collect();
        if variant::TOOL_ORDER.on() {
            tools.reverse();
        }
        tools
            .into_iter()
            .map(|registered| Listing {
                name: registered.tool.name,
                description: registered.tool.description,
                parameters: registered.schema.document().clone(),
                capabilities: registered.capabilities,
                level: registered.level,
            })
            .collect()
    }

    /// Decides whether a call may run: its exact name is registered, its arguments fit the schema,
    /// hold no null byte, and its paths pass the lexical rules.
    ///
    /// # Errors
    /// The requirement of Layer 1 or 2 that the call breaks.
    pub fn authorize(&self, call: ToolCall) -> Result<Authorized<ToolCall>, Rejection> {
        text::no_null(&call.name)?;
        let (tool, schema) = self.resolve(&call)?;
        strings(&call.arguments, &mut text::no_null)?;
        schema.check(&call.arguments)?;
        for argument in tool.paths {
            if let Some(value) = call.arguments.get(argument).and_then(Value::as_str) {
                match &self.workspace {
                    Some(workspace) => workspace.resolve(value)?,
                    None => path::lexical(value, path::Os::current())?,
                };
            }
        }
        let capabilities = self.capabilities(tool);
        requirement::REGISTRY_CAPABILITY.check(
            !matches!(tool.kind, Kind::Program(_)) || capabilities.has(Capability::Process),
            "the tool may not start programs here",
            || format!("{:?} is not granted to {:?}", Capability::Process, tool.name),
        )?;
        Ok(Authorized { value: call, tool, capabilities })
    }

    /// What a tool may do here; what is not registered may do nothing.
    fn capabilities(&self, tool: &Tool) -> Capabilities {
        if !requirement::REGISTRY_CAPABILITY.enforced() {
            // What is prevented: a declaration that nothing holds a tool to.
            return Capabilities::ALL;
        }
        let registered = self.tools.iter().find(|registered| registered.tool.name == tool.name);
        registered.map_or(Capabilities::NONE, |registered| registered.capabilities)
    }

    /// The one tool that a name means. A name that only resembles a registered one is refused by
    /// `registry.exact-name`, any other by `registry.only-registered`.
    fn resolve(&self, call: &ToolCall) -> Result<(&'static Tool, schema::Schema), Rejection> {
        let found = |test: &dyn Fn(&str) -> bool| {
            self.tools
                .iter()
                .find(|registered| test(registered.tool.name))
                .map(|registered| (registered.tool, registered.schema.clone()))
        };
        if let Some(exact) = found(&|name| name == call.name) {
            return Ok(exact);
        }
        let skeleton = name::skeleton(&call.name);
        if let Some(alike) = found(&|name| name::skeleton(name) == skeleton) {
            requirement::REGISTRY_EXACT_NAME.check(
                false,
                "no tool has exactly this name",
                || format!("{:?} resembles {:?}", call.name, alike.0.name),
            )?;
            return Ok(alike);
        }
        requirement::REGISTRY_ONLY_REGISTERED.check(false, "no such tool is registered", || {
            format!("{:?} is not registered", call.name)
        })?;
        // Reached only where `registry.only-registered` is knocked out: what a runtime does that
        // looks tools up by guess instead of by registration.
        let tool = builtin::guess(&call.name, &call.arguments).ok_or_else(|| {
            requirement::REGISTRY_ONLY_REGISTERED
                .refuse("no such tool is registered", format!("{:?}", call.name))
        })?;
        Ok((tool, schema::Schema::new(tool.schema)?))
    }
}

/// Refuses declarations of which one has the name of a tool that there is, built in or another
/// plugin's, or a name that differs from it in nothing that is easily seen.
fn unshadowed(declared: &[Declared]) -> Result<(), Rejection> {
    let mut taken: Vec<&'static str> = builtin::ALL.iter().map(|tool| tool.name).collect();
    for Declared { tool, .. } in declared {
        let skeleton = name::skeleton(tool.name);
        let other = taken.iter().find(|other| name::skeleton(other) == skeleton);
        requirement::REGISTRY_NO_SHADOW.check(
            other.is_none(),
            "a plugin declares a tool whose name another tool has",
            || format!("{:?} of {:?} would stand for {other:?}", tool.name, tool.kind),
        )?;
        taken.push(tool.name);
    }
    Ok(())
}

/// What a tool declares, or the part of it that the configuration grants. A grant of what the tool
/// does not declare is an error in the configuration, and so is a tool that may not even read: the
/// view of every run shows the workspace.
fn granted(tool: &Tool, config: &Config) -> Result<Capabilities, Rejection> {
    let Some(named) = config.tools.capabilities.get(tool.name) else {
        return Ok(tool.capabilities);
    };
    let granted: Capabilities = named.iter().copied().collect();
    let part = granted.and(tool.capabilities) == granted && granted.has(Capability::Read);
    requirement::REGISTRY_CAPABILITY.check(
        part,
        "the configuration grants a tool what it does not declare, or takes reading from it",
        || format!("tools.capabilities.{}", tool.name),
    )?;
    Ok(granted)
}

impl std::fmt::Debug for ToolRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.tools.iter().map(|registered| registered.tool.name)).finish()
    }
}

/// Applies a check to every string of a document, keys included. The depth is bounded by the scan
/// that every document passed at its door, and by the parser.
fn strings(
    value: &Value,
    check: &mut dyn FnMut(&str) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    match value {
        Value::String(text) => check(text),
        Value::Array(items) => items.iter().try_for_each(|item| strings(item, check)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, item)| {
            check(key)?;
            strings(item, check)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
