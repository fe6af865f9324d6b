//! Tools whose parameters stand inside a longer text, such as the command of a shell:
//! `cat -- ${path|shell}`. Must never know which target such a tool is of.

use serde_json::Value;

/// A piece of such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it stands.
    Text(&'a str),
    /// A parameter, and whether it is to be one word of a POSIX shell (`|shell`).
    Value(&'a str, bool),
}

/// The pieces of a text with parameters in it; none where the template is a parameter alone, as
/// `${path}`, or has none.
#[must_use]
pub fn mixed(template: &Value) -> Option<Vec<Piece<'_>>> {
    let mut rest = template.as_str()?;
    let mut pieces = Vec::new();
    while let Some((before, (inside, after))) =
        rest.split_once("${").and_then(|(before, behind)| Some((before, behind.split_once('}')?)))
    {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let word = inside.strip_suffix("|shell");
        pieces.push(Piece::Value(word.unwrap_or(inside), word.is_some()));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    match pieces.as_slice() {
        [] | [Piece::Text(_) | Piece::Value(_, false)] => None,
        _ => Some(pieces),
    }
}

/// The text, with a value for each parameter.
///
/// # Errors
/// What `value` says of a parameter that it does not know.
pub fn fill<E>(
    pieces: &[Piece<'_>],
    mut value: impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let mut out = Vec::new();
    for piece in pieces {
        match *piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value(name, true) => out.extend(shell_word(&value(name)?)),
            Piece::Value(name, false) => out.extend(value(name)?),
        }
    }
    Ok(out)
}

/// One word of a POSIX shell that stands for exactly these bytes.
#[must_use]
pub fn shell_word(bytes: &[u8]) -> Vec<u8> {
    let inner = bytes.split(|byte| *byte == b'\'').collect::<Vec<_>>().join(br"'\''".as_slice());
    [b"'".as_slice(), &inner, b"'"].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_alone_is_no_text_with_parameters() {
        assert_eq!(mixed(&json!("${path}")), None);
        assert_eq!(mixed(&json!("runs a program")), None);
        assert_eq!(mixed(&json!(7)), None);
        assert!(mixed(&json!("${path|shell}")).is_some());
    }

    #[test]
    fn a_word_of_a_shell_stands_for_its_bytes() {
        let template = json!("cat -- ${path|shell} # ${content}");
        let pieces = mixed(&template).unwrap();
        let filled = fill(&pieces, |name| Ok::<_, ()>(format!("it's {name}").into_bytes()));
        assert_eq!(filled.unwrap(), br"cat -- 'it'\''s path' # it's content");
    }
}
