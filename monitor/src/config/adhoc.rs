//! Plugins made on the spot from `--process-name`, so that nobody has to write a file to try one.

use std::{collections::BTreeSet, time::Duration};

use super::{
    finding::{Fault, Finding, Warning},
    pattern,
};
use crate::plugin::{
    definition::{Matching, Plugin},
    service::{ServiceName, sanitise},
};

/// Namespace of their services.
const NAMESPACE: &str = "kevmon";

/// Longest name, as for any plugin; what is added to keep names apart has room beside it.
const LONGEST_NAME: usize = 60;

/// One plugin for each of `process_names`, named by the sanitised pattern and kept apart from the
/// names in `taken` by `-2`, `-3`….
pub(crate) fn plugins(
    process_names: &[String],
    interval: Duration,
    taken: &mut BTreeSet<String>,
) -> (Vec<Plugin>, Vec<Fault>, Vec<Warning>) {
    let (mut plugins, mut faults, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for text in process_names {
        if pattern::fits_cut_names_only(text)
            && let Some((message, remedy)) = pattern::cut_name(text, Matching::default())
        {
            warnings.push(Finding::in_flag(Some("--process-name"), message).remedy(remedy));
        }
        match pattern::compile(text) {
            Ok(pattern) => {
                let name = free_name(&sanitise(text), taken);
                let service = ServiceName::new(NAMESPACE, format!("{NAMESPACE}.{name}"));
                plugins.push(Plugin {
                    interval,
                    ..Plugin::new(name, service, vec![pattern])
                });
            }
            Err(error) => {
                let remedy = "write a name, or a regular expression such as '^nginx$'";
                let fault = Finding::in_flag(Some("--process-name"), error.to_string());
                faults.push(fault.remedy(remedy));
            }
        }
    }
    (plugins, faults, warnings)
}

fn free_name(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let wanted: String = wanted.chars().take(LONGEST_NAME).collect();
    let mut name = wanted.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    name
}
