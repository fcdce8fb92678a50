//! Whether a volume is encrypted below the file system, by dm-crypt (LUKS): sysfs says what a block device is made of.

use std::fs;
use std::path::Path;

use rustix::fs::{major, minor, stat};
use sealed_shuffle_transport::lane::OnLane;

/// Where sysfs has block devices by their numbers.
const DEVICES: &str = "/sys/dev/block";

/// Devices below devices that are looked at: LVM on RAID on dm-crypt has three.
const DEEPEST: usize = 8;

/// How the volume of a directory keeps what is written to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Volume {
    /// Every device that it lies on is one of dm-crypt, or lies on such devices.
    DmCrypt,
    /// At least one is not.
    Clear,
    /// It is no block device: memory, a network, an overlay of other file systems.
    Unknown,
}

impl Volume {
    /// That of a directory.
    pub fn of(_: &OnLane, dir: &Path) -> Self {
        match stat(dir) {
            Ok(found) => of_device(Path::new(DEVICES), major(found.st_dev), minor(found.st_dev)),
            Err(_) => Self::Unknown,
        }
    }
}

fn of_device(devices: &Path, major: u32, minor: u32) -> Volume {
    let device = devices.join(format!("{major}:{minor}"));
    match fs::symlink_metadata(&device) {
        Ok(_) if is_crypt(&device, DEEPEST) => Volume::DmCrypt,
        Ok(_) => Volume::Clear,
        Err(_) => Volume::Unknown,
    }
}

fn is_crypt(device: &Path, deep: usize) -> bool {
    if fs::read_to_string(device.join("dm/uuid")).is_ok_and(|uuid| uuid.starts_with("CRYPT-")) {
        return true;
    }
    let Ok(below) = fs::read_dir(device.join("slaves")) else { return false };
    let below: Vec<_> = below.filter_map(|entry| Some(entry.ok()?.path())).collect();
    deep > 0 && !below.is_empty() && below.iter().all(|device| is_crypt(device, deep - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device of sysfs, with a name of device mapper or without, on others.
    fn device(devices: &Path, number: &str, uuid: Option<&str>, below: &[&str]) {
        let device = devices.join(number);
        fs::create_dir_all(device.join("slaves")).unwrap();
        if let Some(uuid) = uuid {
            fs::create_dir(device.join("dm")).unwrap();
            fs::write(device.join("dm/uuid"), uuid).unwrap();
        }
        for number in below {
            std::os::unix::fs::symlink(devices.join(number), device.join("slaves").join(number)).unwrap();
        }
    }

    #[test]
    fn volume_is_encrypted_where_all_that_it_lies_on_is() {
        let temp = tempfile::tempdir().unwrap();
        let devices = temp.path();
        device(devices, "8:1", None, &[]);
        device(devices, "253:0", Some("CRYPT-LUKS2-0123-data\n"), &["8:1"]);
        device(devices, "253:1", Some("LVM-abc\n"), &["253:0"]);
        device(devices, "253:2", Some("LVM-def\n"), &["253:0", "8:1"]);
        let of = |minor| of_device(devices, 253, minor);
        assert_eq!([of(0), of(1), of(2)], [Volume::DmCrypt, Volume::DmCrypt, Volume::Clear]);
        assert_eq!(of_device(devices, 8, 1), Volume::Clear);
        assert_eq!(of_device(devices, 0, 42), Volume::Unknown);
        assert_eq!(Volume::of(&OnLane::here(), Path::new("/proc")), Volume::Unknown);
    }
}
