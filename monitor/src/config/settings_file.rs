//! The daemon's settings file, `kevmon.toml`: read once, every key checked, each value with the line it stands at.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    accounting::ExactEnds,
    discover::{self, plain},
    endpoint::Url,
    finding::{Fault, Finding, Warning},
    given::{Given, Origin},
    header::{self, HeaderValue, SecretPlace},
    receiver::{Compression, JsonTarget, Protocol, Signals, SpoolLimits, Telemetry, Temporality},
    recorder::Recorder,
    schema::{ENDPOINTS, Role, Schema},
    value::Value,
    walk::{self, Content, Entry},
};

/// Where the file is looked for when no flag names one.
const DEFAULT_PATH: &str = "/etc/kevmon/kevmon.toml";

/// Where the Prometheus endpoint listens when nothing says otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464));

/// How long the kernel side watches without kevmon when nothing says otherwise: longer than an upgrade or a crash loop's
/// back-off takes.
pub const DEFAULT_KEEP_WATCHING: Duration = Duration::from_secs(600);

/// What a settings file says. Its `Debug` shows no secret.
#[derive(Debug, Default)]
pub struct SettingsFile {
    /// `[export]`.
    pub(crate) export: EndpointKeys,
    /// `[endpoints.NAME]`.
    pub(crate) endpoints: BTreeMap<String, EndpointKeys>,
    pub(crate) temporality: Option<Temporality>,
    pub(crate) spool: SpoolLimits,
    /// `[state] keep_watching`.
    pub(crate) keep_watching: Option<Duration>,
    /// `[accounting] exact_ends`.
    pub(crate) exact_ends: Option<ExactEnds>,
    /// `[recorder]`.
    pub(crate) recorder: Recorder,
    pub(crate) telemetry: Telemetry,
    pub(crate) otlp_json: Option<JsonTarget>,
    pub(crate) prometheus: Option<Given<SocketAddr>>,
    /// `[collectors] user`.
    pub(crate) collector_user: Option<String>,
    /// What else the file says of that page, also where a flag gave the address.
    pub(crate) page: PageKeys,
    /// `[resource]`.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Warning>,
    /// Whether its tables could be read at all, so that a name that it has not is one that does not exist.
    whole: bool,
}

/// What `[prometheus]` says of the page, its address apart.
#[derive(Debug, Default)]
pub(crate) struct PageKeys {
    /// Whether it shows `_created`.
    pub(crate) created: bool,
    pub(crate) token: Option<Given<SecretPlace>>,
    pub(crate) certificate: Option<Given<SecretPlace>>,
    pub(crate) key: Option<Given<SecretPlace>>,
    pub(crate) client_ca: Option<Given<SecretPlace>>,
    pub(crate) hosts: Option<Given<Vec<String>>>,
}

impl PageKeys {
    fn set(&mut self, role: Role, value: Value, origin: Origin) {
        match (role, value) {
            (Role::PrometheusCreated, Value::Flag(created)) => self.created = created,
            (Role::PrometheusToken, Value::Place(place)) => self.token = Some(Given::new(place, origin)),
            (Role::PrometheusCertificate, Value::Place(place)) => {
                self.certificate = Some(Given::new(place, origin));
            }
            (Role::PrometheusKey, Value::Place(place)) => self.key = Some(Given::new(place, origin)),
            (Role::PrometheusClientCa, Value::Place(place)) => {
                self.client_ca = Some(Given::new(place, origin));
            }
            (Role::PrometheusHosts, Value::Texts(hosts)) => self.hosts = Some(Given::new(hosts, origin)),
            _ => {}
        }
    }
}

/// What one receiver's table says.
#[derive(Debug, Default)]
pub(crate) struct EndpointKeys {
    pub(crate) endpoint: Option<Given<Url>>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) compression: Option<Compression>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) signals: Option<Signals>,
    pub(crate) max_request: Option<u64>,
    pub(crate) headers: Vec<(String, HeaderValue)>,
    /// Where they stand.
    pub(crate) headers_origin: Option<Origin>,
    pub(crate) ca: Option<Given<SecretPlace>>,
    pub(crate) certificate: Option<Given<SecretPlace>>,
    pub(crate) key: Option<Given<SecretPlace>>,
}

impl SettingsFile {
    /// The names that plugins may use, as far as they are known.
    pub(crate) fn endpoint_names(&self) -> Option<Vec<&str>> {
        self.whole
            .then(|| self.endpoints.keys().map(String::as_str).collect())
    }

