//! Draws throughput and latency over time. The font, from the crate `dejavu`, comes with the program, as its licence allows:
//! a machine without any draws the same picture. In an SVG it only measures; the letters are those of whoever shows it.

use std::{
    error::Error,
    fmt::Display,
    path::{Path, PathBuf},
    time::Duration,
};

use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::{
        BLACK, BitMapBackend, ChartBuilder, DrawingArea, DrawingBackend, IntoDrawingArea as _, IntoLogRange as _,
        LineSeries, PathElement, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
    },
    style::{Color as _, FontStyle, IntoFont as _, register_font},
};

use super::record::Sample;
use crate::{
    failure::Failure,
    format::{latency, thousands},
};

const SIZE: (u32, u32) = (1200, 800);
const FONT: &str = "sans-serif";
const BLUE: RGBColor = RGBColor(31, 119, 180);
const ORANGE: RGBColor = RGBColor(255, 127, 14);
const RED: RGBColor = RGBColor(214, 39, 40);
const GREY: RGBColor = RGBColor(127, 127, 127);
/// A logarithm has no 0.
const FLOOR: f64 = 1.0;

/// Where to, by its ending how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Picture {
    Png(PathBuf),
    Svg(PathBuf),
}

pub(super) fn parse_picture(text: &str) -> Result<Picture, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("png") => Ok(Picture::Png(path)),
        Some("svg") => Ok(Picture::Svg(path)),
        _ => Err(format!("{text:?} ends neither with .png nor with .svg")),
    }
}

/// Points of a curve: seconds and a value.
type Curve = Vec<(f64, f64)>;

struct Line {
    name: &'static str,
    color: RGBColor,
    points: Curve,
}

/// # Errors
/// [`Failure`] when the file can't be written.
pub(super) fn draw(picture: &Picture, samples: &[Sample], warm_up: Duration) -> Result<(), Failure> {
    match picture {
        Picture::Png(path) => panels(path, &BitMapBackend::new(path, SIZE).into_drawing_area(), samples, warm_up),
        Picture::Svg(path) => panels(path, &SVGBackend::new(path, SIZE).into_drawing_area(), samples, warm_up),
    }
}

fn panels<B: DrawingBackend<ErrorType: 'static>>(
    path: &Path,
    area: &DrawingArea<B, Shift>,
    samples: &[Sample],
    warm_up: Duration,
) -> Result<(), Failure> {
    let failed = |problem: &dyn Display| Failure::file("plot", path, format!("can't be drawn: {problem}"));
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| failed(&"the font is broken"))?;
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let (upper, lower) = area.split_vertically(SIZE.1 / 2);
    // Shorter ones at the end would show rates of chance.
    let longest = samples.iter().map(|sample| sample.span).max().unwrap_or_default();
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.span * 2 > longest).collect();
    let end = samples.last().map_or(1.0, |sample| sample.at.as_secs_f64());
    let warm_up = warm_up.as_secs_f64();
    let curve = |value: fn(&Sample) -> u64| samples.iter().map(|sample| point(sample, value(sample))).collect();
    let mut rates = vec![
        Line { name: "done", color: BLUE, points: curve(|sample| sample.per_second(sample.counts.done)) },
        Line { name: "denied", color: ORANGE, points: curve(|sample| sample.per_second(sample.counts.denied)) },
        Line { name: "errors", color: RED, points: curve(|sample| sample.per_second(sample.counts.failed)) },
    ];
    // A line at 0 would hide the others' foot.
    rates.retain(|line| line.name == "done" || line.points.iter().any(|(_, value)| *value > 0.0));
    let answered = |value: fn(&Sample) -> u64| {
        samples
            .iter()
            .filter(|sample| sample.counts.done > 0)
            .map(|sample| point(sample, value(sample).max(1)))
            .collect()
    };
    let latencies = [
        Line { name: "p50", color: BLUE, points: answered(|sample| sample.p50) },
        Line { name: "p99", color: ORANGE, points: answered(|sample| sample.p99) },
        Line { name: "max", color: RED, points: answered(|sample| sample.max) },
    ];
    let title = "Operations per second";
    let panel = Panel { title, lines: &rates, end, warm_up, label: |rate| thousands(rate) };
    panel.draw(&upper, 0.0..top(&rates)).map_err(|error| failed(&error))?;
    let panel = Panel { title: "Latency (logarithmic)", lines: &latencies, label: latency, ..panel };
    panel.draw(&lower, (decade_below(&latencies)..top(&latencies)).log_scale()).map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}

