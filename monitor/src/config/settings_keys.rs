//! The keys of `kevmon.toml`, in one table, which reading, suggestions and `docs/configuration.md` follow.

use super::{
    duration::{KEEP_WATCHING_BOUNDS, SPOOL_AGE_BOUNDS, TELEMETRY_BOUNDS, TIMEOUT_BOUNDS},
    recorder::{AGE_BOUNDS, BYTES_BOUNDS, STEP_BOUNDS},
    schema::{ENDPOINTS, Key, Kind, Role, Schema, key},
    size::{REQUEST_BOUNDS, SPOOL_BOUNDS},
};

const FILE: &[Schema] = &[Schema::Settings];

const PROTOCOLS: Kind = Kind::Choice(&["grpc", "http/protobuf"]);
const COMPRESSIONS: Kind = Kind::Choice(&["none", "gzip"]);
const TEMPORALITIES: Kind = Kind::Choice(&["cumulative", "delta", "lowmemory"]);
const SIGNALS: Kind = Kind::Choices(&["metrics", "logs", "traces"]);
const EXACT_ENDS: Kind = Kind::Choice(&["auto", "always", "never"]);
const REQUEST: Kind = Kind::Bytes(&REQUEST_BOUNDS);
const ALL: &str = "all three; metrics at `…/opentelemetry`";
const TIMEOUT: Kind = Kind::Length(&TIMEOUT_BOUNDS);

