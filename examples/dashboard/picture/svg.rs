//! An SVG document, element by element.

use std::fmt::Write;

/// Colours for a light background, then for a dark one.
///
/// Selectors start with the document's id, because the file is also embedded in HTML.
const STYLE: &str = "\
<style>
#herd { max-width: 100%; height: auto }
#herd text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #59636e }
#herd .title { font-weight: 600; font-size: 15px; fill: #1f2328 }
#herd .heading { font-weight: 600; font-size: 13px; fill: #1f2328 }
#herd .good { font-weight: 600; fill: #1a7f37 }
#herd .bad { font-weight: 600; fill: #cf222e }
#herd .end { text-anchor: end }
#herd .middle { text-anchor: middle }
#herd .card { fill: #ffffff; stroke: #d1d9e0 }
#herd .grid { stroke: #e6eaef }
#herd .wait { stroke: #afb8c1; stroke-width: 1.5 }
#herd .rejected { fill: #8c959f }
#herd .answered { fill: #2da44e }
#herd .refresh { fill: #d4a72c }
#herd .refused { fill: #e5534b }
#herd .failed { stroke: #cf222e; stroke-width: 2; fill: none; stroke-linecap: round }
@media (prefers-color-scheme: dark) {
#herd text { fill: #9198a1 }
#herd .title, #herd .heading { fill: #f0f6fc }
#herd .good { fill: #3fb950 }
#herd .bad { fill: #f85149 }
#herd .card { fill: #0d1117; stroke: #3d444d }
#herd .grid { stroke: #262c36 }
#herd .wait { stroke: #59636e }
#herd .rejected { fill: #818b98 }
#herd .answered { fill: #2ea043 }
#herd .refresh { fill: #d29922 }
#herd .refused { fill: #da3633 }
#herd .failed { stroke: #f85149 }
}
</style>
";

/// A document under construction. It has no blank line, which would end its HTML block in Markdown.
pub(super) struct Svg {
    elements: String,
}

// === impl Svg ===

impl Svg {
    pub(super) fn new() -> Self {
        Self { elements: String::new() }
    }

    pub(super) fn bar(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        let (width, radius) = (width.max(1.0), height.min(5.0) / 2.0);
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="{radius}"/>"#
        ));
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    pub(super) fn cross(&mut self, class: &str, x: f64, y: f64) {
        let (x, y) = (x - 3.0, y - 3.0);
        self.push(format_args!(r#"<path class="{class}" d="M{x:.1} {y:.1}l6 6m0 -6l-6 6"/>"#));
    }

    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.push(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#));
    }

    /// The whole document, on a card with round corners.
    pub(super) fn finish(self, label: &str, width: f64, height: f64) -> String {
        let (right, bottom) = (width - 1.0, height - 1.0);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" id=\"herd\" role=\"img\" aria-label=\"{label}\" \
             viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
             {STYLE}\
             <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{right}\" height=\"{bottom}\" rx=\"8\"/>\n\
             {}</svg>\n",
            self.elements
        )
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.elements, "{element}").expect("a string takes any text");
    }
}
