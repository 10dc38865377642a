//! One line of kevmon's JSON output, schema 1, as the tests read it: typed accessors that fail with
//! the whole group when a name is missing.

use std::collections::BTreeMap;

use serde_json::Value;

/// One collection.
#[derive(Debug, Clone)]
pub struct Tick(pub Value);

/// One plugin's group in a [`Tick`].
#[derive(Debug, Clone, Copy)]
pub struct Group<'a>(pub &'a Value);

/// What the kernel side sent and what of it arrived, since kevmon's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
}

/// Lengths of time of a [`Group`], nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    pub count: u64,
    pub sum: u64,
    /// The latest one.
    pub last: Option<u64>,
}

/// One member of a [`Group`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub pid: u32,
    /// Unix nanoseconds.
    pub start_time: u64,
    pub name: String,
}

impl Tick {
    /// Parses one line and checks what every line must hold.
    pub fn parse(line: &str) -> Self {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not a JSON object: {error}: {line:?}"));
        assert_eq!(value["schema"], 1, "schema of {line}");
        assert!(value["time"].is_u64(), "time of {line}");
        assert!(
            value["source"] == "ebpf" || value["source"] == "proc",
            "source of {line}"
        );
        for key in ["complete", "complete_totals"] {
            assert!(value[key].is_boolean(), "{key} of {line}");
        }
        assert!(value["plugins"].is_array(), "plugins of {line}");
        Self(value)
    }

    /// When it was collected, Unix nanoseconds.
    pub fn time(&self) -> u64 {
        self.0["time"].as_u64().expect("checked in parse")
    }

    /// Whether kevmon says that nothing was lost.
    pub fn complete(&self) -> bool {
        self.0["complete"] == true
    }

    /// `ebpf` or `proc`.
    pub fn source(&self) -> &str {
        self.0["source"].as_str().expect("checked in parse")
    }

    /// Whether it is the last line, written at shutdown.
    pub fn last(&self) -> bool {
        self.0["final"] == true
    }

    /// Ends whose totals have not settled.
    pub fn unsettled(&self) -> u64 {
        self.0["unsettled"]
            .as_u64()
            .unwrap_or_else(|| panic!("no unsettled in {}", self.0))
    }

    /// CPU of this collection by kevmon's own process clock, nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.0["tick_cpu_ns"]
            .as_u64()
            .unwrap_or_else(|| panic!("no tick_cpu_ns in {}", self.0))
    }

    /// Records of the kernel side; they add up only when nothing is on its way.
    pub fn records(&self) -> Records {
        let number = |name: &str| integer(&self.0["records"], name);
        Records {
            sent: number("sent"),
            received: number("received"),
            lost: number("lost"),
        }
    }

    /// A number at the top of the line.
    pub fn number(&self, name: &str) -> u64 {
        integer(&self.0, name)
    }

    /// The plugins due at this tick.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.0["plugins"]
            .as_array()
            .expect("checked in parse")
            .iter()
            .map(Group)
    }

    /// The group of the plugin `name`, if it was due.
    pub fn group(&self, name: &str) -> Option<Group<'_>> {
        self.groups().find(|group| group.0["plugin"] == name)
    }

    /// The same, and panics when it was not due.
    pub fn expect_group(&self, name: &str) -> Group<'_> {
        self.group(name)
            .unwrap_or_else(|| panic!("no plugin {name:?} in {}", self.0))
    }
}

impl Group<'_> {
    /// A metric, if it could be read.
    pub fn get(&self, metric: &str) -> Option<&Value> {
        self.0["metrics"].get(metric)
    }

    /// An integer metric; panics when it is absent, negative or a fraction.
    pub fn int(&self, metric: &str) -> u64 {
        self.get(metric)
            .unwrap_or_else(|| panic!("{metric} is absent: {}", self.0))
            .as_u64()
            .unwrap_or_else(|| panic!("{metric} is no integer of 64 bits: {}", self.0))
    }

    /// A metric as a float; panics when it is absent.
    pub fn float(&self, metric: &str) -> f64 {
        self.get(metric)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("{metric} is absent: {}", self.0))
    }

    /// Every metric present.
    pub fn metrics(&self) -> BTreeMap<&str, &Value> {
        let metrics = self.0["metrics"]
            .as_object()
            .unwrap_or_else(|| panic!("no metrics: {}", self.0));
        metrics
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect()
    }

    /// Unix nanoseconds since when the group's event counters count.
    pub fn start_time(&self) -> u64 {
        self.0["start_time"]
            .as_u64()
            .unwrap_or_else(|| panic!("no start_time: {}", self.0))
    }

    /// Ends that `matches` picks from `exits_by_reason`.
    pub fn ends(&self, matches: impl Fn(&Value) -> bool) -> u64 {
        let all = self.0["exits_by_reason"].as_array();
        let all = all.unwrap_or_else(|| panic!("no exits_by_reason: {}", self.0));
        all.iter()
            .filter(|end| matches(end))
            .map(|end| integer(end, "count"))
            .sum()
    }

    /// Ends by this exit code.
    pub fn exits_with(&self, code: u8) -> u64 {
        self.ends(|end| end["reason"] == "exit" && end["code"] == code)
    }

    /// Ends by this signal.
    pub fn signalled_with(&self, name: &str) -> u64 {
        self.ends(|end| end["reason"] == "signal" && end["signal_name"] == name)
    }

    /// Ends of this reason, whatever their code or signal.
    pub fn ends_of(&self, reason: &str) -> u64 {
        self.ends(|end| end["reason"] == reason)
    }

    /// How long the group was without a root before a restart.
    pub fn downtime(&self) -> Lengths {
        lengths(&self.0["downtime"])
    }

    /// How long members lived.
    pub fn lifetime(&self) -> Lengths {
        lengths(&self.0["lifetime"])
    }

    /// Whether the group keeps failing and coming back.
    pub fn crash_loop(&self) -> bool {
        let loops = self.0["crash_loop"].as_bool();
        loops.unwrap_or_else(|| panic!("no crash_loop: {}", self.0))
    }

    /// The live members.
    pub fn members(&self) -> Vec<Member> {
        let members = self.0["processes"]
            .as_array()
            .unwrap_or_else(|| panic!("no processes: {}", self.0));
        members
            .iter()
            .map(|member| Member {
                pid: u32::try_from(member["pid"].as_u64().expect("a pid")).expect("a pid of 32 bits"),
                start_time: member["start_time"].as_u64().expect("a start time"),
                name: member["name"].as_str().expect("a name").to_owned(),
            })
            .collect()
    }
}

fn integer(object: &Value, name: &str) -> u64 {
    object[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} is no integer of 64 bits in {object}"))
}

fn lengths(object: &Value) -> Lengths {
    Lengths {
        count: integer(object, "count"),
        sum: integer(object, "sum_ns"),
        last: object.get("last_ns").map(|_| integer(object, "last_ns")),
    }
}
