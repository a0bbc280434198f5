//! The measured numbers of a scene beside the expected ones.

use std::{error::Error, fmt, time::Duration};

pub(crate) struct Report {
    title: String,
    rows: Vec<Row>,
    conclusion: String,
}

struct Row {
    label: &'static str,
    measured: String,
    expected: Option<String>,
    is_wrong: bool,
}

/// An error and its causes, in one line.
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
        Self { title: title.into(), rows: Vec::new(), conclusion: String::new() }
    }

    /// A number or another fact that the crate guarantees.
    pub(crate) fn check<T: fmt::Display + PartialEq>(
        mut self,
        label: &'static str,
        measured: T,
        expected: T,
    ) -> Self {
        self.rows.push(Row {
            label,
            is_wrong: measured != expected,
            measured: measured.to_string(),
            expected: Some(expected.to_string()),
        });
        self
    }

    /// A duration, which has no expected value.
    pub(crate) fn time(mut self, label: &'static str, took: Duration) -> Self {
        let measured = format!("{:.1} ms", took.as_secs_f64() * 1000.0);
        self.rows.push(Row { label, measured, expected: None, is_wrong: false });
        self
    }

    /// Responses and errors that the scene does not expect.
    pub(crate) fn strays(mut self, strays: &[String]) -> Self {
        if let Some(first) = strays.first() {
            self.rows.push(Row {
                label: "other answers",
                measured: strays.len().to_string(),
                expected: Some(format!("0, but: {first}")),
                is_wrong: true,
            });
        }
        self
    }

    /// The conclusion, printed when all numbers are right.
    pub(crate) fn conclusion(mut self, conclusion: impl Into<String>) -> Self {
        self.conclusion = conclusion.into();
        self
    }

    pub(crate) fn wrong(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter(|row| row.is_wrong).map(|row| {
            let expected = row.expected.as_deref().unwrap_or_default();
            format!("\"{}\" is {}, expected {expected}", row.label, row.measured)
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        writeln!(f, "    {:<40}{:>12}{:>12}", "", "measured", "expected")?;
        for row in &self.rows {
            let expected = row.expected.as_deref().unwrap_or("-");
            let mark = if row.is_wrong { "  WRONG" } else { "" };
            writeln!(f, "    {:<40}{:>12}{expected:>12}{mark}", row.label, row.measured)?;
        }
        if self.wrong().next().is_none() {
            writeln!(f, "\n{}", self.conclusion)?;
        }
        Ok(())
    }
}
