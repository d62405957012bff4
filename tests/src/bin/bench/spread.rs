//! What rounds came to: units, and the order statistics that a table shows.

use serde_json::{Value, json};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Seconds,
    PacketsPerSecond,
    /// Of a CPU: the processor's own, or its time stamp counter's.
    Cycles,
    GigabitsPerSecond,
    /// Of one core.
    Percent,
    Mebibytes,
    Times,
}

impl Unit {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Seconds => "s",
            Self::PacketsPerSecond => "packets/s",
            Self::Cycles => "cycles",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::Percent => "% of a core",
            Self::Mebibytes => "MiB",
            Self::Times => "×",
        }
    }

    /// With as many digits as are worth reading.
    pub fn number(self, value: f64) -> String {
        match self {
            Self::PacketsPerSecond if value.abs() >= 1e5 => format!("{:.3} M", value / 1e6),
            Self::Seconds | Self::Times if value.abs() < 9.95 => format!("{value:.3}"),
            Self::Percent if value.abs() < 0.95 => format!("{value:.2}"),
            Self::Nanoseconds | Self::Microseconds | Self::Percent | Self::GigabitsPerSecond if value.abs() < 99.95 => {
                format!("{value:.1}")
            }
            Self::Mebibytes | Self::Seconds | Self::Times => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }

    /// With its name.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Times => format!("{}×", self.number(value)),
            Self::PacketsPerSecond => format!("{}/s", self.number(value)),
            _ => format!("{} {}", self.number(value), self.name()),
        }
    }
}

/// Median, quartiles and range of what the rounds gave.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The least.
    pub low: f64,
    /// A quarter of the rounds gave less: what is left of a figure where the machine's clock was slow in the others.
    pub lower: f64,
    /// What goals are held against.
    pub median: f64,
    /// A quarter of the rounds gave more.
    pub upper: f64,
    /// The greatest.
    pub high: f64,
    rounds: usize,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part| quantile(&sorted, part);
        Self { low: at(0.0), lower: at(0.25), median: at(0.5), upper: at(0.75), high: at(1.0), rounds: sorted.len() }
    }

    /// Of one value for each round of two, round by round.
    pub fn pairs(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> Self {
        let values: Vec<f64> = a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect();
        Self::of(&values)
    }

    /// `a - b` in each round.
    pub fn difference(a: &[f64], b: &[f64]) -> Self {
        Self::pairs(a, b, |a, b| a - b)
    }

    /// `a / b` in each round.
    pub fn ratio(a: &[f64], b: &[f64]) -> Self {
        Self::pairs(a, b, |a, b| a / b)
    }

    /// For people: the median and both quartiles.
    pub fn show(&self, unit: Unit) -> String {
        let median = unit.show(self.median);
        if self.rounds < 2 {
            return median;
        }
        format!("{median} ({} to {})", unit.number(self.lower), unit.number(self.upper))
    }

    /// For programs: the range, too.
    pub fn json(&self) -> Value {
        json!({
            "median": self.median,
            "lower_quartile": self.lower,
            "upper_quartile": self.upper,
            "low": self.low,
            "high": self.high,
            "rounds": self.rounds,
        })
    }
}

/// Between the two values next to `part` of the way through, by how near it is to each.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = sorted.len().saturating_sub(1) as f64 * part;
    match sorted.get(place as usize..) {
        Some([below, above, ..]) => below + (above - below) * place.fract(),
        Some([last]) => *last,
        _ => f64::NAN,
    }
}

/// `65,536 flows`.
pub fn count(number: u64, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    if number < 1000 {
        format!("{number} {of}{plural}")
    } else {
        format!("{},{:03} {of}{plural}", number / 1000, number % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, Unit, count};

    #[test]
    fn counts_are_written_as_people_do() {
        let flows = [1, 8, 1024, 65_536].map(|number| count(number, "flow"));
        assert_eq!(flows, ["1 flow", "8 flows", "1,024 flows", "65,536 flows"]);
    }

    #[test]
    fn quartiles_lie_between_the_rounds_next_to_them() {
        let all = |values: &[f64]| {
            let Spread { low, lower, median, upper, high, .. } = Spread::of(values);
            (low, lower, median, upper, high)
        };
        assert_eq!(all(&[5.0, 1.0, 3.0, 2.0, 4.0]), (1.0, 2.0, 3.0, 4.0, 5.0));
        assert_eq!(all(&[4.0, 1.0, 2.0, 3.0]), (1.0, 1.75, 2.5, 3.25, 4.0));
        assert_eq!(Spread::of(&[7.0]).show(Unit::Seconds), "7.000 s");
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_and_differences_are_taken_round_by_round() {
        let spread = Spread::ratio(&[10.0, 30.0, 20.0], &[10.0, 60.0, 10.0]);
        assert_eq!((spread.low, spread.median, spread.high), (0.5, 1.0, 2.0));
        // A phase in which everything is slow raises both, and hardly what lies between them.
        let spread = Spread::difference(&[50.0, 90.0, 50.0], &[20.0, 58.0, 20.0]);
        assert_eq!((spread.low, spread.median, spread.high), (30.0, 30.0, 32.0));
    }

    #[test]
    fn a_figure_shows_its_median_and_both_quartiles() {
        let spread = Spread::of(&[40.0, 44.0, 48.0, 60.0, 400.0]);
        assert_eq!(spread.show(Unit::Nanoseconds), "48.0 ns (44.0 to 60.0)");
        assert_eq!(spread.json()["lower_quartile"], 44.0);
    }
}
