//! The import rules of monitor/src as tables: which module may import which, and who owns a dependency.

const EVERY_MODULE: &[&str] = &[
    "config",
    "kernel",
    "procfs",
    "process",
    "plugin",
    "metrics",
    "export",
    "store",
    "health",
    "limits",
    "shown",
    "users",
    "files",
    "episode",
    "collector",
    "import",
    "recorder",
    "app",
    "cli",
    "fuzz",
    "main",
];

/// Each top-level module of the daemon and the modules that it may import.
const MODULES: [(&str, &[&str]); 21] = [
    ("process", &[]),
    ("shown", &[]),
    ("import", &["shown"]),
    ("health", &[]),
    ("limits", &[]),
    ("users", &[]),
    ("files", &[]),
    ("episode", &[]),
    ("plugin", &["process"]),
    ("metrics", &["plugin", "process"]),
    ("config", &["plugin", "process", "shown", "users", "files"]),
    ("kernel", &["process", "health", "limits", "files"]),
    ("procfs", &["process", "health", "limits", "users"]),
    ("collector", &["plugin", "process", "health", "limits", "users"]),
    (
        "store",
        &[
            "process", "plugin", "metrics", "health", "limits", "files", "shown",
        ],
    ),
    (
        "export",
        &[
            "metrics", "plugin", "process", "health", "limits", "files", "episode", "shown",
        ],
    ),
    ("recorder", &["process", "files", "limits", "episode"]),
    ("cli", &["config", "plugin", "recorder"]),
    ("app", EVERY_MODULE),
    ("fuzz", EVERY_MODULE),
    ("main", &["app", "cli", "shown"]),
];

/// What a module may import; `None` for a name that is no module of the table.
pub(super) fn allowed_modules(module: &str) -> Option<&'static [&'static str]> {
    MODULES
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, allowed)| *allowed)
}

/// Modules that do no I/O and hold no clock.
pub(super) const PURE_MODULES: [&str; 4] = ["process", "plugin", "metrics", "import"];

/// What a pure module may not use.
pub(super) const IMPURE_PATHS: [&str; 6] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Where a dependency may appear.
#[derive(Debug, Clone, Copy)]
pub(super) struct CrateRule {
    name: &'static str,
    /// `name` is the beginning of several crates' names.
    is_prefix: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    OnlyIn(&'static str),
    OnlyInThese(&'static [&'static str]),
    NotIn(&'static [&'static str]),
}

/// Swapping one of these dependencies changes one folder.
pub(super) const CRATES: [CrateRule; 23] = [
    CrateRule {
        name: "anstyle",
        is_prefix: false,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "unicode_width",
        is_prefix: false,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "humantime",
        is_prefix: false,
        place: Place::OnlyIn("cli"),
    },
    CrateRule {
        name: "caps",
        is_prefix: false,
        place: Place::OnlyInThese(&["collector", "kernel"]),
    },
    CrateRule {
        name: "landlock",
        is_prefix: false,
        place: Place::OnlyIn("collector"),
    },
    CrateRule {
        name: "aya",
        is_prefix: false,
        place: Place::OnlyIn("kernel"),
    },
    CrateRule {
        name: "aya_log",
        is_prefix: false,
        place: Place::OnlyIn("kernel"),
    },
    CrateRule {
        name: "btf_rs",
        is_prefix: false,
        place: Place::OnlyIn("kernel"),
    },
    CrateRule {
        name: "flate2",
        is_prefix: false,
        place: Place::OnlyInThese(&["export", "recorder"]),
    },
    CrateRule {
        name: "h2",
        is_prefix: false,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "http_body_util",
        is_prefix: false,
        place: Place::OnlyInThese(&["export", "collector"]),
    },
    CrateRule {
        name: "httpdate",
        is_prefix: false,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "hyper",
        is_prefix: true,
        place: Place::OnlyInThese(&["export", "collector"]),
    },
    CrateRule {
        name: "rustls",
        is_prefix: true,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "tokio_rustls",
        is_prefix: false,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "procfs",
        is_prefix: false,
        place: Place::OnlyIn("procfs"),
    },
    CrateRule {
        name: "prost",
        is_prefix: false,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "ratatui",
        is_prefix: false,
        place: Place::OnlyIn("app"),
    },
    CrateRule {
        name: "regex_syntax",
        is_prefix: false,
        place: Place::OnlyInThese(&["config", "plugin"]),
    },
    CrateRule {
        name: "rusqlite",
        is_prefix: false,
        place: Place::OnlyIn("store"),
    },
    CrateRule {
        name: "opentelemetry",
        is_prefix: true,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "tonic",
        is_prefix: false,
        place: Place::OnlyIn("export"),
    },
    CrateRule {
        name: "tokio",
        is_prefix: false,
        place: Place::NotIn(&["process", "plugin", "metrics", "config", "import"]),
    },
];

impl CrateRule {
    pub(super) fn covers(&self, krate: &str) -> bool {
        krate == self.name || self.is_prefix && krate.starts_with(self.name)
    }

    /// Why the crate may not appear in this module.
    pub(super) fn refusal(&self, module: &str) -> Option<String> {
        match self.place {
            Place::OnlyIn(owner) if owner != module => Some(format!("`{owner}` alone owns that dependency")),
            Place::NotIn(modules) if modules.contains(&module) => {
                Some(format!("`{module}` knows no runtime"))
            }
            Place::OnlyInThese(owners) if !owners.contains(&module) => {
                Some(format!("`{}` own that dependency", owners.join("` and `")))
            }
            Place::OnlyIn(_) | Place::OnlyInThese(_) | Place::NotIn(_) => None,
        }
    }
}
