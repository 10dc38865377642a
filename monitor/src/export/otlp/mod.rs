//! Collections as OTLP requests (opentelemetry-proto 1.x, metrics/v1), protobuf-encoded: one service after the other,
//! so that no whole collection is held in another form beside its bytes.

mod custom;
mod open_series;
mod own;
mod points;
mod processes;
mod requests;
mod series;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    collection::{Collection, ServiceReading, UnixClock},
    resource::{self, HostIdentity, Run},
    transport::connection::EncodedRequest,
};
use crate::{
    metrics::{self, HealthReading, Instrument, Measure, OWN, TIMING_BOUNDS, Value},
    plugin::{GroupId, Naming, Plugin, SavedGroup, durations::BOUNDS},
};
use open_series::{OpenSeries, Sent};
pub use own::Rhythm;
use own::{Chosen, OwnPoints};
use points::{Described, Number, Of, Times};
pub use processes::series_text;
use requests::{Header, Requests};
use series::Series;

/// What a gRPC receiver accepts by default, bytes: a longer request is refused as a whole.
pub(super) const LONGEST_REQUEST: usize = 4 << 20;

/// What the names of kevmon's own metrics begin with that go on over its restarts.
const OUTAGES: &str = "kevmon.outage";

/// What the sums of a request cover (`OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`). Gauges and up-down counters
/// are the same in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temporality {
    /// All since their start.
    #[default]
    Cumulative,
    /// Counters and histograms: what has come since the last collection.
    Delta,
    /// Histograms alone: what has come since the last collection.
    LowMemory,
}

impl Temporality {
    fn is_delta(self, instrument: Instrument) -> bool {
        match self {
            Self::Cumulative => false,
            Self::Delta => matches!(instrument, Instrument::Counter | Instrument::Histogram),
            Self::LowMemory => instrument == Instrument::Histogram,
        }
    }
}

/// How distributions are told (`OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION`). Histograms with bounds of their
/// own stay what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistogramForm {
    /// Exponential histograms (`base2_exponential_bucket_histogram`).
    #[default]
    Exponential,
    /// Histograms with a bucket for each power of two (`explicit_bucket_histogram`).
    Explicit,
}

/// Encodes collections for one receiver. The same collection encoded again says the same; of deltas, each says what has
/// come since the collection before.
#[derive(Debug, Clone)]
pub struct MetricRequests {
    host: HostIdentity,
    run: Run,
    temporality: Temporality,
    form: HistogramForm,
    longest: usize,
    /// kevmon itself.
    own: Service,
    own_points: OwnPoints,
    services: HashMap<GroupId, Known>,
    /// How long the last collection's first request was, bytes.
    length: usize,
}

/// A service, with the plugin and the attributes from facts that its header is made of.
type Known = (Arc<Plugin>, BTreeMap<String, String>, Service);

/// What is kept of a service between two collections.
#[derive(Debug, Clone)]
struct Service {
    header: Header,
    /// In front of its metrics' names.
    prefix: String,
    series: Series,
    /// Those of single processes.
    open: OpenSeries,
}

/// A collection's two clocks, its time, and where the sums of a metric began: Unix ns.
#[derive(Clone, Copy)]
struct Moments {
    start: u64,
    now: u64,
    /// For points that are times themselves.
    wall: UnixClock,
}

impl MetricRequests {
    /// Nothing has been told yet.
    pub fn new(host: HostIdentity, run: Run, temporality: Temporality) -> Self {
        let own = Service {
            header: Header::new(&resource::of_kevmon(&host, run), ""),
            prefix: String::new(),
            series: Series::default(),
            open: OpenSeries::default(),
        };
        Self {
            host,
            run,
            temporality,
            form: HistogramForm::Exponential,
            longest: LONGEST_REQUEST,
            own,
            own_points: OwnPoints::default(),
            services: HashMap::new(),
            length: 0,
        }
    }

    /// How distributions are told: exponential, unless this says otherwise.
    #[must_use]
    pub fn with_histograms(mut self, form: HistogramForm) -> Self {
        self.form = form;
        self
    }

