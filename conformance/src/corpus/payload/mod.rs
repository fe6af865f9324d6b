//! Payload expressions: how a record writes bytes that a file must not hold, or that are random
//! per run. Must never know a surface: it yields bytes, and where they go is for others.
//!
//! [`Expr::size`] works an expression out symbolically, so a size bomb is refused before it is
//! built; [`Expr::build`] then builds it.

mod build;
mod encode;
mod mixed;
mod size;
#[cfg(test)]
mod tests;
mod vars;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use encode::json_escape;
pub use mixed::{fill, mixed, shell_word};
pub use vars::{Naming, ToolShape, Var, Vars};

/// The most bytes that a payload, or any part of one while it is built, may have: 128 MiB.
pub const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// An expression for bytes. A plain JSON string is short for `{"text": ...}`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "kebab-case")]
#[schemars(transform = short_form)]
pub enum Expr {
    /// The UTF-8 bytes of a string.
    Text(String),
    /// Bytes as hexadecimal digits; blanks between bytes are ignored.
    Hex(String),
    /// UTF-16 code units as groups of four hexadecimal digits, encoded as generalised UTF-8 so
    /// that lone surrogates survive.
    Wtf16(String),
    /// A value that is known at run time only.
    Var(Var),
    /// An expression many times over.
    Repeat(Repeat),
    /// Expressions one after another.
    Concat(Vec<Self>),
    /// Numbered items, such as ten thousand different keys.
    Count(Count),
    /// An expression in another encoding.
    Encode(Encode),
    /// Containers inside one another.
    Nest(Nest),
    /// An expression filled up to an exact number of bytes.
    Fill(Fill),
    /// The arguments of a tool call as JSON text, in the target's own naming.
    Arguments(Box<Arguments>),
    /// Expressions one after another, delivered as one piece each where the surface can.
    Chunks(Vec<Self>),
    /// An expression without its last bytes.
    Cut(Cut),
    /// An expression delivered in pieces of so many bytes where the surface can.
    Drip(Drip),
    /// The compact JSON text of a value.
    Json(serde_json::Value),
    /// An expression with some bits of one byte changed.
    Flip(Flip),
    /// An expression with some of its bytes overwritten.
    Splice(Splice),
}

/// See [`Expr::Repeat`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// What is repeated.
    pub of: Box<Expr>,
    /// How many times.
    pub times: u64,
}

/// See [`Expr::Count`]: `before` number `after`, with `between` them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// How many items, numbered from 0.
    pub times: u64,
    /// What stands before each number.
    pub before: Box<Expr>,
    /// What stands after each number.
    pub after: Box<Expr>,
    /// What stands between two items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<Box<Expr>>,
}

/// See [`Expr::Encode`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Encode {
    /// The encoding.
    #[serde(rename = "as")]
    pub encoding: Encoding,
    /// What is encoded.
    pub of: Box<Expr>,
}

/// The encodings that a record can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Standard alphabet, with padding.
    Base64,
    /// Every byte as `%` and two lower-case digits.
    Percent,
    /// Lower-case hexadecimal.
    Hex,
    /// As the inside of a JSON string: quotes, backslashes and bytes below 0x20 escaped.
    JsonEscape,
    /// As the inside of a JSON string with every UTF-16 unit as `\uXXXX`; needs UTF-8.
    JsonUnicode,
    /// UTF-16, little-endian, without a mark; needs UTF-8.
    Utf16Le,
    /// UTF-16, big-endian, without a mark; needs UTF-8.
    Utf16Be,
    /// A gzip stream.
    Gzip,
    /// ASCII letters in upper case.
    Upper,
    /// Printable ASCII as its full-width compatibility characters.
    Fullwidth,
    /// ASCII letters as characters that fold to them, where there are any: the Kelvin sign for k,
    /// the long s, ligatures.
    Fold,
    /// The bytes in the reverse order.
    Reverse,
    /// ASCII letters as the Cyrillic or Greek letters that look like them, where there are any.
    Homoglyph,
}

