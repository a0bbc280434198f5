//! Tables in Markdown: printed, and written into the page that shows them.

use std::{env, fs};

/// The environment variable that makes a bench write its tables.
const WRITE: &str = "BENCH_WRITE";

/// A table that a page has between `<!-- bench: NAME -->` and `<!-- end -->`.
pub(crate) struct Table {
    name: &'static str,
    is_text: bool,
    rows: Vec<Vec<String>>,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(name: &'static str, columns: &[&str]) -> Self {
        Self {
            name,
            is_text: false,
            rows: vec![columns.iter().map(|&column| column.to_owned()).collect()],
        }
    }

    /// Aligns all columns to the left, and not only the first one.
    #[allow(dead_code, reason = "most pages have tables of figures only")]
    pub(crate) fn of_text(self) -> Self {
        Self { is_text: true, ..self }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints the table. If the figures are measured, and `BENCH_WRITE` is set, replaces the table
    /// of the same name in the page.
    pub(crate) fn publish(&self, page: &str, is_measured: bool) {
        let table = self.render();
        println!("{table}");
        if is_measured && env::var_os(WRITE).is_some() {
            let text = fs::read_to_string(page).expect("the page of this bench can be read");
            let text = self.replace_in(&text, &table).unwrap_or_else(|| {
                panic!("{page} has no table between <!-- bench: {} --> and <!-- end -->", self.name)
            });
            fs::write(page, text).expect("the page of this bench can be written");
        }
    }

    fn replace_in(&self, page: &str, table: &str) -> Option<String> {
        let marker = format!("<!-- bench: {} -->\n", self.name);
        let (before, rest) = page.split_once(&marker)?;
        let (_, after) = rest.split_once("<!-- end -->")?;
        Some(format!("{before}{marker}{table}<!-- end -->{after}"))
    }

    /// The first column is text, and aligned to the left. All others are figures.
    fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default().max(3)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut lines = self.rows.iter().map(|row| self.line(row, &widths));
        let head = lines.next().unwrap_or_default();
        let rule = widths.iter().enumerate().map(|(column, &width)| match column {
            0 => format!("{:-<width$}", ""),
            _ if self.is_text => format!("{:-<width$}", ""),
            _ => format!("{:->1$}:", "", width - 1),
        });
        let rule = format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
        head + &rule + &lines.collect::<String>()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cell = |(column, (cell, &width)): (usize, (&String, &usize))| {
            if column == 0 || self.is_text {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        };
        let cells: Vec<_> = cells.iter().zip(widths).enumerate().map(cell).collect();
        format!("| {} |\n", cells.join(" | "))
    }
}
