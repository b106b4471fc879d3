//! A figure: its name, its unit, what it should at least be, and how several runs become one value.

/// One figure.
pub struct Figure {
    /// Its name, as it is asked for.
    pub name: &'static str,
    /// The unit of its value.
    pub unit: &'static str,
    /// What is good enough.
    pub goal: Goal,
}

/// What is good enough.
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// It is only told.
    Told,
}

/// Figures that are measured together.
pub struct Group {
    /// The figures.
    pub figures: &'static [Figure],
    /// Measures them; answers a value for each, in their order.
    pub measure: fn() -> anyhow::Result<Vec<f64>>,
}

impl Figure {
    /// A figure.
    pub const fn new(name: &'static str, unit: &'static str, goal: Goal) -> Self {
        Self { name, unit, goal }
    }

    /// Prints its line; says on standard error when it is missed.
    pub fn print(&self, value: f64) {
        let Self { name, unit, goal } = self;
        let digits = match value {
            1_000.0.. => 0,
            0.1.. => 3,
            _ => 5,
        };
        println!("figure {name} {value:.digits$} {unit}");
        match goal {
            Goal::AtMost(most) if value > *most => eprintln!("{name} is missed: it should be at most {most}"),
            Goal::AtLeast(least) if value < *least => eprintln!("{name} is missed: it should be at least {least}"),
            Goal::AtMost(_) | Goal::AtLeast(_) | Goal::Told => {}
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { values[middle - 1].midpoint(values[middle]) }
}

/// The median of each column; every row has as many values as the first.
pub fn medians(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|column| median(rows.iter().map(|row| row[column]).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert_eq!(medians(&[vec![1.0, 9.0], vec![3.0, 7.0], vec![2.0, 8.0]]), vec![2.0, 8.0]);
    }
}
