//! Attributes of all resources: the settings file's, and below them the environment's.

use std::collections::BTreeMap;

use super::Settling;
use crate::config::{
    finding::{Finding, quoted},
    resource_attributes::{SERVICE_NAME, VARIABLE, instead, parse_variable},
};

impl Settling<'_> {
    /// Whoever sets the variables means one application by them, and may set them for everything on the host: what kevmon
    /// cannot follow is left out with a warning, where the same in its own file is a fault.
    pub(super) fn resource(&mut self) -> BTreeMap<String, String> {
        if let Some(name) = self.sources.environment.get(SERVICE_NAME) {
            let message = format!(
                "{} is left out: each plugin is a service of its own, and kevmon another",
                quoted(name)
            );
            let remedy = "write name = \"…\" in [service] of a plugin file";
            self.warn(Finding::in_variable(SERVICE_NAME, message).remedy(remedy));
        }
        let mut attributes = self.resource_of_environment();
        attributes.extend(
            self.sources
                .file
                .map(|file| file.resource.clone())
                .unwrap_or_default(),
        );
        attributes
    }

    fn resource_of_environment(&mut self) -> BTreeMap<String, String> {
        let Some(text) = self.sources.environment.get(VARIABLE) else {
            return BTreeMap::new();
        };
        let mut attributes = match parse_variable(text) {
            Ok(attributes) => attributes,
            Err(error) => {
                let message = format!("{error}; all of it is left out");
                let remedy = "write name=value, separated by commas, both percent-encoded, or set [resource] in kevmon.toml";
                self.warn(Finding::in_variable(VARIABLE, message).remedy(remedy));
                return BTreeMap::new();
            }
        };
        let names: Vec<String> = attributes.keys().cloned().collect();
        for name in names {
            if let Some((why, remedy)) = instead(&name) {
                attributes.remove(&name);
                let message = format!("{} is left out: {why}", quoted(&name));
                self.warn(Finding::in_variable(VARIABLE, message).remedy(remedy));
            }
        }
        attributes
    }
}
