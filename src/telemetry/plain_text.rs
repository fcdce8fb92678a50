//! The metrics page in the older text format (Prometheus 0.0.4), which `promtool check metrics` and older collectors read.
//!
//! Samples are the same in both. The older one names a counter with its `_total` in HELP and TYPE, too, has no type
//! `info`, no units and no end.

/// The same page, of which the server makes the one of OpenMetrics.
pub(super) fn plain_text(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    let mut help = "";
    for line in page.lines() {
        match line.split_once(' ').filter(|(hash, _)| *hash == "#").map(|(_, rest)| rest) {
            None => plain.extend([line, "\n"]),
            Some(rest) => match rest.split_once(' ') {
                Some(("HELP", rest)) => help = rest,
                Some(("TYPE", rest)) => {
                    let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                    let (ending, kind) = match kind {
                        "counter" => ("_total", "counter"),
                        "info" => ("_info", "gauge"),
                        "unknown" => ("", "untyped"),
                        kind => ("", kind),
                    };
                    let help =
                        help.split_once(' ').filter(|(of, _)| *of == name).map_or("", |(_, text)| text);
                    plain += &format!("# HELP {name}{ending} {help}\n# TYPE {name}{ending} {kind}\n");
                }
                _ => {}
            },
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_infos_have_their_endings_and_samples_stay() {
        let page = "# HELP a_blocks Blocks.\n# TYPE a_blocks counter\na_blocks_total{channel=\"x y\"} 3\n\
                    # HELP a_build The program.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_wait_seconds Waits.\n# TYPE a_wait_seconds histogram\n# UNIT a_wait_seconds seconds\n\
                    a_wait_seconds_bucket{le=\"+Inf\"} 0\n# HELP a_used Used.\n# TYPE a_used gauge\na_used 1\n# EOF\n";
        let plain = "# HELP a_blocks_total Blocks.\n# TYPE a_blocks_total counter\na_blocks_total{channel=\"x y\"} 3\n\
                     # HELP a_build_info The program.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                     # HELP a_wait_seconds Waits.\n# TYPE a_wait_seconds histogram\na_wait_seconds_bucket{le=\"+Inf\"} 0\n\
                     # HELP a_used Used.\n# TYPE a_used gauge\na_used 1\n";
        assert_eq!(plain_text(page), plain);
    }
}
