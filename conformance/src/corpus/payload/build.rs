//! Builds the bytes of an expression whose size has been worked out. Must never run unchecked.

use serde_json::Value;

use super::encode::{encode, json_escape, unhex, wtf8};
use super::mixed::{Piece, fill, mixed, shell_word};
use super::vars::ToolShape;
use super::{Arguments, Count, Expr, Fill, Nest, Parameter, PayloadError, Shell, Vars};

impl Expr {
    /// The bytes of the expression.
    ///
    /// # Errors
    /// As [`Expr::size`], which is asked first; nothing is built when it refuses.
    pub fn build(&self, vars: &Vars) -> Result<Vec<u8>, PayloadError> {
        let mut out = Vec::with_capacity(usize::try_from(self.size(vars)?).unwrap_or(0));
        self.write(vars, &mut out)?;
        Ok(out)
    }

    /// The bytes in the pieces in which they are delivered: more than one for `chunks` and `drip`
    /// at the top, else one. Joined they are what [`Expr::build`] yields.
    ///
    /// # Errors
    /// As [`Expr::build`].
    pub fn pieces(&self, vars: &Vars) -> Result<Vec<Vec<u8>>, PayloadError> {
        self.size(vars)?;
        match self {
            Self::Chunks(parts) => parts.iter().map(|part| part.build(vars)).collect(),
            Self::Drip(drip) => {
                let every = usize::try_from(drip.every).unwrap_or(usize::MAX);
                Ok(drip.of.build(vars)?.chunks(every).map(<[u8]>::to_vec).collect())
            }
            whole => Ok(vec![whole.build(vars)?]),
        }
    }

    fn write(&self, vars: &Vars, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Hex(digits) => out.extend(unhex(digits)?),
            Self::Wtf16(digits) => out.extend(wtf8(digits)?),
            Self::Var(var) => out.extend(vars.get(*var).ok_or(PayloadError::Unset(*var))?),
            Self::Repeat(repeat) => {
                let times = usize::try_from(repeat.times).unwrap_or(0);
                out.extend(repeat.of.build(vars)?.repeat(times));
            }
            Self::Concat(parts) | Self::Chunks(parts) => {
                parts.iter().try_for_each(|part| part.write(vars, out))?;
            }
            Self::Count(count) => write_count(count, vars, out)?,
            Self::Encode(job) => out.extend(encode(job.encoding, job.of.build(vars)?)?),
            Self::Nest(nest) => write_nest(nest, vars, out)?,
            Self::Fill(fill) => write_fill(fill, vars, out)?,
            Self::Arguments(arguments) => write_arguments(arguments, vars, out)?,
            Self::Cut(cut) => {
                let whole = cut.of.build(vars)?;
                let last = usize::try_from(cut.last).unwrap_or(usize::MAX);
                out.extend(whole.get(..whole.len().saturating_sub(last)).unwrap_or_default());
            }
            Self::Drip(drip) => drip.of.write(vars, out)?,
            Self::Json(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Flip(flip) => {
                let mut bytes = flip.of.build(vars)?;
                let at = place(flip.at, bytes.len())?;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flip.mask;
                }
                out.extend(bytes);
            }
            Self::Splice(splice) => {
                let (bytes, with) = (splice.of.build(vars)?, splice.with.build(vars)?);
                let at = place(splice.at, bytes.len())?;
                let rest = bytes.get(at.saturating_add(with.len())..).unwrap_or_default();
                out.extend_from_slice(bytes.get(..at).unwrap_or_default());
                out.extend_from_slice(&with);
                out.extend_from_slice(rest);
            }
        }
        Ok(())
    }
}

/// A place in so many bytes, counted from the end below 0.
fn place(at: i64, length: usize) -> Result<usize, PayloadError> {
    let from_end =
        usize::try_from(at.unsigned_abs()).ok().and_then(|back| length.checked_sub(back));
    let found = if at < 0 { from_end } else { usize::try_from(at).ok() };
    found
        .filter(|place| *place < length)
        .ok_or_else(|| PayloadError::Malformed(format!("there is no byte {at} in {length} bytes")))
}

fn optional(part: Option<&Expr>, vars: &Vars) -> Result<Vec<u8>, PayloadError> {
    part.map_or_else(|| Ok(Vec::new()), |part| part.build(vars))
}

fn write_count(count: &Count, vars: &Vars, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    let (before, after) = (count.before.build(vars)?, count.after.build(vars)?);
    let between = optional(count.between.as_deref(), vars)?;
    for number in 0..count.times {
        if number > 0 {
            out.extend_from_slice(&between);
        }
        out.extend_from_slice(&before);
        out.extend_from_slice(number.to_string().as_bytes());
        out.extend_from_slice(&after);
    }
    Ok(())
}

