//! What a scene measured, beside what it must be.

use std::{error::Error, fmt, time::Duration};

pub(crate) struct Report {
    title: String,
    rows: Vec<Row>,
    moral: String,
}

struct Row {
    label: &'static str,
    measured: String,
    must_be: Option<String>,
    is_wrong: bool,
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

// === impl Report ===

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new(), moral: String::new() }
    }

    /// A number, or another fact, that the guarantees promise.
    pub(crate) fn check<T: fmt::Display + PartialEq>(
        mut self,
        label: &'static str,
        measured: T,
        must_be: T,
    ) -> Self {
        self.rows.push(Row {
            label,
            is_wrong: measured != must_be,
            measured: measured.to_string(),
            must_be: Some(must_be.to_string()),
        });
        self
    }

    /// How long it took, which nobody promises.
    pub(crate) fn time(mut self, label: &'static str, took: Duration) -> Self {
        let measured = format!("{:.1} ms", took.as_secs_f64() * 1000.0);
        self.rows.push(Row { label, measured, must_be: None, is_wrong: false });
        self
    }

    /// Answers that a scene can't explain.
    pub(crate) fn strays(mut self, strays: Vec<String>) -> Self {
        if let Some(first) = strays.first() {
            self.rows.push(Row {
                label: "other answers",
                measured: strays.len().to_string(),
                must_be: Some(format!("0, but: {first}")),
                is_wrong: true,
            });
        }
        self
    }

    /// What to learn from it.
    pub(crate) fn moral(mut self, moral: impl Into<String>) -> Self {
        self.moral = moral.into();
        self
    }

    pub(crate) fn wrong(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter(|row| row.is_wrong).map(|row| {
            let must_be = row.must_be.as_deref().unwrap_or_default();
            format!("\"{}\" is {} and must be {must_be}", row.label, row.measured)
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        writeln!(f, "    {:<40}{:>12}{:>12}", "", "measured", "must be")?;
        for row in &self.rows {
            let must_be = row.must_be.as_deref().unwrap_or("-");
            let mark = if row.is_wrong { "  WRONG" } else { "" };
            writeln!(f, "    {:<40}{:>12}{must_be:>12}{mark}", row.label, row.measured)?;
        }
        if self.wrong().next().is_none() {
            writeln!(f, "\n{}", self.moral)?;
        }
        Ok(())
    }
}
