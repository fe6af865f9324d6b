//! Where a case is delivered. Must never know how a target is reached there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a payload is delivered, and what is looked at there.
///
/// On every surface a target that dies or no longer answers its health check has failed the case.
/// "EFFECT exists" is the effect of an attack and the success of a benign case alike.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
pub enum Surface {
    /// The text of a user's message, JSON-escaped where it is UTF-8, as it is where it is not or
    /// where the case says `raw`. Accepted: the model received exactly the text (for `raw`, what
    /// the JSON means). Effect: EFFECT exists.
    #[serde(rename = "message.text")]
    MessageText,
    /// The JSON text of an opaque value inside a valid message request that sends NONCE, spliced
    /// in as it is. Accepted: NONCE reached the model.
    #[serde(rename = "http.json")]
    HttpJson,
    /// A whole request body. Accepted: NONCE reached the model.
    #[serde(rename = "http.body")]
    HttpBody,
    /// The session id of a message that sends NONCE. Accepted: NONCE reached the model.
    #[serde(rename = "session.id")]
    SessionId,
    /// The path of the read tool, in a tool call of the model. Accepted: MARK (which the setup
    /// put into the file) came back to the model. Effect: CANARY or a line of HOSTFILE came back.
    #[serde(rename = "tool.path.read")]
    ToolPathRead,
    /// The path of the write tool, in a tool call of the model. Accepted: the file stands in the
    /// workspace. Effect: something outside the workspace was made or changed, or EFFECT exists.
    #[serde(rename = "tool.path.write")]
    ToolPathWrite,
    /// The last argument of `printf`, whose format is a mark and `%s`, run by the exec tool.
    /// Accepted: the output is the mark and the payload, byte for byte. Effect: EFFECT exists, or
    /// the mark came back without the payload (which holds no secret): it was not taken as data.
    #[serde(rename = "tool.argument")]
    ToolArgument,
    /// The name in a tool call whose arguments write EFFECT. Effect, or accepted: EFFECT exists.
    #[serde(rename = "tool.name")]
    ToolName,
    /// The raw text of the arguments of a tool call; the case's `role` names the tool. Effect, or
    /// accepted: EFFECT exists.
    #[serde(rename = "tool.arguments")]
    ToolArguments,
    /// Real tool calls of the model in one answer: a JSON object `{"id"?, "name", "arguments"}` as
    /// CALL is, or an array of such objects, in order. A call without id gets one of its own.
    /// Effect, or accepted: EFFECT exists.
    #[serde(rename = "tool.call")]
    ToolCall,
    /// The model's answer text. Accepted: it came back to the caller intact; neutralised: it came
    /// back changed or shortened. Effect: EFFECT exists.
    #[serde(rename = "model.prose")]
    ModelProse,
    /// The content of a workspace file that the model asks to read. Accepted: it came back to the
    /// model intact; neutralised: it came back changed or shortened. Effect: EFFECT exists.
    #[serde(rename = "tool.result")]
    ToolResult,
    /// Every byte of a connection: head and body. HEAD is the request line and headers of a
    /// message request up to its framing. Accepted: NONCE reached the model. A connection that is
    /// closed, or left without an answer for some seconds, is refused.
    #[serde(rename = "http.raw")]
    HttpRaw,
    /// The JSON text of an unknown member in the model's own answer, whose text is NONCE.
    /// Accepted: NONCE came back to the caller.
    #[serde(rename = "model.json")]
    ModelJson,
    /// The body with which the model refuses (status 401). Accepted: the caller was told that
    /// something failed.
    #[serde(rename = "model.error")]
    ModelError,
    /// A free text in the configuration, with which a fresh target starts. Accepted: it serves,
    /// and the model was told exactly this text.
    #[serde(rename = "config.file")]
    ConfigFile,
    /// The name under which a credential is stored. Accepted: the list has it. Effect: a file came
    /// to be beside the store.
    #[serde(rename = "credential.name")]
    CredentialName,
    /// The bytes of the stored record of the model's key (RECORD as it is), with which a fresh
    /// target starts again. Accepted, for a benign case: the model was shown SECRET. Effect, for
    /// an attack: it was shown any key.
    #[serde(rename = "vault.file")]
    VaultFile,
    /// A conversation of requests as JSON: see `scenario/corpus/rates.rs`. A fresh target admits
    /// 7 requests and 5 messages a minute. Accepted: all were admitted. Effect: more than that.
    #[serde(rename = "gateway.request")]
    GatewayRequest,
    /// A text that ends in the logs: the name of a tool that there is not, and what a tool is to
    /// write. Accepted: a record holds it, decoded. Effect: a line that is no record, a line or a
    /// field of the payload's own, or a raw control, bidi or malformed character.
    #[serde(rename = "audit.log")]
    AuditLog,
    /// What a plugin sends while it answers a call: messages, one a line, where `@ID@` is the id of
    /// the call, or for `raw` the bytes of the connection as they are, with a sound request behind
    /// them. Accepted: every request was answered with a result. Effect: a reply that holds MARK
    /// was taken for the answer to the call.
    #[serde(rename = "plugin.frame")]
    PluginFrame,
}