fn write_nest(nest: &Nest, vars: &Vars, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    // Whole turns are copied as one piece: a million levels are an ordinary case.
    let depth = usize::try_from(nest.depth.saturating_sub(vars.envelope())).unwrap_or(0);
    let turns = depth / nest.layers.len().max(1);
    let rest = nest.layers.get(..depth % nest.layers.len().max(1)).unwrap_or_default();
    let opened = |shells: &[Shell]| shells.iter().map(|shell| &*shell.open).collect::<String>();
    let closed =
        |shells: &[Shell]| shells.iter().rev().map(|shell| &*shell.close).collect::<String>();
    out.extend(opened(&nest.layers).repeat(turns).into_bytes());
    out.extend(opened(rest).into_bytes());
    out.extend(optional(nest.core.as_deref(), vars)?);
    out.extend(closed(rest).into_bytes());
    out.extend(closed(&nest.layers).repeat(turns).into_bytes());
    Ok(())
}

fn write_fill(fill: &Fill, vars: &Vars, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    let before = optional(fill.before.as_deref(), vars)?;
    let after = optional(fill.after.as_deref(), vars)?;
    let unit = fill.with.build(vars)?;
    let room = usize::try_from(fill.to).unwrap_or(0).saturating_sub(before.len() + after.len());
    let mut filling = unit.repeat(room.div_ceil(unit.len().max(1)));
    filling.truncate(room);
    out.extend(before);
    out.append(&mut filling);
    out.extend(after);
    Ok(())
}

/// Whether the shape asks for a parameter that the expression neither gives nor takes away.
pub(super) fn needed(
    arguments: &Arguments,
    shape: &ToolShape,
    parameter: Parameter,
) -> Result<(), PayloadError> {
    let asked = shape.arguments.values().any(|template| stand_in(template).contains(&parameter));
    let given = match parameter {
        Parameter::Path => arguments.path.is_some(),
        Parameter::Content => arguments.content.is_some(),
        Parameter::Argv => arguments.argv.is_some(),
    };
    let other = arguments.omit.contains(&parameter) || arguments.retype.contains_key(&parameter);
    if asked && !given && !other {
        let role = arguments.role;
        return Err(PayloadError::Malformed(format!("arguments of {role:?} need {parameter:?}")));
    }
    Ok(())
}

/// The parameters whose values stand in a member.
fn stand_in(template: &Value) -> Vec<Parameter> {
    let of = |name: &str| match name {
        "path" => Some(Parameter::Path),
        "content" => Some(Parameter::Content),
        "argv" | "command" => Some(Parameter::Argv),
        _ => None,
    };
    if let Some(pieces) = mixed(template) {
        let named = |piece| if let Piece::Value(name, _) = piece { of(name) } else { None };
        return pieces.into_iter().filter_map(named).collect();
    }
    let alone = template.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}'));
    alone.and_then(of).into_iter().collect()
}

fn write_arguments(
    arguments: &Arguments,
    vars: &Vars,
    out: &mut Vec<u8>,
) -> Result<(), PayloadError> {
    let shape = vars.naming().shape(arguments.role);
    let mut members = Vec::new();
    for (key, template) in &shape.arguments {
        let stand = stand_in(template);
        if stand.iter().any(|parameter| arguments.omit.contains(parameter)) {
            continue;
        }
        let retyped = stand.iter().find_map(|parameter| arguments.retype.get(parameter));
        let value = match (retyped, mixed(template), stand.first()) {
            (Some(other), _, _) => other.to_string().into_bytes(),
            (None, Some(pieces), _) => quoted(&mix(arguments, &pieces, vars)?),
            (None, None, Some(parameter)) => value_of(arguments, *parameter, template, vars)?,
            (None, None, None) => template.to_string().into_bytes(),
        };
        members.push((key.as_str(), value));
    }
    for (key, value) in &arguments.extra {
        members.push((key, value.to_string().into_bytes()));
    }
    out.push(b'{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend(quoted(key.as_bytes()));
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    Ok(())
}

fn value_of(
    arguments: &Arguments,
    parameter: Parameter,
    template: &Value,
    vars: &Vars,
) -> Result<Vec<u8>, PayloadError> {
    match parameter {
        Parameter::Path => Ok(quoted(&optional(arguments.path.as_ref(), vars)?)),
        Parameter::Content => Ok(quoted(&optional(arguments.content.as_ref(), vars)?)),
        Parameter::Argv => {
            let argv = arguments.argv.iter().flatten().map(|item| item.build(vars));
            let argv = argv.collect::<Result<Vec<_>, _>>()?;
            if template.as_str() == Some("${command}") {
                let words: Vec<_> = argv.iter().map(|word| shell_word(word)).collect();
                return Ok(quoted(&words.join(&b' ')));
            }
            let words: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
            Ok([b"[".as_slice(), &words.join(&b','), b"]"].concat())
        }
    }
}

fn quoted(bytes: &[u8]) -> Vec<u8> {
    [b"\"".as_slice(), &json_escape(bytes), b"\""].concat()
}

/// A text in which the values of parameters stand, such as a command of a shell.
fn mix(arguments: &Arguments, pieces: &[Piece<'_>], vars: &Vars) -> Result<Vec<u8>, PayloadError> {
    fill(pieces, |name| match name {
        "path" => optional(arguments.path.as_ref(), vars),
        "content" => optional(arguments.content.as_ref(), vars),
        other => {
            Err(PayloadError::Malformed(format!("a tool's text cannot hold the parameter {other}")))
        }
    })
}
