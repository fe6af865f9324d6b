//! Plain tables as one page that needs no network. It must never know what they are about.

use askama::Template;

use super::{CSS, policy};

/// One table.
#[derive(Clone, Debug)]
pub struct Table {
    /// What stands above it.
    pub heading: String,
    /// A sentence or two before it, or nothing.
    pub words: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows, each with a cell for each column.
    pub rows: Vec<Vec<String>>,
}

#[derive(Template)]
#[template(path = "tables.html")]
struct Page<'a> {
    title: &'a str,
    words: &'a str,
    policy: String,
    css: &'a str,
    tables: &'a [Table],
}

/// The tables as a page.
///
/// # Errors
/// What the template says.
pub fn tables(title: &str, words: &str, tables: &[Table]) -> Result<String, String> {
    let page = Page { title, words, policy: policy(), css: CSS, tables };
    page.render().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_cell_is_text() {
        let table = Table {
            heading: "h".into(),
            words: String::new(),
            columns: vec!["c".into()],
            rows: vec![vec!["<script>1</script>".into()]],
        };
        let page = tables("t", "w", &[table]).unwrap();
        assert!(!page.contains("<script>") && page.contains("script"));
    }
}
