//! Durations as Spark writes them: `120s`, `5m`, `500ms` (JavaUtils.timeStringAs, Spark 4.3.0).

use std::time::Duration;

use super::{Grammar, Reject, digits_and_suffix, java_trim};

/// The unit of a bare number. Spark also truncates to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimeUnit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

impl TimeUnit {
    const fn micros(self) -> i128 {
        match self {
            Self::Milliseconds => 1_000,
            Self::Seconds => 1_000_000,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
        }
    }

    fn duration(self, count: u64) -> Duration {
        match self {
            Self::Milliseconds => Duration::from_millis(count),
            Self::Seconds => Duration::from_secs(count),
        }
    }
}

/// A time with an optional suffix `us`, `ms`, `s`, `m`, `min`, `h`, `d`.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    bare: TimeUnit,
    step: TimeUnit,
    min: Duration,
    max: Duration,
    negative_is_zero: bool,
}

/// Stands for every longer time: no machine runs so long, and adding it to a clock reading cannot overflow.
pub(crate) const FOREVER: Duration = Duration::from_secs(36_500 * 86_400);

impl Time {
    /// The form of Spark's keys: a bare number counts in `unit`s, and the time is truncated to it.
    pub const fn spark(unit: TimeUnit) -> Self {
        Self { bare: unit, step: unit, min: Duration::ZERO, max: FOREVER, negative_is_zero: false }
    }

    /// The form of this project's keys: a bare number counts in seconds, and fractions go down to the millisecond.
    pub const fn ours(min: Duration, max: Duration) -> Self {
        Self { bare: TimeUnit::Seconds, step: TimeUnit::Milliseconds, min, max, negative_is_zero: false }
    }

    /// Nothing shorter than `min`.
    pub const fn at_least(self, min: Duration) -> Self {
        Self { min, ..self }
    }

    /// Negative values count as zero (TransportConf.connectionTimeoutMs since Spark 3.3).
    pub const fn negative_is_zero(self) -> Self {
        Self { negative_is_zero: true, ..self }
    }
}

impl Grammar for Time {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, Reject> {
        let count = match in_units(text, self.bare, self.step)? {
            count if count < 0 && self.negative_is_zero => 0,
            count => u64::try_from(count).map_err(|_| Reject::new("a negative time"))?,
        };
        let time = self.step.duration(count).min(FOREVER);
        if time < self.min {
            return Err(Reject::new(format!("shorter than {}", written(self.min))));
        }
        if time > self.max {
            return Err(Reject::new(format!("longer than {}", written(self.max))));
        }
        Ok(time)
    }

    fn shape(&self) -> String {
        let mut shape = format!("time, bare numbers are {}", self.bare.name());
        if !self.min.is_zero() {
            shape += &format!(", at least {}", written(self.min));
        }
        if self.max < FOREVER {
            shape += &format!(", at most {}", written(self.max));
        }
        shape
    }
}

/// A duration in the largest unit that is exact, in the form that the grammar reads back.
fn written(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    if time.is_zero() {
        return "0s".into();
    }
    if time.subsec_nanos() != 0 {
        return format!("{}ms", time.as_millis());
    }
    let seconds = time.as_secs();
    let (size, suffix) = UNITS
        .into_iter()
        .find(|(size, _)| seconds.is_multiple_of(*size))
        .expect("every number is a multiple of one");
    format!("{}{suffix}", seconds / size)
}

