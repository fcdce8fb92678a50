//! What the machine gives: ports, descriptors and memory.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

use indicatif::HumanBytes;
use sealed_shuffle_config::ServerConfig;

use super::finding::Finding;

pub(super) fn look(config: &ServerConfig) -> Vec<Finding> {
    let runs = config.admin.socket.as_ref().is_some_and(|socket| UnixStream::connect(&socket.path).is_ok());
    let service = [port("port", config.listen, "spark.shuffle.service.port", runs)];
    let admin =
        config.admin.address.map(|at| port("operator's port", at, "spark.sealed.admin.address", runs));
    service
        .into_iter()
        .chain(admin)
        .chain([descriptors(config)])
        .chain(available().map(|available| memory(config, available)))
        .collect()
}

/// Binds the port for a moment. `runs`: a server with the same state directory runs, which has it.
fn port(about: &'static str, at: SocketAddr, key: &str, runs: bool) -> Finding {
    match TcpListener::bind(at) {
        Ok(_) => Finding::good(about, format!("{at} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && runs => {
            Finding::good(about, format!("{at} is in use by the server that runs"))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Finding::fault(about, format!("{at} is in use")).hint(format!(
                "end who has it (`ss -ltnp` names it; Spark's own service, mostly), or set {key}"
            ))
        }
        Err(error) => Finding::fault(about, format!("{at} cannot be bound: {error}"))
            .hint(format!("correct {key}, or spark.sealed.bind")),
    }
}

/// Whether the limit is enough is said with the configuration, which divides it.
fn descriptors(config: &ServerConfig) -> Finding {
    let (connections, files) = (config.max_connections, config.max_open_files);
    let text = match config.descriptor_limit {
        Some(limit) => format!(
            "{limit}, for {connections} connections, {files} files and the server itself; {} are kept for operators",
            config.kept_descriptors
        ),
        None => "without a limit".to_owned(),
    };
    Finding::good("descriptors", text)
}

fn memory(config: &ServerConfig, available: u64) -> Finding {
    let wanted = config.memory_budget.as_u64().saturating_add(config.index_cache_size.as_u64());
    let (wants, has) = (HumanBytes(wanted), HumanBytes(available));
    match wanted <= available {
        true => Finding::good(
            "memory",
            format!("{has} may be had, and block data and indexes take {wants} at most"),
        ),
        false => Finding::warning(
            "memory",
            format!("block data and indexes may take {wants}, and only {has} may be had"),
        )
        .hint(
            "lower spark.sealed.memory.budget or spark.shuffle.service.index.cache.size, or raise the limit",
        ),
    }
}

/// What this process may still take: of the machine, or of its control group where that is less.
fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = kibibytes(&text, "MemAvailable:")?.saturating_mul(1024);
    Some(group_limit(Path::new("/sys/fs/cgroup")).map_or(machine, |limit| limit.min(machine)))
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    meminfo.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// `memory.max` of the control group (version 2) or of one above it, whichever is least.
fn group_limit(mounted: &Path) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = mounted.join(own);
    let above = group.ancestors().take_while(|path| path.starts_with(mounted));
    above.filter_map(|path| fs::read_to_string(path.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn config() -> ServerConfig {
        ServerConfig::new(["/data".into()], "/state")
    }

    #[test]
    fn port_that_another_has_is_a_fault_and_one_that_our_server_has_is_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        assert_eq!(port("port", at, "spark.shuffle.service.port", false).severity, Severity::Fault);
        assert_eq!(port("port", at, "spark.shuffle.service.port", true).severity, Severity::Good);
        drop(taken);
        assert_eq!(port("port", at, "spark.shuffle.service.port", false).severity, Severity::Good);
    }

    #[test]
    fn limits_below_the_configuration_are_said() {
        let config = config();
        assert_eq!(memory(&config, 64 << 20).severity, Severity::Warning);
        assert_eq!(memory(&config, 64 << 30).severity, Severity::Good);
    }

    #[test]
    fn memory_of_this_machine_is_found() {
        assert!(available().unwrap() > 0);
        assert_eq!(kibibytes("MemTotal: 9 kB\nMemAvailable:   42 kB\n", "MemAvailable:"), Some(42));
    }
}
