//! Tables of a sweep as Markdown and HTML, so that both say the same. Pure; knows no sweep.

use clawproof::report::html::{self, Table};

use crate::failure::Failure;

/// The tables as Markdown.
pub(super) fn markdown(tables: &[Table]) -> String {
    let mut page = String::new();
    for table in tables {
        page.push_str(&format!("\n## {}\n\n", table.heading));
        if !table.words.is_empty() {
            page.push_str(&format!("{}\n\n", table.words));
        }
        if table.rows.is_empty() {
            continue;
        }
        row(&mut page, &table.columns);
        row(&mut page, &vec!["---".to_owned(); table.columns.len()]);
        for cells in &table.rows {
            row(&mut page, cells);
        }
    }
    page
}

fn row(page: &mut String, cells: &[String]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    page.push_str(&format!("| {} |\n", cells.join(" | ")));
}

/// The tables as a page of their own.
///
/// # Errors
/// What the template says.
pub(super) fn page(title: &str, words: &str, tables: &[Table]) -> Result<String, Failure> {
    html::tables(title, words, tables).map_err(Failure::machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_in_a_cell_does_not_break_the_row() {
        let table = Table {
            heading: "H".into(),
            words: "w".into(),
            columns: vec!["a".into(), "b".into()],
            rows: vec![vec!["x|y".into(), "z".into()]],
        };
        let text = markdown(&[table]);
        assert_eq!(text, "\n## H\n\nw\n\n| a | b |\n| --- | --- |\n| x\\|y | z |\n");
    }
}
