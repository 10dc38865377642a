//! The services that `process_names` makes, as the environment has them: the plugin's variables hold for all of them, and
//! each, being a plugin of its own, has variables of its own. `SHOP_PROCESS_FILTER` names other services in place of the
//! file's, with commas between them; `SHOP_WEB_PROCESS_FILTER` says what the service `web` of `shop` matches.

use std::{collections::BTreeSet, time::Duration};

use regex::Regex;

use super::PluginFile;
use crate::config::{
    duration,
    environment::{Environment, prefix_of},
    finding::{Fault, Finding, quoted, split},
    native, pattern,
};

/// What the environment says of one service.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByService {
    pub(crate) pattern: Option<Regex>,
    pub(crate) interval: Option<Duration>,
}

/// What to write where a filter is wrong.
const REMEDY: &str = "write a name, or a regular expression such as ^nginx$";

impl PluginFile {
    /// Puts the services that `<PLUGIN>_PROCESS_FILTER` names in place of the file's. One that would have the name of a
    /// service of the file is that service, and keeps what it is called there.
    pub(crate) fn take_services(&mut self, environment: &Environment) -> Vec<Fault> {
        let variable = format!("{}PROCESS_FILTER", prefix_of(&self.name));
        let (Some((line, names)), Some(text)) = (&self.native.process_names, environment.get(&variable))
        else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        let mut fault = |message: String, remedy: &str| {
            faults.push(Finding::in_variable(&variable, message).remedy(remedy));
        };
        let (mut seen, mut taken, mut patterns) = (BTreeSet::new(), Vec::new(), Vec::new());
        for name in listed(text) {
            let suffix = native::suffix(name);
            match pattern::compile(name) {
                Err(error) => fault(error.to_string(), REMEDY),
                Ok(_) if suffix.is_empty() => {
                    let message = format!("{} has no letter or digit to name a service after", quoted(name));
                    fault(message, "write a name with letters");
                }
                Ok(_) if seen.contains(&suffix) => {
                    let message = format!(
                        "{} makes the same service as another one of the list",
                        quoted(name)
                    );
                    fault(message, "remove one of them");
                }
                Ok(pattern) => {
                    let known = names.iter().find(|known| native::suffix(known) == suffix);
                    taken.push(known.map_or_else(|| name.to_owned(), Clone::clone));
                    patterns.push((format!("{}-{suffix}", self.name), pattern));
                    seen.insert(suffix);
                }
            }
        }
        if faults.is_empty() {
            self.native.process_names = Some((*line, taken));
            for (service, pattern) in patterns {
                self.by_service.entry(service).or_default().pattern = Some(pattern);
            }
        }
        faults
    }

    /// Takes what the services' own variables say; an interval only where `with_intervals`.
    pub(crate) fn take_of_services(&mut self, environment: &Environment, with_intervals: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.native.process_names.is_none() {
            return faults;
        }
        for service in self.names() {
            let prefix = prefix_of(&service);
            let filter = format!("{prefix}PROCESS_FILTER");
            let mut own = self.by_service.remove(&service).unwrap_or_default();
            match environment.get(&filter).map(pattern::compile) {
                None => {}
                Some(Ok(pattern)) => own.pattern = Some(pattern),
                Some(Err(error)) => {
                    faults.push(Finding::in_variable(&filter, error.to_string()).remedy(REMEDY));
                }
            }
            let interval = format!("{prefix}INTERVAL");
            let text = environment.get(&interval).filter(|_| with_intervals);
            match text.map(duration::parse_interval) {
                None => {}
                Some(Ok(length)) => own.interval = Some(length),
                Some(Err(error)) => {
                    faults.push(split(Finding::in_variable(&interval, ""), &error.to_string()));
                }
            }
            self.by_service.insert(service, own);
        }
        faults
    }
}

/// The names of a list with commas; those within brackets belong to a regular expression.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let names = text.split(move |c| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    names.map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_of_a_list_and_of_expressions() {
        for (text, expected) in [
            ("web", vec!["web"]),
            (" web , db ,", vec!["web", "db"]),
            ("a{1,2},(b,c),[d,]", vec!["a{1,2}", "(b,c)", "[d,]"]),
            (",", vec![]),
        ] {
            assert_eq!(listed(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
