//! What the kernel says of a process (proc(5)) and of the calling thread.

use std::{fs, io, ops::Range};

use rustix::time::{ClockId, clock_gettime};

/// Places behind the name in `/proc/PID/stat`: utime and stime, then those of the children that have ended.
const OWN: Range<usize> = 11..13;
const WITH_ENDED_CHILDREN: Range<usize> = 11..15;

/// User and system seconds of all threads of a process, those that have ended included.
pub fn cpu_seconds(process: u32) -> io::Result<f64> {
    stat_seconds(&read(&format!("/proc/{process}/stat"))?, OWN)
}

/// The same of this process and of all its descendants that have ended.
pub(crate) fn family_cpu_seconds() -> io::Result<f64> {
    stat_seconds(&read("/proc/self/stat")?, WITH_ENDED_CHILDREN)
}

/// CPU seconds of the calling thread.
pub fn thread_cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Anonymous resident bytes of a process now (`RssAnon`).
pub fn anonymous_memory(process: u32) -> io::Result<u64> {
    status_bytes(&read(&format!("/proc/{process}/status"))?, "RssAnon")
}

/// Resident bytes of a process now, files that it mapped included (`VmRSS`).
pub fn resident_memory(process: u32) -> io::Result<u64> {
    status_bytes(&read(&format!("/proc/{process}/status"))?, "VmRSS")
}

/// Descriptors that a process has open.
pub fn descriptors(process: u32) -> io::Result<usize> {
    let path = format!("/proc/{process}/fd");
    let open =
        fs::read_dir(&path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    Ok(open.count())
}

/// The most resident bytes that a process ever had, files that it mapped included (`VmHWM`).
pub fn most_memory(process: u32) -> io::Result<u64> {
    status_bytes(&read(&format!("/proc/{process}/status"))?, "VmHWM")
}

/// Seconds of a number of clock ticks.
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

pub(crate) fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// The name is in parentheses and may hold blanks and parentheses.
fn stat_seconds(stat: &str, places: Range<usize>) -> io::Result<f64> {
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(|| io::Error::other("no name in stat"))?;
    let fields: Option<Vec<u64>> =
        fields.split(' ').skip(places.start).take(places.len()).map(|ticks| ticks.parse().ok()).collect();
    match fields {
        Some(ticks) if ticks.len() == places.len() => Ok(seconds(ticks.iter().sum())),
        _ => Err(io::Error::other("no CPU time in stat")),
    }
}

/// Bytes by which tests let resident memory be told too low: each processor counts for itself, and adds what it counted to
/// the sum from time to time.
#[cfg(test)]
pub(crate) const UNCOUNTED: u64 = 4 << 20;

fn status_bytes(status: &str, field: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other(format!("no {field} in status")))
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, process};

    use super::*;

    const STAT: &str = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 30 20 20 0 1 0";

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let tick = seconds(1);
        assert_eq!(stat_seconds(STAT, OWN).unwrap(), 200.0 * tick);
        assert_eq!(stat_seconds(STAT, WITH_ENDED_CHILDREN).unwrap(), 250.0 * tick);
    }

    #[test]
    fn what_is_no_stat_is_an_error() {
        for stat in ["", "7 name S 1", "7 (name) S 1 2", &STAT.replace("150", "x")] {
            assert!(stat_seconds(stat, OWN).is_err(), "{stat}");
        }
    }

    #[test]
    fn fields_of_status_are_found_by_their_whole_name() {
        let status = "VmHWMx:\t 9 kB\nVmHWM:\t    2048 kB\nRssAnon:\t 4 kB\n";
        assert_eq!(status_bytes(status, "VmHWM").unwrap(), 2 << 20);
        assert_eq!(status_bytes(status, "RssAnon").unwrap(), 4 << 10);
        assert!(status_bytes(status, "VmSwap").is_err());
    }

    #[test]
    fn work_and_memory_of_this_process_are_seen() {
        let me = process::id();
        let thread = thread_cpu_seconds();
        let memory = black_box(vec![1_u8; 64 << 20]);
        for look in [anonymous_memory, most_memory, resident_memory] {
            assert!(look(me).unwrap() >= (64 << 20) - UNCOUNTED);
        }
        drop(memory);
        let begun = cpu_seconds(me).unwrap();
        while cpu_seconds(me).unwrap() - begun < 0.05 {
            black_box((0..10_000).sum::<u64>());
        }
        assert!(thread_cpu_seconds() > thread);
        assert!(family_cpu_seconds().unwrap() >= begun);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error_that_names_its_file() {
        let error = anonymous_memory(u32::MAX).unwrap_err();
        assert!(error.to_string().starts_with("/proc/4294967295/status"), "{error}");
        assert!(cpu_seconds(u32::MAX).is_err());
    }
}
