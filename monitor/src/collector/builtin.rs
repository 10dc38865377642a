//! Collectors in Rust: the trait, and the one that comes with kevmon. docs/collectors.md shows how to add another.

use std::{fs, path::Path};

use super::format::{Raw, RawValue};
use crate::plugin::collector::MetricKind;

/// Reads something of the host. It runs on a thread of its own, within its collector's timeout; one that does not return is
/// never started again while it hangs.
pub(super) trait Collector: Send {
    /// The values of now.
    ///
    /// # Errors
    /// "What is wrong; what to do".
    fn collect(&mut self, proc: &Path) -> Result<Vec<RawValue>, String>;
}

/// The collector of this name; `None` where there is none.
pub(super) fn named(name: &str) -> Option<Box<dyn Collector>> {
    match name {
        "host_pressure" => Some(Box::new(HostPressure)),
        _ => None,
    }
}

/// Pressure stall information (Documentation/accounting/psi.rst): for each resource the share of time in which some, or all,
/// tasks waited for it over the last ten seconds, and the whole time, seconds.
struct HostPressure;

impl Collector for HostPressure {
    fn collect(&mut self, proc: &Path) -> Result<Vec<RawValue>, String> {
        let mut values = Vec::new();
        for resource in ["cpu", "memory", "io"] {
            let path = proc.join("pressure").join(resource);
            let text = fs::read_to_string(&path).map_err(|error| {
                format!(
                    "{}: {error}; the kernel needs CONFIG_PSI, and psi=1 where it is off by default",
                    path.display()
                )
            })?;
            values.extend(text.lines().flat_map(|line| pressure(resource, line)));
        }
        Ok(values)
    }
}

/// `some avg10=0.12 avg60=… avg300=… total=345`.
fn pressure(resource: &str, line: &str) -> Vec<RawValue> {
    let mut words = line.split_whitespace();
    let Some(who) = words.next() else {
        return Vec::new();
    };
    let attributes = [("resource", resource), ("tasks", who)];
    let value = |name: &str, value: f64, kind| RawValue {
        name: name.to_owned(),
        value: Raw::Float(value),
        kind: Some(kind),
        attributes: attributes
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        time: None,
        group: None,
    };
    words
        .filter_map(|word| {
            let (key, number) = word.split_once('=')?;
            let number: f64 = number.parse().ok()?;
            match key {
                "avg10" => Some(value("host.pressure.share", number / 100.0, MetricKind::Gauge)),
                "total" => Some(value("host.pressure.time", number / 1e6, MetricKind::Counter)),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_of_a_line() {
        let values = pressure("io", "full avg10=12.50 avg60=0.00 avg300=0.00 total=1500000");
        let told: Vec<_> = values
            .iter()
            .map(|of| (of.name.as_str(), of.value.clone()))
            .collect();
        assert_eq!(
            told,
            [
                ("host.pressure.share", Raw::Float(0.125)),
                ("host.pressure.time", Raw::Float(1.5))
            ]
        );
        assert_eq!(values[0].attributes[1], ("tasks".to_owned(), "full".to_owned()));
        assert!(pressure("io", "").is_empty());
    }

    #[test]
    fn names_of_the_schema_are_those_that_exist() {
        assert!(named("host_pressure").is_some() && named("other").is_none());
    }
}
