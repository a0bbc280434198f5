//! The layout of the picture: two panels, one above the other, that share a time axis.

use std::time::Instant;

use http::StatusCode;

use crate::{
    picture::svg::Svg,
    scenes::{Played, herd::Span},
    server::link::{Exchange, Purpose},
};

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
/// The left and right end of the time axis.
const PLOT: (f64, f64) = (128.0, WIDTH - MARGIN - 4.0);
const HEADER: f64 = 88.0;
/// The height of a request's row, and of the bar in it.
const ROW: (f64, f64) = (9.0, 5.0);
/// The same for a refresh.
const LANE: (f64, f64) = (5.0, 3.5);
const PANEL_GAP: f64 = 38.0;
const AXIS: f64 = 42.0;

/// The time axis, from 0 to `end` milliseconds.
struct Axis {
    end: f64,
    step: f64,
}

/// A scene with its times in milliseconds from its first request.
struct Panel {
    heading: &'static str,
    verdict: (&'static str, String),
    rows: Vec<Row>,
    refreshes: Vec<Bar>,
}

struct Row {
    begin: f64,
    end: f64,
    is_answered: bool,
    attempts: Vec<Bar>,
}

struct Bar {
    begin: f64,
    end: f64,
    is_success: bool,
}

/// The picture of both scenes, as an SVG document.
pub(crate) fn draw(by_hand: &Played, layer: &Played) -> String {
    let by_hand = Panel::new("By hand: each rejected request refreshes", by_hand, |panel| {
        let refused = panel.refreshes.iter().filter(|refresh| !refresh.is_success).count();
        let count = panel.refreshes.len();
        ("bad", format!("{count} refreshes, {refused} refused · {} · logged out", panel.answered()))
    });
    let layer = Panel::new("Through tower-refresh: one refresh for all", layer, |panel| {
        let count = panel.refreshes.len();
        ("good", format!("{count} refresh · {}", panel.answered()))
    });
    let axis = Axis::new(by_hand.end().max(layer.end()));
    let requests = layer.rows.len();

    let mut svg = Svg::new();
    let title = format!("{requests} concurrent requests with an expired access token");
    svg.text("title", MARGIN, 34.0, &title);
    draw_legend(&mut svg);
    let second = HEADER + by_hand.height() + PANEL_GAP;
    let bottom = second + layer.height();
    by_hand.draw(&mut svg, &axis, HEADER);
    layer.draw(&mut svg, &axis, second);
    axis.draw_labels(&mut svg, bottom + 22.0);
    let label = format!(
        "{title}. {}: {}. {}: {}.",
        by_hand.heading, by_hand.verdict.1, layer.heading, layer.verdict.1
    );
    svg.finish(&label, WIDTH, bottom + AXIS)
}

fn draw_legend(svg: &mut Svg) {
    let y = 58.0;
    let entries = [
        ("rejected", "attempt, 401", 132.0),
        ("answered", "attempt, 200", 132.0),
        ("wait", "waiting", 96.0),
        ("refresh", "refresh", 96.0),
        ("refused", "refused refresh", 150.0),
        ("failed", "caller has to log in again", 0.0),
    ];
    let mut x = MARGIN;
    for (class, text, width) in entries {
        match class {
            "wait" => svg.line(class, (x, y - 4.0), (x + 16.0, y - 4.0)),
            "failed" => svg.cross(class, x + 10.0, y - 4.0),
            _ => svg.bar(class, x, y - 6.5, 16.0, ROW.1),
        }
        svg.text("", x + 22.0, y, text);
        x += width;
    }
}

// === impl Axis ===

impl Axis {
    fn new(last: f64) -> Self {
        let steps = [50.0, 100.0, 200.0, 500.0, 1_000.0];
        let step = steps.into_iter().find(|step| last / step < 6.0).unwrap_or(5_000.0);
        Self { end: (last / step * 2.0).ceil().max(1.0) * step / 2.0, step }
    }

    fn x(&self, millis: f64) -> f64 {
        let (left, right) = PLOT;
        left + (right - left) * millis / self.end
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (0..).map(|tick| f64::from(tick) * self.step).take_while(|millis| *millis <= self.end)
    }

