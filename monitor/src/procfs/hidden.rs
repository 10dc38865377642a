//! Processes that /proc hides: the mount option hidepid (Documentation/filesystems/proc.rst).

use std::{fmt, path::Path};

use procfs::process::{MountInfo, Process};

/// How processes of other users are hidden from this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The mount point.
    root: String,
    /// The option as the kernel shows it: a number before 5.8, a word since.
    hidepid: String,
    /// Members of a group may see them (`gid=`).
    group_helps: bool,
}

impl Hidden {
    /// What hides processes below `root` from this process; `None` when nothing does, or when it cannot be told.
    pub fn from(root: &Path) -> Option<Self> {
        // CAP_SYS_PTRACE (include/uapi/linux/capability.h).
        const SYS_PTRACE: u64 = 1 << 19;
        let me = Process::myself().ok()?;
        let status = me.status().ok()?;
        if status.capeff & SYS_PTRACE != 0 {
            return None;
        }
        let mounts = me.mountinfo().ok()?;
        let path = root.canonicalize().ok()?;
        // What is mounted last on one point covers the others.
        let mount = mounts.into_iter().rfind(|mount| mount.mount_point == path)?;
        let groups = status.groups.iter().map(|&group| i64::from(group));
        let groups: Vec<i64> = groups.chain([i64::from(status.egid)]).collect();
        Self::of(&mount, &groups)
    }

    pub(super) fn of(mount: &MountInfo, groups: &[i64]) -> Option<Self> {
        let option = |name: &str| mount.super_options.get(name).cloned().flatten();
        let hidepid = option("hidepid")?;
        let group_helps = !matches!(hidepid.as_str(), "4" | "ptraceable");
        let group = option("gid").and_then(|group| group.parse().ok()).unwrap_or(0);
        let is_off = matches!(hidepid.as_str(), "0" | "off");
        if mount.fs_type != "proc" || is_off || (group_helps && groups.contains(&group)) {
            return None;
        }
        Some(Self {
            root: mount.mount_point.display().to_string(),
            hidepid,
            group_helps,
        })
    }
}

/// What is hidden, why, and what to do about it.
impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, hidepid, .. } = self;
        write!(
            f,
            "processes of other users cannot be seen, because {root} is mounted with hidepid={hidepid}; \
             give kevmon CAP_SYS_PTRACE"
        )?;
        if self.group_helps {
            write!(
                f,
                ", or mount {root} with gid= of a group that kevmon's user is in"
            )?;
        }
        write!(f, ", or remount it with hidepid=0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_what() {
        let hidden = |options: &str, groups: &[i64]| {
            let line = format!("22 27 0:21 / /proc rw,relatime - proc proc {options}");
            Hidden::of(&MountInfo::from_line(&line).unwrap(), groups)
        };
        for (options, groups, is_hidden) in [
            ("rw", vec![1000], false),
            ("rw,hidepid=0", vec![1000], false),
            ("rw,hidepid=off", vec![1000], false),
            ("rw,hidepid=1", vec![1000], true),
            ("rw,hidepid=noaccess", vec![1000], true),
            ("rw,hidepid=2", vec![1000], true),
            ("rw,hidepid=invisible", vec![1000], true),
            ("rw,hidepid=invisible", vec![1000, 0], false),
            ("rw,gid=27,hidepid=invisible", vec![1000, 0], true),
            ("rw,gid=27,hidepid=invisible", vec![1000, 27], false),
            ("rw,gid=27,hidepid=ptraceable", vec![1000, 27], true),
        ] {
            let found = hidden(options, &groups);
            assert_eq!(found.is_some(), is_hidden, "{options} {groups:?}");
        }
        let text = hidden("rw,hidepid=invisible", &[1000]).unwrap().to_string();
        for part in [
            "/proc",
            "hidepid=invisible",
            "CAP_SYS_PTRACE",
            "gid=",
            "hidepid=0",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let text = hidden("rw,hidepid=4", &[1000]).unwrap().to_string();
        assert!(!text.contains("gid="), "{text}");
    }
}