/// The time in whole `step`s; a bare number counts in `bare`s. It is truncated towards zero, and saturates at the
/// ends of a Java long.
fn in_units(text: &str, bare: TimeUnit, step: TimeUnit) -> Result<i64, Reject> {
    let lower = java_trim(text).to_lowercase();
    let unsigned = lower.strip_prefix('-').unwrap_or(&lower);
    let (digits, suffix) = digits_and_suffix(unsigned)
        .ok_or_else(|| Reject::new("not a time: write a whole number and a unit such as 50s, 100ms or 2m"))?;
    let micros = match suffix {
        "" => bare.micros(),
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        other => {
            return Err(Reject::new(format!("unknown unit {other:?}: there are us, ms, s, m, min, h and d")));
        }
    };
    let magnitude: i64 = digits.parse().map_err(|_| Reject::new("the number is too large"))?;
    let exact = i128::from(magnitude) * micros;
    let count = exact / step.micros();
    if count == 0 && exact != 0 && !lower.starts_with('-') {
        let step = written(step.duration(1));
        return Err(Reject::new(format!("shorter than the key's unit of {step}: it would count as zero")));
    }
    let signed = if lower.starts_with('-') { -count } else { count };
    Ok(i64::try_from(signed).unwrap_or(if signed < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table was taken from JavaUtils.timeStringAsSec and timeStringAsMs of Spark 4.3.0.
    #[test]
    fn reads_times_as_spark_does() {
        let table: [(&str, i64, i64); 9] = [
            ("50", 50, 50),
            (" 5s ", 5, 5_000),
            ("5S", 5, 5_000),
            ("005s", 5, 5_000),
            ("5m", 300, 300_000),
            ("5Min", 300, 300_000),
            ("1500ms", 1, 1_500),
            ("-5s", -5, -5_000),
            ("9223372036854775807d", i64::MAX, i64::MAX),
        ];
        for (text, seconds, millis) in table {
            assert_eq!(in_units(text, TimeUnit::Seconds, TimeUnit::Seconds), Ok(seconds), "{text}");
            assert_eq!(in_units(text, TimeUnit::Milliseconds, TimeUnit::Milliseconds), Ok(millis), "{text}");
        }
    }

    #[test]
    fn rejects_what_spark_rejects() {
        for text in [
            "5 s",
            "5.5s",
            "0.5",
            "+5s",
            "--5s",
            "s",
            "",
            "1_000",
            "5s5s",
            "٥s",
            "5sec",
            "5ns",
            "5w",
            "9223372036854775808",
        ] {
            assert!(Time::spark(TimeUnit::Seconds).parse(text).is_err(), "{text}");
        }
    }

    /// Spark reads them as zero, which switches off the timeout that was meant to be short.
    #[test]
    fn refuses_a_time_that_truncates_to_zero() {
        assert!(Time::spark(TimeUnit::Seconds).parse("500ms").is_err());
        assert!(Time::spark(TimeUnit::Milliseconds).parse("999us").is_err());
        assert_eq!(Time::spark(TimeUnit::Seconds).parse("0ms"), Ok(Duration::ZERO));
    }

    #[test]
    fn negative_times_are_refused_unless_the_key_takes_them_as_zero() {
        assert!(Time::spark(TimeUnit::Seconds).parse("-5s").is_err());
        assert_eq!(Time::spark(TimeUnit::Seconds).negative_is_zero().parse("-5s"), Ok(Duration::ZERO));
    }

    #[test]
    fn endless_times_are_a_century() {
        for text in ["9223372036854775807", "9223372036854775807d", "200000d"] {
            assert_eq!(Time::spark(TimeUnit::Seconds).parse(text), Ok(FOREVER), "{text}");
        }
    }

    #[test]
    fn our_keys_keep_milliseconds_and_count_bare_seconds() {
        let ours = Time::ours(Duration::ZERO, FOREVER);
        assert_eq!(ours.parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(ours.parse("30"), Ok(Duration::from_secs(30)));
    }

    #[test]
    fn bounds_are_named_in_the_refusal() {
        let bounded = Time::ours(Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(bounded.parse("500ms"), Err(Reject::new("shorter than 1s")));
        assert_eq!(bounded.parse("2h"), Err(Reject::new("longer than 1h")));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let ours = Time::ours(Duration::ZERO, FOREVER);
        for time in [
            Duration::ZERO,
            Duration::from_millis(1500),
            Duration::from_secs(90),
            Duration::from_secs(604_800),
        ] {
            assert_eq!(ours.parse(&written(time)), Ok(time));
        }
        assert_eq!(written(Duration::from_secs(604_800)), "7d");
    }
}
