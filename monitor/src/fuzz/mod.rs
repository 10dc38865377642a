//! Fuzz targets: what reads bytes that others choose, each with the properties that hold whatever the bytes.
//!
//! `cargo xtask fuzz` builds kevmon with coverage counters and `--cfg fuzzing`; libFuzzer's `main` then takes the place of
//! kevmon's and calls the target that KEVMON_FUZZ_TARGET names. The unit tests replay the inputs in `tests/fuzz/corpus`,
//! one folder a target.

#[cfg(test)]
mod damage;
mod import;
mod names;
#[cfg(test)]
mod tests;

/// What is fuzzed under which name.
#[derive(Debug, Clone, Copy)]
struct Target {
    /// Of its folder below `tests/fuzz/corpus`, too.
    name: &'static str,
    /// Reads one input. Panics where a property does not hold.
    run: fn(&[u8]),
}

const TARGETS: [Target; 10] = [
    Target {
        name: "records",
        run: |input| {
            crate::kernel::fuzz::records(input);
        },
    },
    Target {
        name: "answer",
        run: crate::export::fuzz::answer,
    },
    Target {
        name: "connection",
        run: crate::export::fuzz::connection,
    },
    Target {
        name: "proc",
        run: crate::procfs::fuzz::files,
    },
    Target {
        name: "plugin",
        run: crate::config::fuzz::plugin,
    },
    Target {
        name: "settings",
        run: crate::config::fuzz::settings,
    },
    Target {
        name: "words",
        run: crate::config::fuzz::words,
    },
    Target {
        name: "collector",
        run: crate::collector::fuzz::output,
    },
    Target {
        name: "import",
        run: import::files,
    },
    Target {
        name: "names",
        run: names::arguments,
    },
];

#[cfg(fuzzing)]
mod libfuzzer {
    use std::sync::OnceLock;

    use super::{TARGETS, Target};

    static CHOSEN: OnceLock<Target> = OnceLock::new();

    /// The target that the environment names.
    fn choose() {
        let name = std::env::var("KEVMON_FUZZ_TARGET").unwrap_or_default();
        let target = TARGETS.into_iter().find(|target| target.name == name);
        let Some(target) = target else {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!(
                "KEVMON_FUZZ_TARGET is {name:?}; set it to one of {}",
                names.join(", ")
            );
            std::process::exit(2);
        };
        CHOSEN.get_or_init(|| target);
    }

    libfuzzer_sys::fuzz_target!(
        init: choose(),
        |input: &[u8]| {
            if let Some(target) = CHOSEN.get() {
                (target.run)(input);
            }
        }
    );
}
