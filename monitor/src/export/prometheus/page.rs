//! OTLP metrics as a page of Prometheus's text format (0.0.4), or of OpenMetrics 1.0. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Write},
};

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, DataPointFlags, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

use super::naming::{Kind, family_name, labels, shown_unit, write_label};

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus's own, 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What one scrape gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Page {
    pub(super) text: String,
    /// Metrics that are missing because another one of that name has another type.
    pub(super) conflicting: BTreeSet<String>,
}

/// Everything of one name, of whichever service.
struct Family {
    kind: Kind,
    unit: Option<String>,
    help: String,
    /// Its samples, written: those that are no plain numbers.
    samples: String,
    /// Its plain numbers, each series once.
    numbers: Numbers,
}

/// A series with its latest number.
struct Series {
    labels: String,
    /// Unix ns.
    time: u64,
    /// When its sum began, Unix ns; 0 where that is not known.
    start: u64,
    value: String,
}

/// The latest number of each series. A collection may hold several of one, at several times; a page has room for one.
#[derive(Default)]
struct Numbers {
    /// In the order in which they came.
    series: Vec<Series>,
    /// Where a series is, by its labels.
    places: HashMap<String, usize>,
}

impl Numbers {
    fn add(&mut self, labels: String, point: &NumberDataPoint, value: String) {
        let series = Series {
            labels,
            time: point.time_unix_nano,
            start: point.start_time_unix_nano,
            value,
        };
        match self.places.get(&series.labels) {
            Some(&place) => {
                if let Some(known) = self
                    .series
                    .get_mut(place)
                    .filter(|known| known.time <= series.time)
                {
                    *known = series;
                }
            }
            None => {
                self.places.insert(series.labels.clone(), self.series.len());
                self.series.push(series);
            }
        }
    }
}

/// Renders what was measured last. Sums that are not cumulative are left out, as is what Prometheus has no type for.
/// `created`: in OpenMetrics, each sum and histogram has a sample that tells when it began.
pub(super) fn page(resources: &[ResourceMetrics], format: Format, created: bool) -> Page {
    let created = created && format == Format::OpenMetrics;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut conflicting = BTreeSet::new();
    let mut targets = BTreeSet::new();
    for of_resource in resources {
        let target = Target::new(of_resource.resource.as_ref());
        if targets.insert(target.identity.clone()) {
            let family = families.entry("target".to_owned()).or_insert_with(|| Family {
                kind: Kind::Info,
                unit: None,
                help: "Attributes of the service, by job and instance".to_owned(),
                samples: String::new(),
                numbers: Numbers::default(),
            });
            write_sample(&mut family.samples, ("target", "_info"), &target.info(), "1");
        }
        for of_scope in &of_resource.scope_metrics {
            let common = target.common(of_scope.scope.as_ref(), &of_scope.schema_url);
            for metric in &of_scope.metrics {
                if let Err(name) = add(&mut families, metric, &common, (format, created)) {
                    conflicting.insert(name);
                }
            }
        }
    }
    let mut text = String::new();
    for (name, family) in &families {
        // Writing to a String does not fail.
        let _: fmt::Result = write_family(&mut text, name, family, (format, created));
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    Page { text, conflicting }
}

/// Whose series they are.
struct Target {
    /// `job` and `instance`, written.
    identity: String,
    /// The other attributes.
    others: BTreeMap<String, String>,
}

impl Target {
    fn new(resource: Option<&Resource>) -> Self {
        let attributes: &[KeyValue] = resource.map_or(&[], |resource| &resource.attributes);
        let text = |key: &str| {
            let of_key = attributes.iter().find(|attribute| attribute.key == key)?;
            match of_key.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) => Some(text.as_str()),
                _ => None,
            }
        };
        let name = text("service.name").unwrap_or_default();
        let job = match text("service.namespace") {
            None | Some("") => name.to_owned(),
            Some(namespace) => format!("{namespace}/{name}"),
        };
        let mut identity = String::new();
        write_label(&mut identity, "job", &job);
        write_label(
            &mut identity,
            "instance",
            text("service.instance.id").unwrap_or_default(),
        );
        let is_other = |attribute: &&KeyValue| {
            !["service.name", "service.namespace", "service.instance.id"].contains(&attribute.key.as_str())
        };
        Self {
            identity,
            others: labels(attributes.iter().filter(is_other)),
        }
    }

    fn info(&self) -> String {
        let mut written = self.identity.clone();
        self.others
            .iter()
            .for_each(|(name, value)| write_label(&mut written, name, value));
        written
    }

    /// The labels that all points of a scope have, written.
    fn common(&self, scope: Option<&InstrumentationScope>, schema_url: &str) -> String {
        let mut written = self.identity.clone();
        if let Some(scope) = scope {
            write_label(&mut written, "otel_scope_name", &scope.name);
            if !scope.version.is_empty() {
                write_label(&mut written, "otel_scope_version", &scope.version);
            }
        }
        if !schema_url.is_empty() {
            write_label(&mut written, "otel_scope_schema_url", schema_url);
        }
        written
    }
}

