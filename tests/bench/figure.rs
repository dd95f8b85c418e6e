//! One measured quantity with its samples and its budget.

use serde_json::json;

pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    /// As ARCHITECTURE §5 or the issue states it.
    pub budget: &'static str,
    samples: Vec<f64>,
}

impl Figure {
    pub fn new(
        name: &'static str,
        unit: &'static str,
        budget: &'static str,
        mut samples: Vec<f64>,
    ) -> Figure {
        samples.sort_by(f64::total_cmp);
        Figure {
            name,
            unit,
            budget,
            samples,
        }
    }

    /// The smallest sample that at least `percent` of all do not exceed.
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.samples.len() * percent).div_ceil(100).max(1);
        self.samples.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    pub fn line(&self) -> String {
        format!(
            "{:<46} p50 {:>10.2}  p99 {:>10.2}  min {:>10.2} {:<8} n={:<6} budget {}",
            self.name,
            self.percentile(50),
            self.percentile(99),
            self.percentile(0),
            self.unit,
            self.samples.len(),
            self.budget
        )
    }
}

pub fn report(machine: &str, figures: &[Figure]) -> String {
    let figures = figures.iter().map(|figure| {
        json!({
            "name": figure.name, "unit": figure.unit, "budget": figure.budget, "samples": figure.samples.len(),
            "p50": figure.percentile(50), "p99": figure.percentile(99), "min": figure.percentile(0),
        })
    });
    let document = json!({ "machine": machine, "figures": figures.collect::<Vec<_>>() });
    serde_json::to_string_pretty(&document).unwrap()
}
