//! How is a picture of the page drawn? Lines or bars with their spread, as SVG on white, so that it can be
//! read in light and dark pages.

use std::ops::Range;
use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, IntoTextStyle, RGBColor, WHITE};

use crate::section::{Axis, Plot, Point, Series};

const SIZE: (u32, u32) = (860, 430);
const FONT: &str = "Helvetica, Arial, sans-serif";
const TEXT: RGBColor = RGBColor(36, 41, 47);
const GRID: RGBColor = RGBColor(222, 226, 230);
/// Distinct to people who do not see all colours (Okabe and Ito's set).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// How much of the room between two names bars fill.
const BARS: f64 = 0.76;

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Scale, Scale>>;

/// Draws it into this file.
pub(crate) fn draw(plot: &Plot, file: &Path) {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let (head, body) = root.split_vertically(64);
    write_head(plot, &head);
    let mut chart = ChartBuilder::on(&body)
        .margin_left(14)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(
            Scale::of(&plot.x, plot, |point| vec![point.x]),
            Scale::of(&plot.y, plot, Point::heights),
        )
        .unwrap();
    let small = (FONT, 13).into_font().color(&TEXT);
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(WHITE).bold_line_style(GRID).axis_style(TEXT.mix(0.6));
    mesh.x_desc(&plot.x.label).y_desc(&plot.y.label).axis_desc_style((FONT, 14).into_font().color(&TEXT));
    if !plot.x.names.is_empty() {
        mesh.disable_x_mesh();
    }
    let label = |value: &f64| plot.x.names.get(index(*value)).cloned().unwrap_or_else(|| number(*value));
    mesh.label_style(small).x_label_formatter(&label).draw().unwrap();
    for (nth, series) in plot.series.iter().enumerate() {
        if plot.x.names.is_empty() {
            draw_line(&mut chart, series, colour(nth));
        } else {
            let width = BARS / plot.series.len() as f64;
            draw_bars(&mut chart, series, colour(nth), (nth as f64 * width - BARS / 2.0, width));
        }
    }
    root.present().unwrap();
}

fn colour(nth: usize) -> RGBColor {
    COLOURS[nth % COLOURS.len()]
}

/// The title, and below it which colour is which series.
fn write_head(plot: &Plot, area: &DrawingArea<SVGBackend<'_>, Shift>) {
    let title = (FONT, 18).into_font().color(&TEXT);
    area.draw(&Text::new(plot.title.clone(), (16, 10), title)).unwrap();
    let mut x = 16;
    for (nth, series) in plot.series.iter().enumerate() {
        area.draw(&Rectangle::new([(x, 40), (x + 12, 52)], colour(nth).filled())).unwrap();
        let name = (FONT, 14).into_font().color(&TEXT);
        area.draw(&Text::new(series.name.clone(), (x + 18, 39), name)).unwrap();
        // About as wide as these letters are.
        x += 42 + 8 * i32::try_from(series.name.chars().count()).unwrap();
    }
}

fn draw_line(chart: &mut Chart<'_>, series: &Series, colour: RGBColor) {
    let points = series.points.iter().map(|point| (point.x, point.y));
    chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2))).unwrap();
    chart.draw_series(points.map(|at| Circle::new(at, 4, colour.filled()))).unwrap();
    let spreads = series.points.iter().filter_map(|point| Some((point.x, point.spread?)));
    let bars =
        spreads.map(|(x, (low, high))| PathElement::new([(x, low), (x, high)], colour.stroke_width(1)));
    chart.draw_series(bars).unwrap();
}

/// Bars that begin beside the middle of a name, and are so wide.
fn draw_bars(chart: &mut Chart<'_>, series: &Series, colour: RGBColor, (left, width): (f64, f64)) {
    let floor = chart.y_range().start;
    for Point { x, y, spread } in &series.points {
        let (left, right) = (x + left, x + left + width * 0.94);
        let middle = f64::midpoint(left, right);
        let bar = Rectangle::new([(left, floor), (right, *y)], colour.filled());
        let style = (FONT, 12).into_text_style(chart.plotting_area()).color(&TEXT);
        let value = Text::new(number(*y), (middle, *y), style.pos(Pos::new(HPos::Center, VPos::Bottom)));
        chart.draw_series([bar]).unwrap();
        chart.draw_series([value]).unwrap();
        if let Some((low, high)) = spread {
            // Beside the number.
            let at = left + 0.08 * width;
            let line = PathElement::new([(at, *low), (at, *high)], TEXT.stroke_width(1));
            chart.draw_series([line]).unwrap();
        }
    }
}

impl Point {
    /// All that it takes of the height.
    fn heights(&self) -> Vec<f64> {
        let (low, high) = self.spread.unwrap_or((self.y, self.y));
        vec![low, self.y, high]
    }
}

/// An axis from its lowest to its highest value.
struct Scale {
    range: Range<f64>,
    is_logarithmic: bool,
    names: usize,
}

impl Scale {
    /// Wide enough for what `of` takes of every point.
    fn of(axis: &Axis, plot: &Plot, of: fn(&Point) -> Vec<f64>) -> Self {
        let names = axis.names.len();
        let values = plot.series.iter().flat_map(|series| &series.points).flat_map(of);
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        assert!(low <= high, "{}: no points", plot.name);
        let range = if names > 0 {
            -0.5..names as f64 - 0.5
        } else if axis.is_logarithmic {
            assert!(low > 0.0, "{}: nothing is 0 on a logarithmic axis", plot.name);
            low / 1.3..high * 1.3
        } else {
            // From 0, so that heights compare.
            0.0..high * 1.08
        };
        Self { range, is_logarithmic: axis.is_logarithmic, names }
    }

    fn position(&self, value: f64) -> f64 {
        let of = |value: f64| if self.is_logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        (of(value) - of(self.range.start)) / (of(self.range.end) - of(self.range.start))
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        start + (f64::from(end - start) * self.position(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let values: Vec<f64> = if self.names > 0 {
            (0..self.names).map(|name| name as f64).collect()
        } else if self.is_logarithmic {
            let decades = (self.range.end / self.range.start).log10();
            let steps: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            (-6..10).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power))).collect()
        } else {
            let step = round_step((self.range.end - self.range.start) / 6.0);
            (0..20).map(|n| f64::from(n) * step).collect()
        };
        values.into_iter().filter(|value| self.range.contains(value)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        number(*value)
    }
}

/// The next of 1, 2, 5, 10 and so on.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * decade).into_iter().find(|step| *step >= least).unwrap()
}

fn index(value: f64) -> usize {
    if value < 0.0 { usize::MAX } else { value.round() as usize }
}

/// With three digits at least, and commas between thousands: `0.25`, `4,560`.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = sign.to_owned();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}
