//! Memory and CPU time of this process, from the system.

/// Memory and CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Resident memory, bytes.
    pub(super) resident_bytes: f64,
    /// User and system time, seconds.
    pub(super) cpu_s: f64,
}

/// Linux's clock tick in `/proc`, seconds: fixed at 100 Hz for programs.
const TICK_S: f64 = 0.01;
const STATUS: &str = "/proc/self/status";
const STAT: &str = "/proc/self/stat";

/// None where there is no `/proc`.
pub(super) fn usage() -> Option<Usage> {
    let status = std::fs::read_to_string(STATUS).ok()?;
    let stat = std::fs::read_to_string(STAT).ok()?;
    Some(Usage {
        resident_bytes: resident_bytes(&status)?,
        cpu_s: cpu_s(&stat)?,
    })
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

/// Fields 14 and 15; the second field is the program's name in brackets and may hold spaces.
fn cpu_s(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "1 (a) b) S 2 3 4 5 6 7 8 9 10 11 250 50 14";
        assert_eq!(cpu_s(stat), Some(3.0));
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(
            resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"),
            Some(2_097_152.0)
        );
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }
}