    /// For receivers that get one collection after the other: of kevmon's own metrics they get by this rhythm what is not
    /// nothing. Without one, every request has all of them but telemetry.
    pub fn set_rhythm(&mut self, rhythm: Rhythm) {
        self.own_points.set_rhythm(rhythm);
    }

    /// Whether telemetry goes with a collection of `time`, Unix ns.
    pub fn is_telemetry_due(&self, time: u64, is_final: bool) -> bool {
        self.own_points.is_telemetry_due(time, is_final)
    }

    /// An earlier run's last collection was of `time`, Unix ns. To be called before the first collection.
    pub fn sent_until(&mut self, time: u64) {
        self.own_points.last_before(time);
    }

    /// Another host name or id: resources say so from now on, and series go on.
    pub fn set_host(&mut self, host: &HostIdentity) {
        self.host = host.clone();
        self.own.header = Header::new(&resource::of_kevmon(host, self.run), "");
        let run = self.run;
        for (plugin, more, service) in self.services.values_mut() {
            service.header = header(plugin, more, host, run);
        }
    }

    /// An earlier run has told what it kept of a plugin's group, at `time` (Unix ns, its last commit): deltas go on from
    /// there, and so do the series of single processes, or end. `same_boot`: its members' keys mean the same processes still.
    /// To be called before the first collection.
    pub fn told_before(
        &mut self,
        (group, plugin): (GroupId, &Arc<Plugin>),
        kept: &SavedGroup,
        same_boot: bool,
        time: u64,
    ) {
        let with_series = kept.members.iter().filter(|member| member.series.is_some());
        if with_series.clone().next().is_some() {
            let service = self.service(group, plugin, &BTreeMap::new());
            let members = with_series.filter_map(|member| Some((member.key, member.series.as_deref()?)));
            let sent = processes::sent_before(plugin, &service.prefix, members, time);
            service.open.sent(Sent::default(), sent);
        }
        if self.temporality == Temporality::Cumulative {
            return;
        }
        let temporality = self.temporality;
        let reading = kept.reading(plugin.aggregate);
        let series = &mut self.service(group, plugin, &BTreeMap::new()).series;
        for listed in metrics::metrics(plugin.naming).filter(|listed| temporality.is_delta(listed.instrument))
        {
            for value in (listed.values)(&reading) {
                // Of a series that has been told, the start does not matter.
                series.point(listed.name, &value, time, time);
            }
        }
        if temporality == Temporality::Delta && plugin.per_process.is_some() && same_boot {
            for member in kept
                .members
                .iter()
                .filter(|member| !member.former && !member.ended)
            {
                series.process(member.key, &member.totals, time, time);
            }
        }
    }

    /// The same of the times that kevmon was away, which are counted over all runs.
    pub fn outages_told_before(&mut self, outages: u64, outage_ns: u64, time: u64) {
        let told = HealthReading {
            outages,
            outage_ns,
            ..HealthReading::default()
        };
        for own in OWN.iter().filter(|own| own.name.starts_with(OUTAGES)) {
            for value in (own.values)(&told) {
                self.own_points.sent_before(own, &value);
                if self.temporality == Temporality::Delta {
                    self.own.series.point(own.name, &value, time, time);
                }
            }
        }
    }

    /// kevmon's own metrics, in the first request, and those of the services that are `wanted`; of others that were so before,
    /// the ends of their processes' series. Each request is shorter than 4 MiB; where they are several, a service is in one
    /// of them if it fits. By a rhythm, there is none where no service has anything to send and no telemetry is due.
    pub fn encode(
        &mut self,
        collection: &Collection,
        wanted: impl Fn(&ServiceReading) -> bool,
    ) -> Vec<EncodedRequest> {
        // A little more than last time, so that growing does not copy it all once more.
        let capacity = (self.length + self.length / 16).min(self.longest);
        let mut requests = Requests::new(collection.time, self.longest, capacity);
        let has_services = collection
            .services
            .iter()
            .any(|service| wanted(service) || self.has_open_series(service.group));
        self.encode_own(collection, has_services, &mut requests);
        for service in &collection.services {
            if wanted(service) {
                self.encode_service(collection, service, &mut requests);
            } else if self.has_open_series(service.group) {
                self.encode_ends(collection, service, &mut requests);
            }
        }
        let encoded = requests.finish();
        self.length = encoded.first().map_or(0, |first| first.body.len());
        encoded
    }