    /// The variables that it takes secrets from, for [`super::Environment::with_secrets`].
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let tables = std::iter::once(&self.export).chain(self.endpoints.values());
        let headers = tables.flat_map(|table| &table.headers);
        headers.filter_map(|(_, value)| match value {
            HeaderValue::Place(SecretPlace::Variable(name)) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Files whose content is secret: headers' values and private keys.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let tables = std::iter::once(&self.export).chain(self.endpoints.values());
        let places = tables.flat_map(|table| {
            let headers = table.headers.iter().filter_map(|(_, value)| match value {
                HeaderValue::Place(place) => Some(place),
                HeaderValue::Text(_) => None,
            });
            headers.chain(table.key.iter().map(|key| &key.value))
        });
        let path = |place: &SecretPlace| match place {
            SecretPlace::File(path) => Some(path.clone()),
            _ => None,
        };
        places.filter_map(path).collect()
    }

    /// The account that collectors run as, where one is named.
    pub fn collector_user(&self) -> Option<&str> {
        self.collector_user.as_deref()
    }

    /// What keeps it from being used.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    fn faulty(fault: Fault) -> Self {
        Self {
            faults: vec![fault],
            ..Self::default()
        }
    }
}

/// The settings file: `asked`, or the one in `/etc`.
pub fn settings_path(asked: Option<&Path>) -> &Path {
    asked.unwrap_or(Path::new(DEFAULT_PATH))
}

/// Reads the settings file: `asked`, or the one in `/etc` where it exists. What is wrong with it comes out when the
/// settings are settled.
pub fn read_settings(asked: Option<&Path>) -> Option<SettingsFile> {
    let path = settings_path(asked);
    match (fs::metadata(path), asked) {
        (Ok(_), _) => {}
        (Err(error), None)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return None;
        }
        (Err(error), None) => {
            let message = format!("cannot be read: {}", plain(&error));
            let remedy = "let the user that kevmon runs as read it, or name another one with --config";
            return Some(SettingsFile::faulty(
                Finding::in_file(path, None, message).remedy(remedy),
            ));
        }
        (Err(error), Some(_)) => {
            let message = format!("{}: {}", path.display(), plain(&error));
            let fault = Finding::in_flag(Some("--config"), message);
            let remedy = "name a file that exists and can be read";
            return Some(SettingsFile::faulty(fault.remedy(remedy)));
        }
    }
    Some(match discover::read_settings(path) {
        Ok((text, others_read_it)) => parse(path, &text, others_read_it),
        Err(fault) => SettingsFile::faulty(fault),
    })
}

/// Reads the settings file `text`, which was found at `path`; `others_read_it` where every user of the host can.
pub(crate) fn parse(path: &Path, text: &str, others_read_it: bool) -> SettingsFile {
    let root = match walk::parse(path, text) {
        Ok(root) => root,
        Err(fault) => return SettingsFile::faulty(fault),
    };
    let version = root.get_ref().iter().find(|(key, _)| key.get_ref() == "schema");
    let Some((_, version)) = version else {
        let fault = Finding::in_file(path, None, "is missing").key("schema");
        return SettingsFile::faulty(fault.remedy("write schema = 1 at the top of the file"));
    };
    let checked = walk::check_version(path, text, Schema::Settings, version.span().start, version);
    if let Err(fault) = checked {
        return SettingsFile::faulty(fault);
    }
    let mut reading = Reading {
        path,
        others_read_it,
        file: SettingsFile {
            whole: true,
            ..SettingsFile::default()
        },
        tables: Vec::new(),
        prometheus: false,
        listen: None,
    };
    let faults = walk::walk(path, text, Schema::Settings, root.get_ref(), &mut reading);
    reading.finish(faults)
}

struct Reading<'a> {
    path: &'a Path,
    others_read_it: bool,
    file: SettingsFile,
    /// Tables of further receivers, with their lines, and whether they name an address, right or wrong.
    tables: Vec<(String, usize, bool)>,
    prometheus: bool,
    listen: Option<Given<SocketAddr>>,
}