fn point(sample: &Sample, value: u64) -> (f64, f64) {
    #[allow(clippy::cast_precision_loss, reason = "a pixel is far coarser")]
    let value = value as f64;
    (sample.at.as_secs_f64(), value)
}

/// The largest value, and a little room above.
fn top(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(1.0, f64::max) * 1.1
}

/// The power of ten below the smallest value.
fn decade_below(lines: &[Line]) -> f64 {
    let least = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    if least.is_finite() { 10_f64.powf(least.log10().floor()).max(FLOOR) } else { FLOOR }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "labels show what was a u64 before")]
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

/// What the two panels have in common, and where they differ.
struct Panel<'a> {
    title: &'a str,
    lines: &'a [Line],
    /// Seconds.
    end: f64,
    warm_up: f64,
    label: fn(u64) -> String,
}

impl Panel<'_> {
    fn draw<B, R>(&self, area: &DrawingArea<B, Shift>, values: R) -> Result<(), Box<dyn Error>>
    where
        B: DrawingBackend<ErrorType: 'static>,
        R: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, (FONT, 22).into_font())
            .margin(14)
            .margin_right(30)
            .x_label_area_size(34)
            .y_label_area_size(96)
            .build_cartesian_2d(0.0..self.end, values)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .label_style((FONT, 15).into_font())
            .x_label_formatter(&|seconds| format!("{seconds} s"))
            .y_label_formatter(&|value| (self.label)(whole(*value)))
            .draw()?;
        // Left of it is the warm-up.
        chart.draw_series(LineSeries::new([(self.warm_up, FLOOR), (self.warm_up, top(self.lines))], GREY))?;
        for Line { name, color, points } in self.lines {
            let style = color.stroke_width(2);
            let series = chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font((FONT, 15).into_font())
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::record::Counts, *};

    fn samples() -> Vec<Sample> {
        let sample = |n: u64| Sample {
            at: Duration::from_millis(100 * n),
            span: Duration::from_millis(100),
            counts: Counts { done: if n == 5 { 0 } else { 1000 + 10 * n }, denied: n, failed: 0 },
            p50: 40 + n,
            p99: 400 + n,
            max: 9000,
        };
        (1..40).map(sample).collect()
    }

    #[test]
    fn the_ending_says_how_to_draw() {
        assert_eq!(parse_picture("a/b.PNG"), Ok(Picture::Png("a/b.PNG".into())));
        assert_eq!(parse_picture("b.svg"), Ok(Picture::Svg("b.svg".into())));
        for bad in ["b", "b.jpg", ""] {
            assert!(parse_picture(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_picture_has_its_curves_and_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.svg");
        draw(&Picture::Svg(path.clone()), &samples(), Duration::from_secs(1)).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        for text in ["Operations per second", "Latency", "p99", "denied"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.matches("<polyline").count() >= 6, "a line for each curve");
        let path = folder.path().join("run.png");
        draw(&Picture::Png(path.clone()), &samples(), Duration::from_secs(1)).unwrap();
        let png = fs::read(&path).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{} bytes", png.len());
    }

    #[test]
    fn a_run_without_any_answer_is_drawn_too() {
        let folder = tempfile::tempdir().unwrap();
        draw(&Picture::Png(folder.path().join("run.png")), &[], Duration::ZERO).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for picture in [Picture::Png(folder.path().join("no/run.png")), Picture::Svg(folder.path().join("no/run.svg"))]
        {
            let error = draw(&picture, &samples(), Duration::ZERO).unwrap_err().to_string();
            assert!(error.contains("no/run."), "{error}");
        }
    }
}
