//! Numbers of releases.

/// Major and minor number of a release.
pub fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().expect("versions are numbers"));
    (parts.next().expect("a major version"), parts.next().expect("a minor version"))
}

/// The third number of a release; 0 where there is none.
pub fn patch(version: &str) -> u32 {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    version.split('.').nth(2).and_then(|part| digits(part).parse().ok()).unwrap_or_default()
}