impl Content for Reading<'_> {
    fn table(&mut self, table: &str, line: usize) {
        self.tables.push((table.to_owned(), line, false));
        let name = name_in(table).unwrap_or_default().to_owned();
        self.file.endpoints.entry(name).or_default();
    }

    fn seen(&mut self, entry: &Entry<'_>, _value: &toml::Spanned<toml::de::DeValue<'_>>) {
        if entry.key.role == Role::Endpoint
            && let Some(table) = self.tables.last_mut()
        {
            table.2 |= table.0 == entry.table;
        }
    }

    fn set(&mut self, entry: &Entry<'_>, value: Value) {
        let origin = Origin::File {
            path: self.path.to_owned(),
            line: entry.line,
            key: entry.path.to_owned(),
        };
        match (entry.key.role, value) {
            (Role::Temporality, Value::Text(text)) => self.file.temporality = text.parse().ok(),
            (Role::SpoolBytes, Value::Bytes(bytes)) => self.file.spool.bytes = bytes,
            (Role::SpoolAge, Value::Duration(age)) => self.file.spool.age = age,
            (Role::KeepWatching, Value::Duration(time)) => self.file.keep_watching = Some(time),
            (Role::ExactEnds, Value::Text(when)) => self.file.exact_ends = when.parse().ok(),
            (Role::Recorder, Value::Flag(enabled)) => self.file.recorder.enabled = enabled,
            (Role::RecorderStandard, Value::Flag(standard)) => self.file.recorder.standard = standard,
            (Role::RecorderStep, Value::Duration(step)) => self.file.recorder.step = step,
            (Role::RecorderBytes, Value::Bytes(bytes)) => self.file.recorder.bytes = bytes,
            (Role::RecorderAge, Value::Duration(age)) => self.file.recorder.age = age,
            (Role::Telemetry, Value::Flag(enabled)) => self.file.telemetry.enabled = enabled,
            (Role::TelemetryInterval, Value::Duration(interval)) => self.file.telemetry.interval = interval,
            (Role::CollectorUser, Value::Text(user)) => self.file.collector_user = Some(user),
            (Role::Resource, Value::Attributes(attributes)) => self.file.resource = attributes,
            (Role::OtlpJson, Value::Target(target)) => self.file.otlp_json = Some(target),
            (Role::Prometheus, Value::Flag(enabled)) => {
                self.prometheus = enabled;
                self.listen.get_or_insert(Given::new(DEFAULT_LISTEN, origin));
            }
            (Role::PrometheusListen, Value::Listen(address)) => {
                self.listen = Some(Given::new(address, origin));
            }
            (role, value) if entry.table == "prometheus" => self.file.page.set(role, value, origin),
            (role, value) => {
                if let Value::Headers(headers) = &value {
                    self.warn_of_readable_secrets(headers, &origin);
                }
                let keys = match name_in(entry.table) {
                    Some(name) => self.file.endpoints.entry(name.to_owned()).or_default(),
                    None => &mut self.file.export,
                };
                keys.set(role, value, origin);
            }
        }
    }
}

impl Reading<'_> {
    fn warn_of_readable_secrets(&mut self, headers: &[(String, HeaderValue)], origin: &Origin) {
        let secret = headers
            .iter()
            .find(|(name, value)| matches!(value, HeaderValue::Text(_)) && header::is_credential(name));
        if let Some((name, _)) = secret
            && self.others_read_it
        {
            let message =
                format!("the value of {name} stands in a file that every user of the host can read");
            let remedy = format!(
                "take that right away (chmod o-r {}), or write {{ file = \"/path\" }} or {{ credential = \"NAME\" }} \
                 instead of the value",
                self.path.display()
            );
            self.file.warnings.push(origin.finding(message).remedy(remedy));
        }
    }

    fn finish(mut self, mut faults: Vec<Fault>) -> SettingsFile {
        for (table, line, addressed) in &self.tables {
            if !addressed {
                let fault = Finding::in_file(self.path, Some(*line), "is missing");
                let fault = fault.key(format!("{table}.endpoint"));
                faults.push(fault.remedy("write the receiver's URL, such as \"https://host:4317\""));
            }
        }
        faults.sort_by_key(Finding::line);
        self.file.faults = faults;
        self.file.prometheus = self.listen.filter(|_| self.prometheus);
        self.file
    }
}

impl EndpointKeys {
    fn set(&mut self, role: Role, value: Value, origin: Origin) {
        match (role, value) {
            (Role::Endpoint, Value::Url(url)) => self.endpoint = Some(Given::new(url, origin)),
            // Its words are the schema's, so they are known.
            (Role::Protocol, Value::Text(text)) => self.protocol = text.parse().ok(),
            (Role::Compression, Value::Text(text)) => self.compression = text.parse().ok(),
            (Role::Timeout, Value::Duration(timeout)) => self.timeout = Some(timeout),
            (Role::Signals, Value::Texts(words)) => self.signals = Some(Signals::of(&words)),
            (Role::MaxRequest, Value::Bytes(bytes)) => self.max_request = Some(bytes),
            (Role::Headers, Value::Headers(headers)) => {
                self.headers = headers;
                self.headers_origin = Some(origin);
            }
            (Role::Ca, Value::Place(place)) => self.ca = Some(Given::new(place, origin)),
            (Role::Certificate, Value::Place(place)) => self.certificate = Some(Given::new(place, origin)),
            (Role::PrivateKey, Value::Place(place)) => self.key = Some(Given::new(place, origin)),
            _ => {}
        }
    }
}

/// `NAME` of `endpoints.NAME`.
fn name_in(table: &str) -> Option<&str> {
    let (family, _) = ENDPOINTS.split_once('.')?;
    table.strip_prefix(family)?.strip_prefix('.')
}

#[cfg(test)]
#[path = "settings_file_tests.rs"]
pub(crate) mod tests;
