//! Other forms of the same behaviour, in a `knockout` build alone: the suite must not notice them,
//! for what it takes offence at without cause would be held against others' runtimes too. A variant
//! must never let anything through, nor keep anything out.

use std::fmt;

/// One form that may be another, by its permanent id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant(&'static str);

impl Variant {
    /// The id, such as `variant.words`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.0
    }

    /// Whether the other form is in force. Never but in a `knockout` build that was told so.
    #[must_use]
    #[inline]
    pub fn on(self) -> bool {
        #[cfg(feature = "knockout")]
        return super::switch::varied(self.0);
        #[cfg(not(feature = "knockout"))]
        false
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! variants {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub const $name: Variant = Variant($id);)*
        /// Every variant.
        pub const ALL: &[Variant] = &[$($name),*];
    };
}

variants! {
    /// Every refusal has one and the same other sentence.
    WORDS = "variant.words";
    /// The members of an answer stand in the reverse order.
    KEY_ORDER = "variant.key-order";
    /// Answers are indented.
    WHITESPACE = "variant.whitespace";
    /// The names of an answer's headers are written with capitals.
    HEADER_CASE = "variant.header-case";
    /// Answers come some milliseconds later, each another number of them.
    SLOWER = "variant.slower";
    /// The tools are offered in the reverse order.
    TOOL_ORDER = "variant.tool-order";
    /// Another status of the same class, where none is laid down for the case.
    STATUS = "variant.status";
    /// Every answer is the last of its connection.
    CLOSE = "variant.close";
    /// Answers come in chunks, without a length.
    CHUNKED = "variant.chunked";
    /// Correlation ids are written with capitals.
    IDS = "variant.ids";
    /// Tools have one more variable in their environment, which says nothing.
    ENVIRONMENT = "variant.environment";
}
