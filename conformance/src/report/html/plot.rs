//! The kill matrix as a plot: a row for each missing defence, a column for each requirement that
//! noticed it. Only ids stand in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::oracle::matrix::KillMatrix;

const CELL: (usize, usize) = (7, 12);
const LEFT: usize = 170;
const TOP: usize = 16;

/// The plot.
pub(super) fn svg(matrix: &KillMatrix) -> String {
    let columns: BTreeSet<&str> =
        matrix.kills.values().flat_map(|kills| &kills.requirements).map(String::as_str).collect();
    let columns: Vec<&str> = columns.into_iter().collect();
    let width = LEFT + columns.len() * CELL.0 + 10;
    let height = TOP + matrix.kills.len() * CELL.1 + 6;
    let mut body = String::new();
    let mut last = "";
    for (place, id) in columns.iter().enumerate() {
        let head = id.split('.').next().unwrap_or_default();
        if head != last {
            last = head;
            let x = LEFT + place * CELL.0;
            let _ = write!(
                body,
                r#"<path class="rule" d="M{x} 0V{height}"/><text class="small" x="{}" y="9">{}</text>"#,
                x + 1,
                plain(head)
            );
        }
    }
    for (line, (id, kills)) in matrix.kills.iter().enumerate() {
        let y = TOP + line * CELL.1;
        let id = plain(id);
        let _ = write!(body, r#"<text class="small" x="0" y="{}">{id}</text>"#, y + 9);
        for (place, column) in columns.iter().enumerate() {
            if kills.requirements.iter().any(|it| it == column) {
                let x = LEFT + place * CELL.0;
                let _ = write!(
                    body,
                    r#"<rect class="cell" x="{x}" y="{}" width="6" height="10"><title>without {id}: {} falls</title></rect>"#,
                    y + 1,
                    plain(column)
                );
            }
        }
    }
    let (rows, count) = (matrix.kills.len(), columns.len());
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{rows} missing defences and the {count} requirements that noticed them; the table below says the same" viewBox="0 0 {width} {height}" width="{width}" height="{height}">{body}</svg>"#
    )
}

fn plain(id: &str) -> String {
    id.chars().filter(|it| it.is_ascii_alphanumeric() || "-._".contains(*it)).collect()
}
