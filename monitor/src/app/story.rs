//! Lives of processes, put together from the rows of the history.

use std::sync::Arc;

use crate::{
    process::Tgid,
    store::{Event, GroupKey, History, HistoryRow, PreviousRow},
};

/// Two rows tell the start of one process within so long of each other, ns: /proc counts in hundredths of a second.
const SAME_START: u64 = 20_000_000;

/// One process from its start to its end, as far as the history tells.
#[derive(Debug, Clone)]
pub(super) struct Life<'a> {
    /// Whose process.
    pub(super) group: &'a Arc<GroupKey>,
    /// Its pid.
    pub(super) pid: Tgid,
    /// When it started, Unix ns; `None`: before a boot that is over.
    pub(super) start_time: Option<u64>,
    /// Its name, as the last of its rows has it.
    pub(super) name: &'a str,
    /// Its user, where one of its rows tells it.
    pub(super) user: Option<u32>,
    /// Its start, where kevmon saw it.
    pub(super) start: Option<&'a HistoryRow>,
    /// Its end.
    pub(super) exit: Option<&'a HistoryRow>,
    /// The restart by which it took another one's place.
    pub(super) took: Option<&'a HistoryRow>,
    /// The restart by which another one took its place.
    pub(super) replaced: Option<&'a HistoryRow>,
    /// How often it executed its program again, in place.
    pub(super) reexecs: usize,
    /// Its parent was one of the plugin's processes.
    pub(super) is_worker: bool,
}

impl Life<'_> {
    /// Whether it is the process with this pid and start.
    fn is(&self, group: &GroupKey, pid: Tgid, start_time: u64) -> bool {
        let same_start = self
            .start_time
            .is_some_and(|start| start.abs_diff(start_time) < SAME_START);
        self.pid == pid && same_start && **self.group == *group
    }

    /// The first moment that the history tells of it, Unix ns.
    pub(super) fn began(&self) -> u64 {
        let rows = [self.start, self.took, self.exit];
        let first = rows.into_iter().flatten().map(|row| row.time).min();
        self.start_time.or(first).unwrap_or(0)
    }
}

/// The processes of a history, in the order in which they began.
pub(super) fn lives(history: &History) -> Vec<Life<'_>> {
    let mut lives: Vec<Life<'_>> = Vec::new();
    for row in &history.rows {
        let at = place_of(&mut lives, row);
        let Some(life) = lives.get_mut(at) else { continue };
        life.name = &row.name;
        life.user = row.user.or(life.user);
        match &row.event {
            Event::Start { worker } => (life.start, life.is_worker) = (Some(row), *worker),
            Event::Exit { worker, .. } => (life.exit, life.is_worker) = (Some(row), *worker),
            Event::Restart { previous: None, .. } => life.reexecs += 1,
            Event::Restart {
                previous: Some(previous),
                ..
            } => {
                life.took = Some(row);
                if let Some(before) = lives
                    .iter_mut()
                    .rev()
                    .find(|life| is_previous(life, row, previous))
                {
                    before.replaced = Some(row);
                }
            }
        }
    }
    lives.sort_by_key(Life::began);
    lives
}

fn is_previous(life: &Life<'_>, row: &HistoryRow, previous: &PreviousRow) -> bool {
    match previous.start_time {
        Some(start) => life.is(&row.group, previous.pid, start),
        None => life.pid == previous.pid && *life.group == row.group,
    }
}

/// The life that a row belongs to, which begins with it where there is none yet.
fn place_of<'a>(lives: &mut Vec<Life<'a>>, row: &'a HistoryRow) -> usize {
    let found = lives.iter().rposition(|life| match row.start_time {
        Some(start) => life.is(&row.group, row.pid, start),
        // The end of a process of another boot: of the last one with its pid that had not ended.
        None => life.pid == row.pid && *life.group == row.group && life.exit.is_none(),
    });
    found.unwrap_or_else(|| {
        lives.push(Life {
            group: &row.group,
            pid: row.pid,
            start_time: row.start_time,
            name: &row.name,
            user: row.user,
            start: None,
            exit: None,
            took: None,
            replaced: None,
            reexecs: 0,
            is_worker: false,
        });
        lives.len() - 1
    })
}

