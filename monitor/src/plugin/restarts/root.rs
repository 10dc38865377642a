//! What is known of a root, and how well an ended root and a started one fit together.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::process::{Facts, Identity, Likeness, Program};

/// What tells roots of a group apart, other than their pids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootIdentity {
    /// The name to show.
    pub name: Arc<str>,
    /// Base name of the executable; empty where it is not known.
    pub exe: Arc<str>,
    /// The program that it runs.
    pub program: Program,
    /// Hash of the argument vector; `None` where that is not known.
    arguments: Option<u64>,
    /// Its systemd unit, where a plugin asks for it; `None` in a container, whose unit is named by the container's id.
    unit: Option<Arc<str>>,
    /// Its container's id, where a plugin asks for it.
    container: Option<Arc<str>>,
    /// Its effective user when it was looked at, where that is known.
    pub user: Option<u32>,
}

/// How well a start fits an end; the greatest fits best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    program: Likeness,
    place: Place,
    same_arguments: bool,
}

/// How the units or containers of two roots compare. A preference and no more: a container's id is another one after each
/// restart, and so are the names of transient units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Different,
    Unknown,
    Same,
}

/// The text, as `known` where that is the same.
fn shared(text: &str, known: &Arc<str>) -> Arc<str> {
    if text == &**known {
        Arc::clone(known)
    } else {
        Arc::from(text)
    }
}

impl RootIdentity {
    /// Of a process with these names and facts, which is listed as `name`.
    pub fn of(identity: &Identity, name: &str, facts: Option<&Facts>) -> Self {
        let container = facts.and_then(Facts::container).map(Arc::from);
        let unit = facts.and_then(Facts::unit).filter(|_| container.is_none());
        let program = identity.program();
        // Most often one text, which is then held once.
        let exe = shared(&identity.exe, &program.executable);
        Self {
            name: shared(name, &exe),
            exe,
            program,
            arguments: (!identity.argv.is_empty() && identity.cut.is_none()).then(|| {
                let mut hasher = DefaultHasher::new();
                identity.argv.hash(&mut hasher);
                hasher.finish()
            }),
            unit: unit.map(Arc::from),
            container,
            user: None,
        }
    }

    /// This identity, with `user` as the effective user.
    pub fn run_by(self, user: Option<u32>) -> Self {
        Self { user, ..self }
    }

    /// Whether it is listed under `name` and runs the executable `exe`.
    pub fn is_called(&self, name: &str, exe: &str) -> bool {
        *self.exe == *exe && *self.name == *name
    }

    /// This identity, where a part of what it runs cannot be seen any more: what is missing is taken from `before`.
    pub fn or_as_before(self, before: &Self) -> Self {
        Self {
            program: self.program.or_as_before(&before.program),
            ..self
        }
    }

    /// Of one that an earlier run of kevmon saw, as far as it was kept.
    pub fn remembered(name: &Arc<str>, exe: &Arc<str>, program: &Program) -> Self {
        Self {
            name: Arc::clone(name),
            exe: Arc::clone(exe),
            program: program.clone(),
            arguments: None,
            unit: None,
            container: None,
            user: None,
        }
    }

    /// How well a start of this root fits the end of one that was `other`; `None` for another program.
    pub(super) fn fit(&self, other: &Self) -> Option<Fit> {
        let program = self.program.likeness(&other.program);
        (program != Likeness::Different).then(|| Fit {
            program,
            place: self.place(other),
            same_arguments: self.arguments.is_some() && self.arguments == other.arguments,
        })
    }

    /// The best that an end can fit a start of this root.
    pub(super) fn best_fit(&self) -> Fit {
        Fit {
            program: Likeness::Same,
            place: if self.unit.is_some() || self.container.is_some() {
                Place::Same
            } else {
                Place::Unknown
            },
            same_arguments: self.arguments.is_some(),
        }
    }

    fn place(&self, other: &Self) -> Place {
        if self.container.is_some() && self.container == other.container {
            return Place::Same;
        }
        match (&self.unit, &other.unit) {
            (Some(one), Some(two)) if one == two => Place::Same,
            (Some(_), Some(_)) => Place::Different,
            _ => Place::Unknown,
        }
    }
}