    fn encode_own(&mut self, collection: &Collection, has_services: bool, requests: &mut Requests) {
        let Collection { time, is_final, .. } = *collection;
        if !has_services && !self.own_points.is_alone(time, is_final) {
            return;
        }
        requests.begin(&self.own.header);
        let (temporality, health) = (self.temporality, &collection.health);
        let metrics = self.own_points.metrics((time, is_final), has_services);
        let chosen: Vec<_> = metrics
            .map(|(own, share)| (own, self.own_points.choose(own, share, (own.values)(health))))
            .collect();
        let run = collection.clock.unix(health.started);
        let zero = self.own_points.were_zero(run, time);
        // The older points first: a request that is cut is cut between times then.
        for is_zero in [true, false] {
            for (own, Chosen { values, zeros }) in &chosen {
                let values = if is_zero { zeros } else { values };
                if is_zero && temporality.is_delta(own.instrument) {
                    continue;
                }
                let start = collection.clock.unix(health.start(own.since));
                let mut moments = Moments::new(start, collection);
                match zero {
                    Some(zero) if is_zero => moments.now = zero,
                    None if is_zero => continue,
                    _ => {}
                }
                let described = Described {
                    prefix: "",
                    name: own.name,
                    unit: own.unit,
                    description: own.description,
                    instrument: own.instrument,
                    exponential: false,
                };
                let series = &mut self.own.series;
                requests.metric(|buffer| metric(buffer, described, temporality, values, moments, series));
            }
        }
        self.own_points.made(time);
    }

    fn encode_service(&mut self, collection: &Collection, of: &ServiceReading, requests: &mut Requests) {
        let temporality = self.temporality;
        let exponential = self.form == HistogramForm::Exponential;
        let service = self.service(of.group, &of.plugin, &of.extra.attributes);
        requests.begin(&service.header);
        for listed in metrics::of_plugin(&of.plugin) {
            let values = (listed.values)(&of.reading);
            let is_spread =
                matches!(values.first(), Some(value) if matches!(value.measure, Measure::Spread(_)));
            let described = Described {
                prefix: &service.prefix,
                name: listed.name,
                unit: listed.unit,
                description: listed.description,
                instrument: listed.instrument,
                exponential: exponential && is_spread,
            };
            let moments = Moments::new(collection.clock.unix(of.start(listed.since)), collection);
            let series = &mut service.series;
            requests.metric(|buffer| metric(buffer, described, temporality, &values, moments, series));
        }
        processes::encode(requests, temporality, collection, of, service.processes(), true);
        custom::encode(requests, &service.prefix, of);
    }

    /// What was sent here before goes elsewhere now.
    fn encode_ends(&mut self, collection: &Collection, of: &ServiceReading, requests: &mut Requests) {
        let temporality = self.temporality;
        let service = self.service(of.group, &of.plugin, &of.extra.attributes);
        requests.begin(&service.header);
        processes::encode(requests, temporality, collection, of, service.processes(), false);
    }

    /// Whether series of single processes of this group are to be ended.
    pub fn has_open_series(&self, group: GroupId) -> bool {
        self.services
            .get(&group)
            .is_some_and(|(_, _, service)| !service.open.is_empty())
    }

    /// A group is no more.
    pub fn forget(&mut self, group: GroupId) {
        self.services.remove(&group);
    }

