//! The size of an expression without building it. Must never allocate what it measures.

use serde_json::Value;

use super::{
    Arguments, Count, Encoding, Expr, Fill, MAX_BYTES, Nest, Parameter, PayloadError, Vars,
};

impl Expr {
    /// How many bytes [`Expr::build`] yields at most. Exact where no `encode`, `arguments` or
    /// `cut` takes part; those give an upper bound.
    ///
    /// # Errors
    /// When the expression or any part of it goes over [`MAX_BYTES`], a variable is unset, or the
    /// expression makes no sense.
    pub fn size(&self, vars: &Vars) -> Result<u64, PayloadError> {
        let bytes = match self {
            Self::Text(text) => text.len() as u64,
            Self::Hex(digits) => digits.len() as u64 / 2,
            Self::Wtf16(digits) => digits.len() as u64,
            Self::Var(var) => {
                vars.get(*var).map(|value| value.len() as u64).ok_or(PayloadError::Unset(*var))?
            }
            Self::Repeat(repeat) => repeat.of.size(vars)?.saturating_mul(repeat.times),
            Self::Concat(parts) | Self::Chunks(parts) => sum(parts, vars)?,
            Self::Count(count) => count_size(count, vars)?,
            Self::Encode(encode) => encoded(encode.encoding, encode.of.size(vars)?),
            Self::Nest(nest) => nest_size(nest, vars)?,
            Self::Fill(fill) => fill_size(fill, vars)?,
            Self::Arguments(arguments) => arguments_size(arguments, vars)?,
            Self::Cut(cut) => cut.of.size(vars)?,
            Self::Drip(drip) if drip.every == 0 => {
                return Err(PayloadError::Malformed(
                    "a drip needs pieces of at least 1 byte".into(),
                ));
            }
            Self::Drip(drip) => drip.of.size(vars)?,
            Self::Json(value) => value.to_string().len() as u64,
            Self::Flip(flip) => flip.of.size(vars)?,
            Self::Splice(splice) => splice.of.size(vars)?.saturating_add(splice.with.size(vars)?),
        };
        if bytes > MAX_BYTES { Err(PayloadError::TooLarge { bytes }) } else { Ok(bytes) }
    }
}

fn sum(parts: &[Expr], vars: &Vars) -> Result<u64, PayloadError> {
    parts.iter().try_fold(0_u64, |total, part| Ok(total.saturating_add(part.size(vars)?)))
}

fn optional(part: Option<&Expr>, vars: &Vars) -> Result<u64, PayloadError> {
    part.map_or(Ok(0), |part| part.size(vars))
}

fn count_size(count: &Count, vars: &Vars) -> Result<u64, PayloadError> {
    let item = count.before.size(vars)?.saturating_add(count.after.size(vars)?);
    let between = optional(count.between.as_deref(), vars)?;
    Ok(item
        .saturating_mul(count.times)
        .saturating_add(between.saturating_mul(count.times.saturating_sub(1)))
        .saturating_add(digits_below(count.times)))
}

/// The digits of all numbers from 0 to `end - 1`.
fn digits_below(end: u64) -> u64 {
    let (mut total, mut low, mut width) = (0_u64, 0_u64, 1_u64);
    let mut high = 10_u64;
    while low < end {
        total = total.saturating_add((end.min(high) - low).saturating_mul(width));
        low = high;
        high = high.saturating_mul(10);
        width += 1;
        if low == u64::MAX {
            break;
        }
    }
    total
}

fn encoded(encoding: Encoding, bytes: u64) -> u64 {
    match encoding {
        Encoding::Base64 => bytes.div_ceil(3).saturating_mul(4),
        Encoding::Upper | Encoding::Reverse => bytes,
        Encoding::Percent | Encoding::Fullwidth | Encoding::Fold => bytes.saturating_mul(3),
        Encoding::Hex | Encoding::Homoglyph | Encoding::Utf16Le | Encoding::Utf16Be => {
            bytes.saturating_mul(2)
        }
        Encoding::JsonEscape | Encoding::JsonUnicode => bytes.saturating_mul(6),
        Encoding::Gzip => bytes.saturating_add(bytes / 1000).saturating_add(64),
    }
}

fn nest_size(nest: &Nest, vars: &Vars) -> Result<u64, PayloadError> {
    let layers = nest.layers.len() as u64;
    let Some(depth) = nest.depth.checked_sub(vars.envelope()) else {
        return Err(PayloadError::Malformed(format!(
            "a nest of depth {} cannot stand inside {} containers",
            nest.depth,
            vars.envelope()
        )));
    };
    if layers == 0 {
        return Err(PayloadError::Malformed("a nest needs at least one layer".into()));
    }
    let width = |index: usize| {
        nest.layers.get(index).map_or(0, |shell| (shell.open.len() + shell.close.len()) as u64)
    };
    let turns = depth / layers;
    let rest = usize::try_from(depth % layers).unwrap_or(usize::MAX);
    let whole: u64 = (0..nest.layers.len()).map(width).sum();
    let part: u64 = (0..rest).map(width).sum();
    Ok(whole
        .saturating_mul(turns)
        .saturating_add(part)
        .saturating_add(optional(nest.core.as_deref(), vars)?))
}

fn fill_size(fill: &Fill, vars: &Vars) -> Result<u64, PayloadError> {
    let around = optional(fill.before.as_deref(), vars)?
        .saturating_add(optional(fill.after.as_deref(), vars)?);
    if fill.with.size(vars)? == 0 {
        return Err(PayloadError::Malformed("a fill needs something to fill with".into()));
    }
    if around > fill.to {
        return Err(PayloadError::Malformed(format!(
            "a fill to {} bytes cannot hold the {around} bytes around it",
            fill.to
        )));
    }
    Ok(fill.to)
}

fn arguments_size(arguments: &Arguments, vars: &Vars) -> Result<u64, PayloadError> {
    let shape = vars.naming().shape(arguments.role);
    let template = Value::Object(shape.arguments.clone()).to_string().len() as u64;
    let extra = Value::Object(arguments.extra.clone()).to_string().len() as u64;
    let retyped: u64 = arguments.retype.values().map(|value| value.to_string().len() as u64).sum();
    let mut total = template.saturating_add(extra).saturating_add(retyped);
    let values = arguments.path.iter().chain(&arguments.content);
    let argv = arguments.argv.iter().flatten();
    for value in values.chain(argv) {
        // Each value may be used once; a byte takes at most six in a JSON string, or four more
        // where it is quoted for a shell first.
        total = total.saturating_add(value.size(vars)?.saturating_mul(8)).saturating_add(8);
    }
    for parameter in [Parameter::Path, Parameter::Content, Parameter::Argv] {
        super::build::needed(arguments, shape, parameter)?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_digits_of_numbered_items() {
        for end in [0_u64, 1, 9, 10, 11, 99, 100, 101, 1234] {
            let slow: usize = (0..end).map(|number| number.to_string().len()).sum();
            assert_eq!(digits_below(end), slow as u64, "{end}");
        }
        assert!(digits_below(u64::MAX) > MAX_BYTES);
    }
}
