//! What the kernel says of a process (proc(5)).

use std::fs;
use std::io;

/// User and system seconds of all threads of a process, those that have ended included.
pub(super) fn cpu_seconds(process: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold blanks; utime and stime are the fields 14 and 15 of the whole.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(|| io::Error::other("no name in stat"))?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Anonymous resident bytes now.
pub(super) fn resident_anonymous(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no RssAnon in status"))
}
