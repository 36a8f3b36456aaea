//! Plots as SVG: lines with points, axes with units, logarithmic where values span decades.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::FontFamily;

/// Size of a plot, pixels.
const SIZE: (u32, u32) = (900, 540);
/// One colour per thing measured; told apart with any kind of colour vision (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What and in which unit.
    pub(crate) label: String,
    /// Logarithmic; values must be above zero, others are left out.
    pub(crate) log: bool,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// For the legend.
    pub(crate) name: String,
    /// Place in the table of colours: lines of one thing have one colour.
    pub(crate) colour: usize,
    /// Dashed instead of solid.
    pub(crate) dashed: bool,
    /// Points in order of x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Above everything.
    pub(crate) title: String,
    /// Horizontal.
    pub(crate) x: Axis,
    /// Vertical.
    pub(crate) y: Axis,
    /// In the order of the legend.
    pub(crate) lines: Vec<Line>,
}

impl Plot {
    /// The plot as SVG text.
    ///
    /// # Errors
    /// When there is nothing to draw, or the drawing fails.
    pub(crate) fn svg(&self) -> Result<String> {
        let points: Vec<(f64, f64)> = self.lines.iter().flat_map(|line| self.points(line)).collect();
        let x = span(points.iter().map(|point| point.0), self.x.log, 0);
        let y = span(points.iter().map(|point| point.1), self.y.log, self.lines.len());
        let (x, y) = x.zip(y).ok_or_else(|| anyhow!("nothing to draw in {:?}", self.title))?;
        let mut text = String::new();
        let linear = |(low, high): (f64, f64)| low..high;
        let drawn = match (self.x.log, self.y.log) {
            (false, false) => self.draw::<_, _>(&mut text, linear(x), linear(y)),
            (true, false) => self.draw(&mut text, linear(x).log_scale(), linear(y)),
            (false, true) => self.draw(&mut text, linear(x), linear(y).log_scale()),
            (true, true) => self.draw(&mut text, linear(x).log_scale(), linear(y).log_scale()),
        };
        drawn.map_err(|error| anyhow!("cannot draw {:?}: {error}", self.title))?;
        Ok(text)
    }

    fn points(&self, line: &Line) -> impl Iterator<Item = (f64, f64)> {
        let (x_log, y_log) = (self.x.log, self.y.log);
        let fits =
            move |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!x_log || *x > 0.0) && (!y_log || *y > 0.0);
        line.points.clone().into_iter().filter(fits)
    }

    fn draw<X, Y>(&self, text: &mut String, x: X, y: Y) -> std::result::Result<(), Box<dyn std::error::Error>>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let font = |size: u32| (FontFamily::SansSerif, size).into_font();
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, font(20))
            .margin(14)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .axis_desc_style(font(16))
            .label_style(font(14))
            .x_label_formatter(&|value| label(*value, self.x.log))
            .y_label_formatter(&|value| label(*value, self.y.log))
            .max_light_lines(1)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        for line in &self.lines {
            let colour = COLOURS[line.colour % COLOURS.len()];
            let points: Vec<(f64, f64)> = self.points(line).collect();
            let few = points.len() <= 60;
            let style = colour.stroke_width(2);
            let drawn = if line.dashed {
                chart.draw_series(DashedLineSeries::new(points.clone(), 6, 5, style))?
            } else {
                chart.draw_series(LineSeries::new(points.clone(), style))?
            };
            let dashed = line.dashed;
            drawn.label(&line.name).legend(move |(x, y)| {
                // A dashed line of the legend is a shorter one.
                PathElement::new(vec![(x, y), (x + if dashed { 9 } else { 20 }, y)], style)
            });
            if few {
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font(font(14))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

// Linear axes are plain ranges; named so that the where clauses above have one meaning.
const _: fn(std::ops::Range<f64>) -> RangedCoordf64 = |range| range.into();

/// From where to where an axis goes: linear ones from zero, with room above for a legend of so many lines.
fn span(values: impl Iterator<Item = f64>, log: bool, lines: usize) -> Option<(f64, f64)> {
    let range = values.fold(None, |range: Option<(f64, f64)>, value| {
        Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    });
    let (low, high) = range?;
    let lines = lines as f64;
    if log {
        // A line of the legend takes about a 25th of the height, whatever the decades.
        return Some((low / 1.3, high * 1.3 * (high / low).max(10.0).powf(lines / 20.0)));
    }
    Some((0.0, if high > 0.0 { high * (1.0 + 0.07 * (lines + 1.0)) } else { 1.0 }))
}

/// The label of a mark; on a logarithmic axis 6 to 9 have none, they stand too close.
fn label(value: f64, log: bool) -> String {
    let digit = value / 10f64.powf((value.abs().max(f64::MIN_POSITIVE) * (1.0 + 1e-9)).log10().floor());
    if log && digit > 5.5 && digit < 9.9 { String::new() } else { short(value) }
}

/// A number for an axis, without digits that say nothing.
fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 10_000.0 && value % 1_000.0 == 0.0 {
        return format!("{}k", value / 1_000.0);
    }
    let text = match size {
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(log: bool, points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: "CPU".into(),
            x: Axis { label: "calls per second".into(), log },
            y: Axis { label: "CPU per call, ms".into(), log },
            lines: vec![
                Line { name: "tandem".into(), colour: 0, dashed: false, points: points.clone() },
                Line { name: "Kamailio & co".into(), colour: 1, dashed: true, points },
            ],
        }
    }

    #[test]
    fn a_plot_has_its_labels_and_its_legend_as_text() {
        for log in [false, true] {
            let svg = plot(log, vec![(100.0, 0.7), (1_000.0, 0.5), (5_000.0, 0.4)]).svg().unwrap();
            for word in
                ["<svg", "calls per second", "CPU per call, ms", "tandem", "Kamailio &amp; co", "polyline", "circle"]
            {
                assert!(svg.contains(word), "{word} in {svg}");
            }
        }
    }

    #[test]
    fn what_a_logarithm_cannot_show_is_left_out() {
        assert!(plot(true, vec![(0.0, 1.0), (f64::NAN, 2.0)]).svg().is_err());
        assert!(plot(true, vec![(0.0, 1.0), (10.0, 2.0)]).svg().is_ok());
        assert!(plot(false, vec![]).svg().is_err());
    }

    #[test]
    fn numbers_of_axes_are_short() {
        for (value, text) in [(0.0, "0"), (0.25, "0.25"), (1.5, "1.5"), (10.0, "10"), (300.0, "300"), (12_000.0, "12k")]
        {
            assert_eq!(short(value), text);
        }
        for (value, text) in [(600.0, ""), (900.0, ""), (1_000.0, "1000"), (500.0, "500"), (0.2, "0.2"), (0.007, "")] {
            assert_eq!(label(value, true), text, "{value}");
        }
        assert_eq!(label(600.0, false), "600");
    }

    #[test]
    fn linear_axes_begin_at_zero() {
        assert_eq!(span([2.0, 4.0].into_iter(), false, 1), Some((0.0, 4.0 * (1.0 + 0.07 * 2.0))));
        assert_eq!(span([0.0].into_iter(), false, 2), Some((0.0, 1.0)));
        assert_eq!(span(std::iter::empty(), true, 0), None);
        let (low, high) = span([1.0, 100.0].into_iter(), true, 8).unwrap();
        assert!(low < 1.0 && high > 200.0 && high < 2_000.0, "{low} {high}");
    }
}
