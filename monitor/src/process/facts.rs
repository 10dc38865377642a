//! Process attributes besides names: user, cgroup (and with it unit, container and pod), pid namespace.

use std::sync::Arc;

/// Process attributes as the numbers that the kernel side sends; unknown is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FactIds {
    /// Effective user.
    pub uid: Option<u32>,
    /// Id of its cgroup in the unified hierarchy.
    pub cgroup: Option<u64>,
    /// Number of its pid namespace.
    pub pid_namespace: Option<u32>,
}

/// Process attributes with names; unknown is `None`.
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

    /// These attributes; what is unknown here is taken from `other`.
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

    /// Its container's id: 64 hexadecimal digits as a component of the cgroup, alone or between a runtime's prefix and
    /// `.scope` (`docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`). Of nested containers the
    /// innermost. A container's monitor (`libpod-conmon-ID.scope`, `crio-conmon-ID.scope`) runs outside of it.
    pub fn container(&self) -> Option<&str> {
        self.cgroup.as_deref()?.rsplit('/').find_map(|part| {
            let part = part.strip_suffix(".scope").unwrap_or(part);
            let id = part.rsplit(['-', ':']).next()?;
            let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            (is_id && !part.contains("conmon-")).then_some(id)
        })
    }

    /// The UID of its Kubernetes pod, as the API server has it: with dashes, which systemd's slices have as underscores
    /// (kubernetes 1.34, pkg/kubelet/cm/pod_container_manager_linux.go, `podUIDFromCgroupName`: `podUID` with the cgroupfs
    /// driver, `kubepods-burstable-podUID.slice` with systemd's). A static pod's UID is 32 hexadecimal digits.
    pub fn pod(&self) -> Option<String> {
        self.cgroup.as_deref()?.rsplit('/').find_map(|part| {
            // A runtime without the kubelet's cgroup driver puts `SLICE:PREFIX:CONTAINER` into one component.
            let part = part.split(':').next()?;
            let part = part.strip_suffix(".slice").unwrap_or(part);
            let (before, uid) = part.rsplit_once("pod")?;
            let uid = uid.replace('_', "-");
            (before.is_empty() || before.ends_with('-') && before.contains("kubepods"))
                .then_some(uid)
                .filter(|uid| is_pod_uid(uid))
        })
    }
}

/// A UUID, or the 32 hexadecimal digits of a static pod's.
fn is_pod_uid(text: &str) -> bool {
    const PARTS: [usize; 5] = [8, 4, 4, 4, 12];
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() == 32 {
        return is_hex(text);
    }
    let lengths = text.split('-').map(str::len);
    lengths.eq(PARTS) && text.split('-').all(is_hex)
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

    /// Paths as the runtimes and the kubelet make them, both cgroup versions and both drivers.
    #[test]
    fn pods_and_containers_of_paths() {
        let id = "b5f1a7b3c8d24e6f9a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566a";
        let other = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let uid = "2c48913c-b29f-11e7-9350-020968147796";
        let low = uid.replace('-', "_");
        let fixed = "d7e4dba7d5d3d3a4e6f4f5e0f7a1b2c3";
        for (path, pod, container) in [
            // cgroupfs driver.
            (format!("/kubepods/besteffort/pod{uid}/{id}"), Some(uid), Some(id)),
            (format!("/kubepods/burstable/pod{uid}/{id}"), Some(uid), Some(id)),
            (format!("/kubepods/pod{uid}/{id}"), Some(uid), Some(id)),
            (
                format!("/kubepods/burstable/pod{fixed}/{id}"),
                Some(fixed),
                Some(id),
            ),
            // The pod's own cgroup.
            (format!("/kubepods/burstable/pod{uid}"), Some(uid), None),
            // systemd driver: guaranteed, burstable, best effort; containerd, CRI-O, Docker.
            (
                format!("/kubepods.slice/kubepods-pod{low}.slice/cri-containerd-{id}.scope"),
                Some(uid),
                Some(id),
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{low}.slice/crio-{id}.scope"
                ),
                Some(uid),
                Some(id),
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{low}.slice/docker-{id}.scope"
                ),
                Some(uid),
                Some(id),
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{fixed}.slice/crio-{id}.scope"
                ),
                Some(fixed),
                Some(id),
            ),
            // A container with systemd inside, and one with a cgroup namespace of its own.
            (
                format!("/kubepods.slice/kubepods-pod{low}.slice/crio-{id}.scope/system.slice/sshd.service"),
                Some(uid),
                Some(id),
            ),
            (
                format!("/../../kubepods-besteffort-pod{low}.slice/cri-containerd-{id}.scope"),
                Some(uid),
                Some(id),
            ),
            // containerd with the other driver than the kubelet's.
            (
                format!(
                    "/system.slice/containerd.service/kubepods-burstable-pod{low}.slice:cri-containerd:{id}"
                ),
                Some(uid),
                Some(id),
            ),
            // kind: a node that is a container itself.
            (
                format!("/docker/{other}/kubelet/kubepods/besteffort/pod{uid}/{id}"),
                Some(uid),
                Some(id),
            ),
            (
                format!(
                    "/system.slice/docker-{other}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{low}.slice/cri-containerd-{id}.scope"
                ),
                Some(uid),
                Some(id),
            ),
            // Monitors of containers are in their pod's slice, and in no container.
            (
                format!("/kubepods.slice/kubepods-pod{low}.slice/crio-conmon-{id}.scope"),
                Some(uid),
                None,
            ),
            (format!("/machine.slice/libpod-conmon-{id}.scope"), None, None),
            // No Kubernetes: Podman and its pods, rootless; Docker within Docker; nerdctl; nspawn; LXC.
            (
                format!("/machine.slice/libpod-{id}.scope/container"),
                None,
                Some(id),
            ),
            (
                format!("/machine.slice/machine-libpod_pod_{other}.slice/libpod-{id}.scope"),
                None,
                Some(id),
            ),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container"
                ),
                None,
                Some(id),
            ),
            (format!("/docker/{other}/docker/{id}"), None, Some(id)),
            (format!("/docker/{id}/init.scope"), None, Some(id)),
            (format!("/system.slice/nerdctl-{id}.scope"), None, Some(id)),
            (format!("/ecs/0123456789abcdef/{id}"), None, Some(id)),
            (
                "/machine.slice/systemd-nspawn@deb.service/payload".to_owned(),
                None,
                None,
            ),
            (
                "/lxc.payload.web/system.slice/cron.service".to_owned(),
                None,
                None,
            ),
            // What only looks like one.
            (format!("/system.slice/tripod{uid}.service"), None, None),
            (format!("/system.slice/my-pod{uid}"), None, None),
            ("/kubepods/burstable/pod1".to_owned(), None, None),
            (format!("/kubepods/pod{}", &uid[1..]), None, None),
            (format!("/kubepods/pod{}g", &fixed[1..]), None, None),
        ] {
            let facts = Facts {
                cgroup: Some(path.as_str().into()),
                ..Facts::default()
            };
            assert_eq!(facts.pod().as_deref(), pod, "{path}");
            assert_eq!(facts.container(), container, "{path}");
        }
    }
}
