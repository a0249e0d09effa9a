//! A picture of bars, legible on a light and on a dark page.

const WIDTH: f64 = 760.0;
const LEFT: f64 = 250.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const TITLE: f64 = 40.0;

/// A group of bars that share a scale.
pub struct Panel {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// A bar, in the colour of the crate's own if it is one of its.
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub is_ours: bool,
}

/// Draws an SVG, whose description is for who does not see it.
pub fn draw(description: &str, panels: &[Panel]) -> String {
    let total: f64 = panels.iter().map(height).sum::<f64>() + 20.0;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" role="img" aria-label="{description}">
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
    for panel in panels {
        svg += &draw_panel(panel, top);
        top += height(panel);
    }
    svg + "</svg>\n"
}

fn height(panel: &Panel) -> f64 {
    TITLE + STEP * f64::from(u8::try_from(panel.bars.len()).unwrap_or(u8::MAX))
}

fn draw_panel(panel: &Panel, top: f64) -> String {
    let largest = panel.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let y = top + 18.0;
    let mut svg = format!("<text class=\"title\" x=\"0\" y=\"{y:.0}\">{}</text>\n", panel.title);
    let mut top = top + TITLE - 12.0;
    for Bar { name, value, is_ours } in &panel.bars {
        let width = (value / largest * (WIDTH - LEFT - 80.0)).max(1.0);
        let class = if *is_ours { "ours" } else { "" };
        let (baseline, beside) = (top + 13.0, LEFT + width + 6.0);
        let text_end = LEFT - 8.0;
        svg += &format!(
            "<text x=\"{text_end:.0}\" y=\"{baseline:.0}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"{class}\" x=\"{LEFT:.0}\" y=\"{top:.0}\" width=\"{width:.0}\" height=\"{BAR}\"/>\
             <text x=\"{beside:.0}\" y=\"{baseline:.0}\">{value:.0}</text>\n"
        );
        top += STEP;
    }
    svg
}
