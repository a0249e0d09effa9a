//! The picture of the README: what the ways cost at the most concurrent.

use super::Row;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const TITLE: f64 = 40.0;

/// A panel: its title, and the number of a row.
type Panel = (&'static str, fn(&Row) -> f64);

const PANELS: [Panel; 4] = [
    ("sign-ups a second", |row| row.per_second),
    ("peak memory over idle, MiB", |row| row.peak_mib),
    ("99th percentile, ms", |row| row.p99_ms),
    ("worst lag of a timer, ms", |row| row.lag_ms),
];

/// An SVG that is legible on a light and on a dark page.
pub(super) fn draw(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.concurrent).max().unwrap_or_default();
    let rows: Vec<_> = rows.iter().filter(|row| row.concurrent == most).collect();
    let panel_height = TITLE + STEP * f64::from(u8::try_from(rows.len()).unwrap_or(u8::MAX));
    let height = panel_height * 4.0 + 20.0;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{most} concurrent sign-ups on two cores, by four ways to hash">
<style>
text {{ font: 13px sans-serif; fill: #24292f }}
.title {{ font-weight: bold }}
rect {{ fill: #8c959f }}
.ours {{ fill: #1a7f37 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .ours {{ fill: #3fb950 }} }}
</style>
"#
    );
    let mut top = 10.0;
    for (title, number) in PANELS {
        svg += &panel(&rows, title, number, top, most);
        top += panel_height;
    }
    svg + "</svg>\n"
}

fn panel(rows: &[&Row], title: &str, number: fn(&Row) -> f64, top: f64, most: usize) -> String {
    let largest = rows.iter().map(|row| number(row)).fold(f64::MIN_POSITIVE, f64::max);
    let y = top + 18.0;
    let mut panel = format!(
        "<text class=\"title\" x=\"0\" y=\"{y:.0}\">{title}, at {most} concurrent sign-ups</text>\n"
    );
    let mut top = top + TITLE - 12.0;
    for row in rows {
        let (way, value) = (&row.way, number(row));
        let width = (value / largest * (WIDTH - LEFT - 80.0)).max(1.0);
        let class = if way.starts_with("pool") { "ours" } else { "" };
        let (baseline, beside) = (top + 13.0, LEFT + width + 6.0);
        let text_end = LEFT - 8.0;
        panel += &format!(
            "<text x=\"{text_end:.0}\" y=\"{baseline:.0}\" text-anchor=\"end\">{way}</text>\
             <rect class=\"{class}\" x=\"{LEFT:.0}\" y=\"{top:.0}\" width=\"{width:.0}\" height=\"{BAR}\"/>\
             <text x=\"{beside:.0}\" y=\"{baseline:.0}\">{value:.0}</text>\n"
        );
        top += STEP;
    }
    panel
}
