//! The plots of the report.

use std::path::Path;

use anyhow::{Result, anyhow};
use jobstore_benches::results::{Figure, Results};
use plotters::prelude::*;

use crate::peers::Peers;
use crate::table::what;

const SIZE: (u32, u32) = (640, 400);
const FONT: (&str, u32) = ("sans-serif", 13);
const COLORS: [RGBColor; 4] = [
    RGBColor(30, 90, 200),
    RGBColor(210, 80, 20),
    RGBColor(20, 140, 80),
    RGBColor(130, 60, 170),
];

/// A line: its name, color, whether it is the store's, and its points.
struct Line {
    name: String,
    color: usize,
    is_store: bool,
    points: Vec<(f64, f64)>,
}

/// The file of a plot.
pub(crate) fn file(kind: &str, results: &Results) -> String {
    format!("{kind}-{}.svg", results.engine)
}

/// Jobs per second against jobs in a call.
pub(crate) fn batches(results: &Results, path: &Path) -> Result<bool> {
    let mut lines = Vec::new();
    for (color, group) in ["create", "claim", "finish"].into_iter().enumerate() {
        for (side, words) in [("store", "the store"), ("limit", "the engine")] {
            let is_meant = |figure: &&Figure| {
                figure.group == group && figure.side == side && figure.callers == 1
            };
            let figures = results.figures.iter().filter(is_meant);
            lines.push(Line {
                name: format!("{group}, {words}"),
                color,
                is_store: side == "store",
                points: figures
                    .map(|figure| (figure.batch as f64, figure.rate()))
                    .collect(),
            });
        }
    }
    let title = format!("{}: one caller", results.title);
    draw(&title, "jobs in a call", "jobs/s", lines, path)
}

/// Microseconds against rows.
pub(crate) fn rows(results: &Results, path: &Path) -> Result<bool> {
    let names = ["claim 1", "claim 100", "first page", "page in the middle"];
    let lines = names.into_iter().enumerate().map(|(color, name)| {
        let is_meant = |figure: &&Figure| figure.group == "growth" && figure.name == name;
        let figures = results.figures.iter().filter(is_meant);
        Line {
            name: name.to_owned(),
            color,
            is_store: true,
            points: figures
                .map(|figure| (figure.rows as f64, figure.p50))
                .collect(),
        }
    });
    let title = format!("{}: the median call", results.title);
    draw(&title, "other jobs", "µs", lines.collect(), path)
}

/// Lines over two logarithmic axes, if there are any; says whether there are. Those of the store are drawn full, others thin.
fn draw(title: &str, x: &str, y: &str, mut lines: Vec<Line>, path: &Path) -> Result<bool> {
    lines.retain(|line| !line.points.is_empty());
    if lines.is_empty() {
        return Ok(false);
    }
    let points = || lines.iter().flat_map(|line| &line.points);
    let xs = range(points().map(|point| point.0), 1.0);
    let ys = range(points().map(|point| point.1), 1.5);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(xs.log_scale(), ys.log_scale())
        .map_err(|error| failed(&error))?;
    let mut mesh = chart.configure_mesh();
    let short = |value: &f64| short(*value);
    mesh.x_desc(x)
        .y_desc(y)
        .label_style(FONT)
        .light_line_style(TRANSPARENT);
    mesh.x_label_formatter(&short).y_label_formatter(&short);
    mesh.draw().map_err(|error| failed(&error))?;
    for line in &lines {
        let color = COLORS[line.color];
        let style = match line.is_store {
            true => color.stroke_width(3),
            false => color.mix(0.6).stroke_width(1),
        };
        let series = LineSeries::new(line.points.iter().copied(), style).point_size(3);
        let drawn = chart.draw_series(series).map_err(|error| failed(&error))?;
        drawn
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .label_font(FONT)
        .draw()
        .map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))?;
    Ok(true)
}

fn range(values: impl Iterator<Item = f64>, margin: f64) -> std::ops::Range<f64> {
    let (least, most) = values.fold((f64::MAX, 0.0_f64), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    least / margin..(most * margin).max(least * 1.01)
}

/// 1k, 25k, 3M.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}

/// How many times as fast the store is as each peer and as the engine: a dot for each, on a
/// logarithmic axis with a line at 1.
pub(crate) fn beside(results: &Results, peers: Option<&Peers>, path: &Path) -> Result<bool> {
    let mut dots: Vec<(String, f64, RGBColor)> = Vec::new();
    for one in peers.iter().flat_map(|peers| &peers.comparisons) {
        if one.engine == results.title {
            let name = format!("{}: {} ({})", one.title, one.peer.name, one.ours.name);
            dots.push((name, one.ratio(), BLUE));
        }
    }
    for figure in results
        .figures
        .iter()
        .filter(|figure| figure.side == "store")
    {
        for (side, words) in [("limit", "the engine"), ("group", "raw group commit")] {
            let is_same = |other: &&Figure| {
                other.side == side
                    && (&other.group, &other.name, other.callers, other.batch)
                        == (&figure.group, &figure.name, figure.callers, figure.batch)
            };
            let is_meant = figure.batch == 100 || figure.callers == 64;
            if let Some(other) = results.figures.iter().find(is_same).filter(|_| is_meant) {
                let ratio = figure.rate() / other.rate();
                dots.push((format!("{}: {words}", what(figure)), ratio, RED));
            }
        }
    }
    if dots.is_empty() {
        return Ok(false);
    }
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let least = dots.iter().map(|dot| dot.1).fold(0.1, f64::min);
    let most = dots.iter().map(|dot| dot.1).fold(10.0, f64::max);
    let rows = dots.len();
    let height = 90 + 18 * u32::try_from(rows).expect("not many");
    let root = SVGBackend::new(path, (760, height)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            format!("{}: how many times as fast", results.title),
            ("sans-serif", 17),
        )
        .margin(10)
        .margin_left(330)
        .x_label_area_size(30)
        .build_cartesian_2d((least / 1.3..most * 1.3).log_scale(), 0.0..rows as f64)
        .map_err(|error| failed(&error))?;
    let mut mesh = chart.configure_mesh();
    let short = |value: &f64| short(*value);
    mesh.disable_y_mesh()
        .label_style(FONT)
        .light_line_style(TRANSPARENT);
    mesh.x_label_formatter(&short);
    mesh.draw().map_err(|error| failed(&error))?;
    let one = PathElement::new([(1.0, 0.0), (1.0, rows as f64)], BLACK.stroke_width(2));
    chart.draw_series([one]).map_err(|error| failed(&error))?;
    for (row, (name, ratio, color)) in dots.iter().enumerate() {
        let y = (rows - row) as f64 - 0.5;
        let line = PathElement::new([(1.0, y), (*ratio, y)], color.mix(0.5).stroke_width(2));
        chart.draw_series([line]).map_err(|error| failed(&error))?;
        chart
            .draw_series([Circle::new((*ratio, y), 4, color.filled())])
            .map_err(|error| failed(&error))?;
        let (_, pixel) = chart.backend_coord(&(1.0, y));
        root.draw_text(name, &FONT.into_text_style(&root), (10, pixel - 6))
            .map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))?;
    Ok(true)
}
