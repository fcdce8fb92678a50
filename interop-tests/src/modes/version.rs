//! Numbers of releases.

/// Major and minor number of a release.
pub fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().expect("versions are numbers"));
    (parts.next().expect("a major version"), parts.next().expect("a minor version"))
}
