//! The layers as a wall: a slab for each layer, a brick for each requirement. Only our own words and
//! numbers stand in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{anchor, mark, slug};
use crate::report::json::{Report, word};
use crate::report::terminal::title;
use crate::spec::Layer;

/// The width of the picture and of what a brick takes, in units of the drawing.
const WIDTH: usize = 360;
const LEFT: usize = 18;
const BRICK: (usize, usize) = (19, 16);
const ACROSS: usize = (WIDTH - LEFT - 10) / (BRICK.0 + 2);

/// The picture of one report.
pub(super) fn svg(number: usize, report: &Report) -> String {
    let mut layers: BTreeMap<Layer, Vec<(&str, &'static str)>> = BTreeMap::new();
    for row in &report.requirements {
        layers.entry(row.layer).or_default().push((&row.id, word(row.verdict)));
    }
    let mut body = String::new();
    let mut top = 20;
    for (layer, bricks) in &layers {
        let rows = bricks.len().div_ceil(ACROSS);
        let height = 22 + rows * (BRICK.1 + 2);
        let width = WIDTH - LEFT;
        let passed = bricks.iter().filter(|(_, verdict)| *verdict == "pass").count();
        let _ = write!(
            body,
            r#"<rect class="slab" x="{LEFT}" y="{top}" width="{width}" height="{height}" rx="3"/><text x="{}" y="{}">{}: {passed} of {} hold</text>"#,
            LEFT + 6,
            top + 15,
            title(*layer),
            bricks.len(),
        );
        for (place, (id, verdict)) in bricks.iter().enumerate() {
            let x = LEFT + 6 + place % ACROSS * (BRICK.0 + 2);
            let y = top + 20 + place / ACROSS * (BRICK.1 + 2);
            let (wide, high) = BRICK;
            let _ = write!(
                body,
                r##"<a href="#{}" data-brick="{}" aria-label="{}: {verdict}"><title>{}: {verdict}</title><rect class="{verdict}" x="{x}" y="{y}" width="{wide}" height="{high}" rx="2"/><text class="mark {verdict}" x="{}" y="{}" aria-hidden="true">{}</text></a>"##,
                anchor(number, id),
                slug(*layer),
                plain(id),
                plain(id),
                x + wide / 2,
                y + 12,
                mark(verdict),
            );
        }
        top += height + 6;
    }
    let end = top + 4;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" role="group" aria-label="The layers, each with its requirements" viewBox="0 0 {WIDTH} {}" width="{WIDTH}"><text x="0" y="12">attack</text><path class="arrow" d="M7 18V{end}"/><path class="tip" d="M2 {end}h10l-5 8z"/>{body}<text x="{LEFT}" y="{}">your machine</text></svg>"##,
        end + 14,
        end + 8,
    )
}

/// An id with everything taken out that an id does not have.
fn plain(id: &str) -> String {
    id.chars().filter(|it| it.is_ascii_alphanumeric() || "-.:_".contains(*it)).collect()
}