/// Every key, one a line.
#[rustfmt::skip]
pub(crate) const SETTINGS_KEYS: &[Key] = &[
    key(FILE, "", "schema", Kind::Version, Role::Version, "required"),
    key(FILE, "export", "endpoint", Kind::Url, Role::Endpoint, "`\"http://localhost:4317\"`"),
    key(FILE, "export", "protocol", PROTOCOLS, Role::Protocol, "`\"grpc\"`"),
    key(FILE, "export", "compression", COMPRESSIONS, Role::Compression, "`\"none\"`"),
    key(FILE, "export", "timeout", TIMEOUT, Role::Timeout, "`\"10s\"`"),
    key(FILE, "export", "signals", SIGNALS, Role::Signals, ALL),
    key(FILE, "export", "max_request_bytes", REQUEST, Role::MaxRequest, "`\"4MiB\"`"),
    key(FILE, "export", "headers", Kind::Headers, Role::Headers, "`{}`"),
    key(FILE, "export", "ca_file", Kind::File, Role::Ca, "the system's"),
    key(FILE, "export", "certificate_file", Kind::File, Role::Certificate, "none"),
    key(FILE, "export", "key_file", Kind::File, Role::PrivateKey, "none"),
    key(FILE, "export", "temporality", TEMPORALITIES, Role::Temporality, "`\"cumulative\"`"),
    key(FILE, ENDPOINTS, "endpoint", Kind::Url, Role::Endpoint, "required"),
    key(FILE, ENDPOINTS, "protocol", PROTOCOLS, Role::Protocol, "`\"grpc\"`"),
    key(FILE, ENDPOINTS, "compression", COMPRESSIONS, Role::Compression, "`\"none\"`"),
    key(FILE, ENDPOINTS, "timeout", TIMEOUT, Role::Timeout, "`\"10s\"`"),
    key(FILE, ENDPOINTS, "signals", SIGNALS, Role::Signals, ALL),
    key(FILE, ENDPOINTS, "max_request_bytes", REQUEST, Role::MaxRequest, "`\"4MiB\"`"),
    key(FILE, ENDPOINTS, "headers", Kind::Headers, Role::Headers, "`{}`"),
    key(FILE, ENDPOINTS, "ca_file", Kind::File, Role::Ca, "the system's"),
    key(FILE, ENDPOINTS, "certificate_file", Kind::File, Role::Certificate, "none"),
    key(FILE, ENDPOINTS, "key_file", Kind::File, Role::PrivateKey, "none"),
    key(FILE, "spool", "max_bytes", Kind::Bytes(&SPOOL_BOUNDS), Role::SpoolBytes, "`\"64MiB\"`"),
    key(FILE, "spool", "max_age", Kind::Length(&SPOOL_AGE_BOUNDS), Role::SpoolAge, "`\"24h\"`"),
    key(FILE, "state", "keep_watching", Kind::Length(&KEEP_WATCHING_BOUNDS), Role::KeepWatching, "`\"10m\"`"),
    key(FILE, "accounting", "exact_ends", EXACT_ENDS, Role::ExactEnds, "`\"auto\"`"),
    key(FILE, "recorder", "enabled", Kind::Flag, Role::Recorder, "`true`"),
    key(FILE, "recorder", "standard", Kind::Flag, Role::RecorderStandard, "`false`"),
    key(FILE, "recorder", "step", Kind::Length(&STEP_BOUNDS), Role::RecorderStep, "`\"1s\"`"),
    key(FILE, "recorder", "max_bytes", Kind::Bytes(&BYTES_BOUNDS), Role::RecorderBytes, "`\"64MiB\"`"),
    key(FILE, "recorder", "max_age", Kind::Length(&AGE_BOUNDS), Role::RecorderAge, "`\"1h\"`"),
    key(FILE, "telemetry", "enabled", Kind::Flag, Role::Telemetry, "`true`"),
    key(FILE, "telemetry", "interval", Kind::Length(&TELEMETRY_BOUNDS), Role::TelemetryInterval, "`\"60s\"`"),
    key(FILE, "otlp_json", "path", Kind::Target, Role::OtlpJson, "none"),
    key(FILE, "prometheus", "enabled", Kind::Flag, Role::Prometheus, "`false`"),
    key(FILE, "prometheus", "listen", Kind::Listen, Role::PrometheusListen, "`\"127.0.0.1:9464\"`"),
    key(FILE, "prometheus", "created", Kind::Flag, Role::PrometheusCreated, "`false`"),
    key(FILE, "prometheus", "bearer_token_file", Kind::File, Role::PrometheusToken, "none"),
    key(FILE, "prometheus", "certificate_file", Kind::File, Role::PrometheusCertificate, "none"),
    key(FILE, "prometheus", "key_file", Kind::File, Role::PrometheusKey, "none"),
    key(FILE, "prometheus", "client_ca_file", Kind::File, Role::PrometheusClientCa, "none"),
    key(FILE, "prometheus", "hosts", Kind::List, Role::PrometheusHosts, "`[]`"),
    key(FILE, "collectors", "user", Kind::Text, Role::CollectorUser, "`\"kevmon-collector\"` if it exists, else an id for each run"),
    key(FILE, "", "resource", Kind::ResourceAttributes, Role::Resource, "`{}`"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        receiver::{DEFAULT_TIMEOUT, SpoolLimits, Telemetry},
        recorder::Recorder,
        settings_file::{DEFAULT_KEEP_WATCHING, DEFAULT_LISTEN},
    };

    #[test]
    fn every_key_is_documented_with_its_type_and_default() {
        let docs = include_str!("../../../docs/configuration.md");
        for key in SETTINGS_KEYS.iter().filter(|key| key.table != ENDPOINTS) {
            let row = format!("| `{}` | {} | {} |", key.path(), key.kind.describe(), key.default);
            assert!(
                docs.contains(&row),
                "docs/configuration.md misses the row {row:?}"
            );
        }
    }

    #[test]
    fn further_endpoints_have_the_keys_of_the_default_one() {
        let of = |table: &str| -> Vec<_> {
            SETTINGS_KEYS
                .iter()
                .filter(|key| key.table == table && !matches!(key.role, Role::Temporality | Role::Endpoint))
                .map(|key| (key.name, key.kind, key.role, key.default))
                .collect()
        };
        assert_eq!(of("export"), of(ENDPOINTS));
    }

    #[test]
    fn defaults_are_the_ones_that_hold() {
        assert_eq!(DEFAULT_TIMEOUT.as_secs(), 10, "the table above says 10s");
        let spool = SpoolLimits::default();
        assert_eq!((spool.bytes, spool.age.as_secs()), (64 << 20, 24 * 3600));
        assert_eq!(DEFAULT_KEEP_WATCHING.as_secs(), 600);
        let recorder = Recorder::default();
        assert_eq!((recorder.enabled, recorder.standard), (true, false));
        assert_eq!(
            (recorder.step.as_secs(), recorder.bytes, recorder.age.as_secs()),
            (1, 64 << 20, 3600)
        );
        let telemetry = Telemetry::default();
        assert_eq!((telemetry.enabled, telemetry.interval.as_secs()), (true, 60));
        assert_eq!(DEFAULT_LISTEN.to_string(), "127.0.0.1:9464");
    }
}
