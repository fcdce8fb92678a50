//! A full disk under the trail stops nobody.

use std::fs;

use sealed_shuffle::AuditConfig;
use sealed_shuffle_faulty_disk::{mount_memory, unmount};

use super::running::{Running, eventually};

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

#[test]
fn full_disk_does_not_stop_serving_and_what_waited_is_written_later() {
    let temp = tempfile::tempdir().unwrap();
    let disk = temp.path().join("disk");
    fs::create_dir(&disk).unwrap();
    if let Err(reason) = mount_memory(&disk, 256 << 10) {
        println!("SKIPPED: {reason}");
        let required = std::env::var("SEALED_SHUFFLE_FAULTY_DISKS").is_ok_and(|value| value == "required");
        assert!(!required, "{reason}");
        return;
    }
    let mounted = Mounted(disk.clone());
    let trail = disk.join("audit");
    let running = Running::start_with(|config| config.audit = Some(AuditConfig::in_dir(&trail)));
    let written = || running.metric("sealed_shuffle_audit_records_total");
    eventually("it is written", || written() > 0);
    let filler = disk.join("filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "it is full by then");
    running.assert_serves();
    eventually("it cannot be written", || running.metric("sealed_shuffle_audit_write_failures_total") > 0);
    running.assert_serves();
    let before = written();
    fs::remove_file(&filler).unwrap();
    eventually("what waited is written", || written() > before);
    running.drained();
    assert_eq!(running.metric("sealed_shuffle_audit_records_lost_total"), 0);
    let text = fs::read_to_string(trail.join("audit-00000001.jsonl")).unwrap();
    assert!(text.lines().count() >= 5 && text.ends_with('\n'), "{text}");
    drop(mounted);
}