    /// Of the group's plugin as it is now: a changed one goes on with its series.
    fn service(
        &mut self,
        group: GroupId,
        plugin: &Arc<Plugin>,
        more: &BTreeMap<String, String>,
    ) -> &mut Service {
        let (host, run) = (&self.host, self.run);
        let header = || header(plugin, more, host, run);
        let prefix = || {
            if plugin.prefix {
                format!("{}.", plugin.service.id)
            } else {
                String::new()
            }
        };
        let (known, known_more, service) = self.services.entry(group).or_insert_with(|| {
            let service = Service {
                header: header(),
                prefix: prefix(),
                series: Series::default(),
                open: OpenSeries::default(),
            };
            (Arc::clone(plugin), more.clone(), service)
        });
        if !Arc::ptr_eq(known, plugin) || known_more != more {
            known_more.clone_from(more);
            *known = Arc::clone(plugin);
            service.header = header();
            service.prefix = prefix();
        }
        service
    }
}

impl Service {
    fn processes(&mut self) -> processes::Known<'_> {
        processes::Known {
            prefix: &self.prefix,
            series: &mut self.series,
            open: &mut self.open,
        }
    }
}

impl Moments {
    fn new(start: u64, collection: &Collection) -> Self {
        Self {
            start,
            now: collection.time,
            wall: collection.wall,
        }
    }

    /// Of cumulative points. A wall clock set back must not put a sum's start behind its end.
    fn cumulative(self) -> Times {
        Times {
            start: self.start.min(self.now),
            now: self.now,
        }
    }

    /// Of deltas: what takes no time has nothing in it.
    fn since(self, start: u64) -> Times {
        Times {
            start: start.min(self.now.saturating_sub(1)),
            now: self.now,
        }
    }
}

/// Appends a metric; returns its number of points. Without points there is none: what is not known is not exported.
fn metric(
    buffer: &mut Vec<u8>,
    described: Described<'_, 'static>,
    temporality: Temporality,
    values: &[Value],
    moments: Moments,
    series: &mut Series,
) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let Described {
        name,
        instrument,
        exponential,
        ..
    } = described;
    points::metric(buffer, described, temporality, |buffer| {
        let mut attributes = Vec::new();
        for value in values {
            let (times, measure) = if temporality.is_delta(instrument) {
                let delta = series.point(name, value, moments.start, moments.now);
                (moments.since(delta.start), delta.value)
            } else {
                (moments.cumulative(), value.measure.clone())
            };
            attributes.clear();
            let number = match measure {
                Measure::Durations(of) => {
                    points::attributes(&mut attributes, Of::Histogram, &value.attributes);
                    points::histogram(buffer, times, (&of.counts, &BOUNDS, of.sum), &attributes);
                    continue;
                }
                Measure::Timing(of) => {
                    points::attributes(&mut attributes, Of::Histogram, &value.attributes);
                    points::histogram(buffer, times, (&of.counts, &TIMING_BOUNDS, of.sum), &attributes);
                    continue;
                }
                Measure::Spread(of) if exponential => {
                    points::attributes(&mut attributes, Of::Exponential, &value.attributes);
                    points::exponential_histogram(buffer, times, &of, &attributes);
                    continue;
                }
                Measure::Spread(of) => {
                    points::attributes(&mut attributes, Of::Histogram, &value.attributes);
                    points::spread_histogram(buffer, times, &of, &attributes);
                    continue;
                }
                Measure::Integer(integer) => Number::Integer(integer),
                Measure::Float(float) => Number::Float(float),
                Measure::Time(moment) => Number::Float(moments.wall.unix(moment) as f64 / 1e9),
            };
            points::attributes(&mut attributes, Of::Number, &value.attributes);
            points::number(buffer, instrument, times, number, [&attributes, &[]]);
        }
        values.len() as u64
    })
}

#[cfg(test)]
mod delta_tests;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod process_tests;
/// What comes before the metrics of a plugin's service.
fn header(plugin: &Plugin, more: &BTreeMap<String, String>, host: &HostIdentity, run: Run) -> Header {
    let schema_url = match plugin.naming {
        // Names of the original framework's, which no convention knows.
        Naming::Instana => "",
        Naming::Otel | Naming::Both => resource::SCHEMA_URL,
    };
    Header::new(&resource::of_plugin(plugin, more, host, run), schema_url)
}

#[cfg(test)]
mod tests;