/// Adds a metric's points to its family; the error is the name of a family that has another type.
fn add(
    families: &mut BTreeMap<String, Family>,
    metric: &Metric,
    common: &str,
    (format, created): (Format, bool),
) -> Result<(), String> {
    let cumulative = i32::from(AggregationTemporality::Cumulative);
    let kind = match &metric.data {
        Some(Data::Gauge(_)) => Kind::Gauge,
        Some(Data::Sum(sum)) if sum.aggregation_temporality == cumulative => {
            if sum.is_monotonic {
                Kind::Counter
            } else {
                Kind::UpDownCounter
            }
        }
        Some(Data::Histogram(histogram)) if histogram.aggregation_temporality == cumulative => {
            Kind::Histogram
        }
        _ => return Ok(()),
    };
    let name = family_name(&metric.name, &metric.unit, kind);
    let family = families.entry(name.clone()).or_insert_with(|| Family {
        kind,
        unit: shown_unit(&name, &metric.unit, kind),
        help: metric.description.clone(),
        samples: String::new(),
        numbers: Numbers::default(),
    });
    if family.kind.type_name() != kind.type_name() {
        return Err(name);
    }
    match &metric.data {
        Some(Data::Gauge(gauge)) => numbers(&mut family.numbers, &gauge.data_points, common),
        Some(Data::Sum(sum)) => numbers(&mut family.numbers, &sum.data_points, common),
        Some(Data::Histogram(histogram)) => histogram
            .data_points
            .iter()
            .filter(|point| is_recorded(point.flags))
            .for_each(|point| {
                buckets(&mut family.samples, &name, point, common, format);
                if let Some(began) = began(point.start_time_unix_nano).filter(|_| created) {
                    let labels = with(common, &point.attributes);
                    write_sample(&mut family.samples, (&name, "_created"), &labels, &began);
                }
            }),
        _ => {}
    }
    Ok(())
}

/// A point may say that its series has ended.
fn is_recorded(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 == 0
}

/// When a sum began, in seconds since 1970; `None` where that is not known.
fn began(unix_ns: u64) -> Option<String> {
    let unix_ms = unix_ns / 1_000_000;
    (unix_ns > 0).then(|| format!("{}.{:03}", unix_ms / 1_000, unix_ms % 1_000))
}

fn numbers(to: &mut Numbers, points: &[NumberDataPoint], common: &str) {
    for point in points.iter().filter(|point| is_recorded(point.flags)) {
        let value = match point.value {
            Some(number_data_point::Value::AsInt(integer)) => integer.to_string(),
            Some(number_data_point::Value::AsDouble(double)) => number(double),
            None => continue,
        };
        to.add(with(common, &point.attributes), point, value);
    }
}

fn buckets(to: &mut String, name: &str, point: &HistogramDataPoint, common: &str, format: Format) {
    let shared = with(common, &point.attributes);
    let mut so_far: u64 = 0;
    let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
    for (count, bound) in point.bucket_counts.iter().zip(bounds) {
        so_far = so_far.saturating_add(*count);
        let bound = match format {
            // A float's canonical form there has a point.
            Format::OpenMetrics if bound.is_finite() => format!("{bound:?}"),
            _ => number(bound),
        };
        let mut labels = shared.clone();
        write_label(&mut labels, "le", &bound);
        write_sample(to, (name, "_bucket"), &labels, &so_far.to_string());
    }
    if let Some(sum) = point.sum {
        write_sample(to, (name, "_sum"), &shared, &number(sum));
    }
    write_sample(to, (name, "_count"), &shared, &point.count.to_string());
}

fn with(common: &str, attributes: &[KeyValue]) -> String {
    let mut written = common.to_owned();
    labels(attributes)
        .iter()
        .for_each(|(name, value)| write_label(&mut written, name, value));
    written
}

fn write_sample(to: &mut String, (name, suffix): (&str, &str), labels: &str, value: &str) {
    // Writing to a String does not fail.
    let _: fmt::Result = writeln!(to, "{name}{suffix}{{{labels}}} {value}");
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn write_family(
    to: &mut String,
    name: &str,
    family: &Family,
    (format, created): (Format, bool),
) -> fmt::Result {
    if family.samples.is_empty() && family.numbers.series.is_empty() {
        return Ok(());
    }
    // The older format knows the names of the samples only.
    let suffix = match (format, family.kind) {
        (Format::Text, Kind::Counter) => "_total",
        (Format::Text, Kind::Info) => "_info",
        _ => "",
    };
    let kind = match (family.kind, format) {
        (Kind::Info, Format::OpenMetrics) => "info",
        (kind, _) => kind.type_name(),
    };
    let mut help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    if format == Format::OpenMetrics {
        help = help.replace('"', "\\\"");
    }
    writeln!(to, "# HELP {name}{suffix} {help}")?;
    writeln!(to, "# TYPE {name}{suffix} {kind}")?;
    if let (Format::OpenMetrics, Some(unit)) = (format, &family.unit) {
        writeln!(to, "# UNIT {name} {unit}")?;
    }
    to.push_str(&family.samples);
    let suffix = if family.kind == Kind::Counter {
        "_total"
    } else {
        ""
    };
    for series in &family.numbers.series {
        write_sample(to, (name, suffix), &series.labels, &series.value);
        if let Some(began) = began(series.start).filter(|_| created && family.kind == Kind::Counter) {
            write_sample(to, (name, "_created"), &series.labels, &began);
        }
    }
    Ok(())
}