/// Those that are meant by a pid or a name, oldest first, and how many workers were left out. A name is one that they had, in any
/// case; else a part of it; else that of their plugin. Workers have their names from those that started them: by name they are meant
/// only where nobody else is.
pub(super) fn meant<'a>(lives: Vec<Life<'a>>, asked: &str) -> (Vec<Life<'a>>, usize) {
    let wanted = asked.to_lowercase();
    let by_pid = |life: &Life<'_>| asked.parse() == Ok(life.pid.0);
    let by_name = |life: &Life<'_>| life.name.to_lowercase() == wanted;
    let by_part = |life: &Life<'_>| life.name.to_lowercase().contains(&wanted);
    let by_plugin = |life: &Life<'_>| life.group.plugin.to_lowercase() == wanted;
    let ways: [&dyn Fn(&Life<'_>) -> bool; 4] = [&by_pid, &by_name, &by_part, &by_plugin];
    let Some(way) = ways.iter().position(|way| lives.iter().any(way)) else {
        return (Vec::new(), 0);
    };
    let mut found: Vec<Life<'a>> = lives.into_iter().filter(ways[way]).collect();
    let all = found.len();
    if way > 0 && found.iter().any(|life| !life.is_worker) {
        found.retain(|life| !life.is_worker);
    }
    let left_out = all - found.len();
    (found, left_out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        plugin::RestartKind,
        process::Reason,
        store::{Details, Parent},
    };

    pub(in crate::app) const SECOND: u64 = 1_000_000_000;
    /// 2026-11-21T03:27:59Z.
    pub(in crate::app) const NOW: u64 = 1_795_231_679 * SECOND;

    pub(in crate::app) fn row(
        second: u64,
        pid: u32,
        start: Option<u64>,
        name: &str,
        event: Event,
    ) -> HistoryRow {
        HistoryRow {
            group: Arc::new(GroupKey {
                plugin: "shop".to_owned(),
                key: "shop/x".to_owned(),
            }),
            time: NOW + second * SECOND,
            pid: Tgid(pid),
            start_time: start.map(|second| NOW + second * SECOND),
            name: name.to_owned(),
            user: Some(33),
            event,
            details: Details::default(),
        }
    }

    pub(in crate::app) fn start(second: u64, pid: u32) -> HistoryRow {
        HistoryRow {
            details: Details {
                parent: Some(Parent {
                    pid: Tgid(1),
                    name: Some("systemd".to_owned()),
                }),
                exe: Some("shop-web".to_owned()),
                ..Details::default()
            },
            ..row(
                second,
                pid,
                Some(second),
                "shop-web",
                Event::Start { worker: false },
            )
        }
    }

    pub(in crate::app) fn exit(second: u64, pid: u32, start: Option<u64>, reason: Reason) -> HistoryRow {
        let is_killed = matches!(reason, Reason::Signal { .. });
        let event = Event::Exit {
            worker: false,
            reason,
            sender: is_killed.then(|| (Tgid(902), "ba\u{1b}sh".to_owned())),
            lifetime: start.map(|start| (second - start) * SECOND),
        };
        HistoryRow {
            details: Details {
                programs: vec!["sh".to_owned(), "shop-web".to_owned()],
                cpu: Some(1_204_000_000),
                peak_rss: Some(92_379_136),
                settled: Some(true),
                ..Details::default()
            },
            ..row(second, pid, start, "shop-web", event)
        }
    }

    pub(in crate::app) fn restart(second: u64, pid: u32, previous: (u32, u64), reason: Reason) -> HistoryRow {
        let event = Event::Restart {
            kind: RestartKind::Respawn,
            downtime: Some(SECOND / 4),
            previous: Some(Box::new(PreviousRow {
                pid: Tgid(previous.0),
                start_time: Some(NOW + previous.1 * SECOND),
                name: "shop-web".to_owned(),
                reason,
                sender: None,
                ago: Some(SECOND / 4),
            })),
        };
        row(second, pid, Some(second), "shop-web", event)
    }

    pub(in crate::app) fn history(rows: Vec<HistoryRow>) -> History {
        History {
            plugins: ["shop".to_owned()].into(),
            rows,
            outages: Vec::new(),
        }
    }

    const CODE_7: Reason = Reason::Exit { code: 7 };

    #[test]
    fn rows_become_lives_and_restarts_join_them() {
        let history = history(vec![
            start(0, 100),
            exit(10, 100, Some(0), CODE_7),
            start(11, 101),
            restart(11, 101, (100, 0), CODE_7),
            exit(20, 99, None, Reason::Unknown),
            // The same pid again.
            start(30, 100),
        ]);
        let lives = lives(&history);
        let told: Vec<_> = lives
            .iter()
            .map(|life| {
                let has = [life.start, life.exit, life.took, life.replaced].map(|row| row.is_some());
                (life.pid.0, has)
            })
            .collect();
        assert_eq!(
            told,
            [
                (100, [true, true, false, true]),
                (101, [true, false, true, false]),
                (99, [false, true, false, false]),
                (100, [true, false, false, false]),
            ]
        );
    }

    #[test]
    fn the_end_of_another_boot_belongs_to_the_last_one_with_its_pid() {
        let history = history(vec![
            start(0, 100),
            exit(1, 100, Some(0), CODE_7),
            start(5, 100),
            exit(9, 100, None, Reason::Unknown),
        ]);
        let lives = lives(&history);
        assert_eq!(lives.len(), 2);
        let ends: Vec<_> = lives.iter().map(|life| life.exit.unwrap().time - NOW).collect();
        assert_eq!(ends, [SECOND, 9 * SECOND]);
    }

    #[test]
    fn workers_are_meant_by_their_pids() {
        let worker = HistoryRow {
            event: Event::Start { worker: true },
            ..start(1, 101)
        };
        let of_both = history(vec![start(0, 100), worker.clone()]);
        let found = |history: &History, asked: &str| {
            let (found, left_out) = meant(lives(history), asked);
            (found.iter().map(|life| life.pid.0).collect::<Vec<_>>(), left_out)
        };
        assert_eq!(found(&of_both, "shop-web"), (vec![100], 1));
        assert_eq!(found(&of_both, "101"), (vec![101], 0));
        assert_eq!(
            found(&history(vec![worker]), "shop-web"),
            (vec![101], 0),
            "nobody else has the name"
        );
    }

    #[test]
    fn pids_go_before_names_and_names_before_parts_of_them() {
        let mut numbered = start(0, 5);
        numbered.name = "100".to_owned();
        let mut worker = start(1, 101);
        worker.name = "shop-web-worker".to_owned();
        let history = history(vec![start(0, 100), worker, numbered]);
        for (asked, pids) in [
            ("100", vec![100]),
            ("SHOP-web", vec![100]),
            ("worker", vec![101]),
            ("shop", vec![100, 101]),
            ("nobody", vec![]),
        ] {
            let (found, _) = meant(lives(&history), asked);
            let found: Vec<u32> = found.iter().map(|life| life.pid.0).collect();
            assert_eq!(found, pids, "{asked}");
        }
        // No process has the pid 7, and no name has it in it.
        assert!(meant(lives(&history), "7").0.is_empty());
    }
}
