//! When within its intervals this daemon collects. Hosts that were started together must not send together for as long
//! as they run, so each daemon has a phase of its own, and all its plugins share it.
//!
//! The phase is a hash. It must differ where the hosts do, also where they are clones of one image: these may have the
//! same /etc/machine-id, and with it the same `service.instance.id`. The kernel makes a new boot id at each boot, and
//! containers on one kernel differ by host name.

use uuid::Uuid;

use crate::{
    export::{HostIdentity, Run, UnixClock, own_instance_id},
    process::BootTime,
};

/// Namespace of the names that phases are hashes of.
const PHASES: Uuid = Uuid::from_u128(0x6b65_766d_6f6e_4f54_8c50_7068_6173_6573);

/// How far the grid of a daemon's collections lies from multiples of the interval since 1970, ns: a number between 0 and
/// 2^62, much longer than any interval, so that each place within an interval is as likely as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase(u64);

impl Phase {
    /// Of the daemon that reports as `host`, in the boot of this id. Where the id is not known, the time at which that boot
    /// began, by its `clock`, stands in for it.
    pub(super) fn of(host: &HostIdentity, boot_id: Option<&str>, clock: UnixClock) -> Self {
        let id = own_instance_id(host, Run::Service);
        let began = || clock.unix(BootTime(0)).to_string();
        let boot_id = boot_id.map_or_else(began, str::to_owned);
        let text = format!("{id}\0{boot_id}\0{}", host.name);
        Self(Uuid::new_v5(&PHASES, text.as_bytes()).as_u64_pair().0 >> 2)
    }

    /// The length of the phase, ns.
    pub(super) fn nanos(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::export::Reporter;

    fn phase(id: &str, name: &str, boot: &str, reporter: Reporter) -> u64 {
        let mut host = HostIdentity::new(Some(id.to_owned()), name.to_owned());
        host.reporter = reporter;
        Phase::of(&host, Some(boot), UnixClock::new(0, BootTime(0))).nanos()
    }

    #[test]
    fn clones_boots_states_and_containers_have_phases_of_their_own() {
        let state = Reporter::OfState;
        let phases = [
            phase("m", "h", "b", state(1)),
            phase("n", "h", "b", state(1)),
            phase("m", "i", "b", state(1)),
            phase("m", "h", "c", state(1)),
            phase("m", "h", "b", state(2)),
            phase("m", "h", "b", Reporter::OfSet(1)),
            phase("m", "h", "b", Reporter::Unstored(1)),
        ];
        assert_eq!(phases.iter().collect::<BTreeSet<_>>().len(), phases.len());
        assert_eq!(
            phases[0],
            phase("m", "h", "b", state(1)),
            "it stays over a restart"
        );
    }

    #[test]
    fn a_boot_without_an_id_has_a_phase_that_stays() {
        let host = HostIdentity::new(Some("m".to_owned()), "h".to_owned());
        let phase = |began| Phase::of(&host, None, UnixClock::new(began, BootTime(0)));
        assert_eq!(phase(7), phase(7));
        assert_ne!(phase(7), phase(8));
    }

    /// Of a thousand daemons, each tenth of an interval has about a hundred, whatever the interval is.
    #[test]
    fn phases_are_spread_over_each_interval() {
        const S: u64 = 1_000_000_000;
        for interval in [S / 100, S, 10 * S, 60 * S, 3_600 * S, 24 * 3_600 * S] {
            let mut tenths = [0; 10];
            for host in 0..1_000 {
                let phase = phase(&host.to_string(), "h", "b", Reporter::OfState(1));
                tenths[usize::try_from(phase % interval * 10 / interval).unwrap()] += 1;
            }
            assert!(
                tenths.iter().all(|count| (60..=140).contains(count)),
                "{interval}: {tenths:?}"
            );
        }
    }
}