/// What a payload is, whatever the surface: surfaces of one shape can take each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A path.
    Path,
    /// The JSON text of one value.
    Json,
    /// A line or more of text.
    Text,
}

impl Surface {
    /// Every surface, in order.
    pub const ALL: &'static [Self] = &[
        Self::MessageText,
        Self::HttpJson,
        Self::HttpBody,
        Self::SessionId,
        Self::ToolPathRead,
        Self::ToolPathWrite,
        Self::ToolArgument,
        Self::ToolName,
        Self::ToolArguments,
        Self::ToolCall,
        Self::ModelProse,
        Self::ToolResult,
        Self::HttpRaw,
        Self::ModelJson,
        Self::ModelError,
        Self::ConfigFile,
        Self::CredentialName,
        Self::VaultFile,
        Self::GatewayRequest,
        Self::AuditLog,
        Self::PluginFrame,
    ];

    /// The shape of its payloads, where another surface takes the same.
    #[must_use]
    pub const fn shape(self) -> Option<Shape> {
        match self {
            Self::ToolPathRead | Self::ToolPathWrite => Some(Shape::Path),
            Self::HttpJson | Self::ModelJson => Some(Shape::Json),
            Self::MessageText | Self::ConfigFile => Some(Shape::Text),
            _ => None,
        }
    }

    /// Why no case is played here yet, where none is.
    #[must_use]
    pub const fn not_played(self) -> Option<&'static str> {
        match self {
            Self::PluginFrame if cfg!(windows) => Some("the suite's plugin needs Unix sockets"),
            _ => None,
        }
    }

    /// Whether each case needs a fresh target.
    #[must_use]
    pub const fn is_fresh(self) -> bool {
        matches!(
            self,
            Self::ConfigFile | Self::VaultFile | Self::GatewayRequest | Self::PluginFrame
        )
    }

    /// The id as records write it, such as `message.text`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::MessageText => "message.text",
            Self::HttpJson => "http.json",
            Self::HttpBody => "http.body",
            Self::SessionId => "session.id",
            Self::ToolPathRead => "tool.path.read",
            Self::ToolPathWrite => "tool.path.write",
            Self::ToolArgument => "tool.argument",
            Self::ToolName => "tool.name",
            Self::ToolArguments => "tool.arguments",
            Self::ToolCall => "tool.call",
            Self::ModelProse => "model.prose",
            Self::ToolResult => "tool.result",
            Self::HttpRaw => "http.raw",
            Self::ModelJson => "model.json",
            Self::ModelError => "model.error",
            Self::ConfigFile => "config.file",
            Self::CredentialName => "credential.name",
            Self::VaultFile => "vault.file",
            Self::GatewayRequest => "gateway.request",
            Self::AuditLog => "audit.log",
            Self::PluginFrame => "plugin.frame",
        }
    }
}
