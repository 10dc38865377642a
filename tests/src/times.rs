//! The rule of times: what a receiver is sent of one resource never goes back in time, and no series has two points of
//! one time. Prometheus' OTLP receiver answers 400 to a request that breaks it, and drops all of it: it makes one
//! `target_info` a resource, with the earliest and the latest time of its points.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    fake::{Arrival, Fake, Message},
    points::Point,
};

/// Prometheus' times are in milliseconds.
const MILLISECOND: u64 = 1_000_000;

/// What a backend knows a resource by: `job` and `instance` in Prometheus.
fn resource(point: &Point) -> String {
    let of = |key: &str| point.resource.get(key).map_or("", String::as_str);
    let [namespace, name, id] = ["service.namespace", "service.name", "service.instance.id"].map(of);
    format!("{namespace}/{name} {id}")
}

/// What is wrong with the times of these requests, in the order of their arrival.
pub fn faults(requests: &[Vec<Point>]) -> Vec<String> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut known = BTreeSet::new();
    let mut faults = Vec::new();
    for (number, points) in requests.iter().enumerate() {
        let mut of_request: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for point in points {
            let resource = resource(point);
            let time = point.time / MILLISECOND;
            let (earliest, latest) = of_request.entry(resource.clone()).or_insert((time, time));
            *earliest = time.min(*earliest);
            *latest = time.max(*latest);
            let series = (resource, point.metric.clone(), point.attributes.clone(), time);
            if !known.insert(series.clone()) {
                faults.push(format!("request {number}: two points at one time: {series:?}"));
            }
        }
        for (resource, (earliest, latest)) in of_request {
            let newest = newest.entry(resource.clone()).or_default();
            if earliest < *newest {
                let back = *newest - earliest;
                faults.push(format!(
                    "request {number}: {resource} goes back by {back} ms to {earliest}"
                ));
            }
            *newest = latest.max(*newest);
        }
    }
    faults
}

/// Asserts the rule for what this receiver took, but for requests that came once more as they were: their answers were
/// lost, or kevmon was killed. There were requests of `kevmon` itself among them.
pub fn assert_never_back(fake: &Fake) {
    let mut seen: Vec<&Message> = Vec::new();
    let arrivals = fake.arrivals();
    let mut requests = Vec::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.taken()) {
        if !matches!(arrival.message, Message::Metrics(_)) || seen.contains(&&arrival.message) {
            continue;
        }
        seen.push(&arrival.message);
        requests.push(Arrival::points(arrival));
    }
    let all = requests.iter().flatten();
    assert!(
        all.clone()
            .any(|point| point.resource["service.name"] == "kevmon"),
        "nothing of kevmon itself in {} requests",
        requests.len()
    );
    let faults = faults(&requests);
    assert!(
        faults.is_empty(),
        "{} faults in {} requests, the first: {:#?}",
        faults.len(),
        requests.len(),
        &faults[..faults.len().min(5)]
    );
}
