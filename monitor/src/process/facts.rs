//! What a process is besides its names: whose, where, in which container.

use std::sync::Arc;

/// What the kernel tells of it, by number; unknown is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FactIds {
    /// Effective user.
    pub uid: Option<u32>,
    /// Id of its cgroup in the unified hierarchy.
    pub cgroup: Option<u64>,
    /// Number of its pid namespace.
    pub pid_namespace: Option<u32>,
}

/// What could be learnt; unknown is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Effective user.
    pub uid: Option<u32>,
    /// That user's name, where the host knows one.
    pub user: Option<Arc<str>>,
    /// Path of its cgroup in the unified hierarchy, or else in systemd's own: `/system.slice/nginx.service`.
    pub cgroup: Option<Arc<str>>,
    /// Number of its pid namespace.
    pub pid_namespace: Option<u32>,
}

impl Facts {
    /// Nothing is missing that selectors ask for. (Of users without a name there are many.)
    pub fn is_whole(&self) -> bool {
        self.uid.is_some() && self.cgroup.is_some() && self.pid_namespace.is_some()
    }

    /// With what `other` tells where this is silent.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let same_user = self.uid.is_none() || self.uid == other.uid;
        Self {
            user: self.user.or_else(|| other.user.clone().filter(|_| same_user)),
            uid: self.uid.or(other.uid),
            cgroup: self.cgroup.or_else(|| other.cgroup.clone()),
            pid_namespace: self.pid_namespace.or(other.pid_namespace),
        }
    }

    /// Its systemd unit: the innermost component of the cgroup that is one, slices apart
    /// (systemd, src/basic/cgroup-util.c, `cg_path_get_unit`).
    pub fn unit(&self) -> Option<&str> {
        const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
        let path = self.cgroup.as_deref()?;
        path.rsplit('/').find(|part| {
            UNITS
                .iter()
                .any(|suffix| part.len() > suffix.len() && part.ends_with(suffix))
        })
    }

    /// Its container: 64 hexadecimal digits as a component of the cgroup, alone or between a runtime's prefix and
    /// `.scope` (`docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`).
    pub fn container(&self) -> Option<&str> {
        self.cgroup.as_deref()?.rsplit('/').find_map(|part| {
            let part = part.strip_suffix(".scope").unwrap_or(part);
            let id = part.rsplit(['-', ':']).next()?;
            (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers_of_paths() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (path, unit, container) in [
            ("/", None, None),
            ("/system.slice/nginx.service", Some("nginx.service"), None),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope",
                Some("app-x.scope"),
                None,
            ),
            ("/system.slice/nginx.service/sub", Some("nginx.service"), None),
            ("/user.slice", None, None),
            ("/system.slice/.service", None, None),
            (
                &format!("/system.slice/docker-{id}.scope"),
                Some(&*format!("docker-{id}.scope")),
                Some(id),
            ),
            (&format!("/docker/{id}"), None, Some(id)),
            (
                &format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                Some(&*format!("cri-containerd-{id}.scope")),
                Some(id),
            ),
            (&format!("/kubepods/besteffort/pod1/{id}"), None, Some(id)),
            (
                &format!("/system.slice/containerd.service/kubepods-pod1:cri-containerd:{id}"),
                Some("containerd.service"),
                Some(id),
            ),
            (
                &format!("/machine.slice/libpod-{id}.scope/container"),
                Some(&*format!("libpod-{id}.scope")),
                Some(id),
            ),
            (&format!("/docker/{}", &id[1..]), None, None),
        ] {
            let facts = Facts {
                cgroup: Some(path.into()),
                ..Facts::default()
            };
            assert_eq!((facts.unit(), facts.container()), (unit, container), "{path}");
        }
    }
}