    fn draw_grid(&self, svg: &mut Svg, top: f64, bottom: f64) {
        for x in self.ticks().map(|millis| self.x(millis)) {
            svg.line("grid", (x, top), (x, bottom));
        }
    }

    fn draw_labels(&self, svg: &mut Svg, y: f64) {
        for millis in self.ticks() {
            svg.text("middle", self.x(millis), y, &format!("{millis}"));
        }
        svg.text("", MARGIN, y, "milliseconds");
    }
}

// === impl Panel ===

impl Panel {
    fn new(
        heading: &'static str,
        scene: &Played,
        verdict: impl FnOnce(&Self) -> (&'static str, String),
    ) -> Self {
        let start = scene.spans.iter().map(|span| span.begin).min().unwrap_or_else(Instant::now);
        let millis = |moment: Instant| moment.duration_since(start).as_secs_f64() * 1e3;
        let bar = |exchange: &Exchange| Bar {
            begin: millis(exchange.begin),
            end: millis(exchange.end),
            is_success: exchange.status == StatusCode::OK,
        };
        let bars = |purpose| {
            let exchanges =
                scene.exchanges.iter().filter(move |exchange| exchange.purpose == purpose);
            let mut bars: Vec<_> = exchanges.map(bar).collect();
            bars.sort_by(|a, b| a.begin.total_cmp(&b.begin));
            bars
        };
        let row = |span: &Span| Row {
            begin: millis(span.begin),
            end: millis(span.end),
            is_answered: span.is_answered,
            attempts: bars(Purpose::Attempt(span.number)),
        };
        let mut rows: Vec<_> = scene.spans.iter().map(row).collect();
        rows.sort_by(|a, b| a.first_answer().total_cmp(&b.first_answer()));
        let mut panel =
            Self { heading, verdict: ("", String::new()), rows, refreshes: bars(Purpose::Refresh) };
        panel.verdict = verdict(&panel);
        panel
    }

    fn answered(&self) -> String {
        let answered = self.rows.iter().filter(|row| row.is_answered).count();
        format!("{answered} of {} requests answered", self.rows.len())
    }

    fn end(&self) -> f64 {
        self.rows.iter().map(|row| row.end).fold(0.0, f64::max)
    }

    fn height(&self) -> f64 {
        20.0 + self.rows.len() as f64 * ROW.0 + 12.0 + self.refreshes.len() as f64 * LANE.0
    }

    fn draw(&self, svg: &mut Svg, axis: &Axis, top: f64) {
        svg.text("heading", MARGIN, top, self.heading);
        let (class, verdict) = &self.verdict;
        svg.text(&format!("{class} end"), PLOT.1, top, verdict);
        axis.draw_grid(svg, top + 12.0, top + self.height() + 4.0);

        let mut y = top + 20.0;
        svg.text("", MARGIN, y + self.rows.len() as f64 * ROW.0 / 2.0, "requests");
        for row in &self.rows {
            let middle = y + ROW.1 / 2.0;
            svg.line("wait", (axis.x(row.begin), middle), (axis.x(row.end), middle));
            for attempt in &row.attempts {
                attempt.draw(svg, axis, ["rejected", "answered"], (y, ROW.1));
            }
            if !row.is_answered {
                svg.cross("failed", axis.x(row.end) + 5.0, middle);
            }
            y += ROW.0;
        }

        y += 12.0;
        svg.text("", MARGIN, y + self.refreshes.len() as f64 * LANE.0 / 2.0 + 3.0, "refreshes");
        for refresh in &self.refreshes {
            refresh.draw(svg, axis, ["refused", "refresh"], (y, LANE.1));
            y += LANE.0;
        }
    }
}

// === impl Row ===

impl Row {
    fn first_answer(&self) -> f64 {
        self.attempts.first().map_or(self.end, |attempt| attempt.end)
    }
}

// === impl Bar ===

impl Bar {
    fn draw(&self, svg: &mut Svg, axis: &Axis, classes: [&str; 2], (y, height): (f64, f64)) {
        let (x, end) = (axis.x(self.begin), axis.x(self.end));
        svg.bar(classes[usize::from(self.is_success)], x, y, end - x, height);
    }
}