/// See [`Expr::Nest`]: the layers in turn, opened from the outside in and closed from the inside
/// out. The depth counts from the root of the document, so a surface that wraps the payload says
/// by [`Vars::set_envelope`] how many containers it opens itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nest {
    /// The containers, used in turn; one container each.
    pub layers: Vec<Shell>,
    /// How many containers are open at the deepest point of the document.
    pub depth: u64,
    /// What stands inside the innermost; nothing where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<Box<Expr>>,
}

/// One container of a nest.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    /// What opens it, such as `[` or `{"a":`.
    pub open: String,
    /// What closes it; empty for one that is never closed.
    pub close: String,
}

/// See [`Expr::Fill`]: `before`, then `with` as often as needed, then `after`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// The exact number of bytes of the whole.
    pub to: u64,
    /// What fills; its last copy may be cut.
    pub with: Box<Expr>,
    /// What stands before the filling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Expr>>,
    /// What stands after the filling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<Expr>>,
}

/// See [`Expr::Arguments`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The tool.
    pub role: Role,
    /// For read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Expr>,
    /// For write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Expr>,
    /// For exec: the program and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<Expr>>,
    /// Parameters that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<Parameter>,
    /// Parameters whose value is replaced by this JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retype: BTreeMap<Parameter, serde_json::Value>,
    /// Members that the tool does not have, added at the end.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A tool by what it does; each target names its own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads a file.
    Read,
    /// Writes a file.
    Write,
    /// Runs a program.
    Exec,
}

/// A parameter of a tool by what it means; each target names its own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    /// Of read and write.
    Path,
    /// Of write.
    Content,
    /// Of exec.
    Argv,
}

/// See [`Expr::Cut`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// What is cut.
    pub of: Box<Expr>,
    /// How many bytes are taken from its end.
    pub last: u64,
}

/// See [`Expr::Drip`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    /// What is delivered.
    pub of: Box<Expr>,
    /// The bytes of a piece, at least 1.
    pub every: u64,
}

/// See [`Expr::Flip`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// What is changed.
    pub of: Box<Expr>,
    /// Which byte, from 0; below 0 counted from the end.
    pub at: i64,
    /// Which bits.
    #[serde(default = "lowest_bit")]
    pub mask: u8,
}

fn lowest_bit() -> u8 {
    1
}

/// See [`Expr::Splice`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Splice {
    /// What is overwritten.
    pub of: Box<Expr>,
    /// From which byte on, from 0; below 0 counted from the end.
    pub at: i64,
    /// With what.
    pub with: Box<Expr>,
}

/// Why an expression yields no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The expression, or a part of it, would be larger than [`MAX_BYTES`].
    #[error("would take {bytes} bytes, over the cap of {MAX_BYTES}")]
    TooLarge {
        /// The size as far as it can be counted.
        bytes: u64,
    },
    /// A variable has no value in this run.
    #[error("the variable {0} has no value here")]
    Unset(Var),
    /// Digits, counts or parts that do not make sense.
    #[error("{0}")]
    Malformed(String),
}

/// The schema of an expression knows the short form too.
fn short_form(schema: &mut schemars::Schema) {
    if let Some(serde_json::Value::Array(forms)) = schema.get_mut("oneOf") {
        forms.insert(0, serde_json::json!({"type": "string", "description": "The UTF-8 bytes."}));
    }
}

// `remote = "Self"` makes the derived forms inherent functions; the trait forms add the short form.
impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Short;
        impl<'de> Visitor<'de> for Short {
            type Value = Expr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object with one payload expression")
            }

            fn visit_str<E>(self, text: &str) -> Result<Expr, E> {
                Ok(Expr::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expr, A::Error> {
                Expr::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Short)
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            other => Self::serialize(other, serializer),
        }
    }
}
