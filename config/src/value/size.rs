//! Sizes as Spark writes them: `48m`, `100k`, `1g` (JavaUtils.byteStringAs, Spark 4.3.0).

use super::{Grammar, Reject, digits_and_suffix, java_trim};
use crate::ByteCount;

/// The unit of a bare number. Spark also truncates to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SizeUnit {
    /// Bytes.
    Bytes,
    /// 1024² bytes.
    MiB,
}

impl SizeUnit {
    const fn shift(self) -> u32 {
        match self {
            Self::Bytes => 0,
            Self::MiB => 20,
        }
    }
}

/// A size with an optional suffix `b`, `k`, `m`, `g`, `t`, `p`, also as `kb` or `kib`; powers of 1024.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    bare: SizeUnit,
    min: ByteCount,
    max: ByteCount,
}

impl Size {
    /// A size. Bare numbers count in `bare`s; both bounds are allowed.
    pub const fn new(bare: SizeUnit, min: ByteCount, max: ByteCount) -> Self {
        Self { bare, min, max }
    }
}

/// The largest size that Spark can express.
pub(crate) const LARGEST: ByteCount = ByteCount::new(i64::MAX as u64);

impl Grammar for Size {
    type Value = ByteCount;

    fn parse(&self, text: &str) -> Result<ByteCount, Reject> {
        let bytes = in_bytes(text, self.bare)?;
        if bytes < self.min {
            return Err(Reject::new(format!("less than {}", self.min)));
        }
        if bytes > self.max {
            return Err(Reject::new(format!("more than {}", self.max)));
        }
        Ok(bytes)
    }

    fn shape(&self) -> String {
        let unit = match self.bare {
            SizeUnit::Bytes => "bytes",
            SizeUnit::MiB => "MiB",
        };
        let mut shape = format!("size, bare numbers are {unit}");
        if self.min > ByteCount::default() {
            shape += &format!(", at least {}", self.min);
        }
        if self.max < LARGEST {
            shape += &format!(", at most {}", self.max);
        }
        shape
    }
}

fn in_bytes(text: &str, bare: SizeUnit) -> Result<ByteCount, Reject> {
    let lower = java_trim(text).to_lowercase();
    let (digits, suffix) = digits_and_suffix(&lower).ok_or_else(|| malformed(&lower))?;
    let shift = match suffix {
        "" => bare.shift(),
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        other => {
            return Err(Reject::new(format!("unknown unit {other:?}: there are b, k, m, g, t and p")));
        }
    };
    let too_large = || Reject::new("the size does not fit into 63 bits");
    let number: i64 = digits.parse().map_err(|_| too_large())?;
    let exact = i128::from(number) << shift;
    let truncated = exact >> bare.shift() << bare.shift();
    if truncated == 0 && exact != 0 {
        return Err(Reject::new("less than the key's unit of 1 MiB: it would count as zero"));
    }
    let bytes = i64::try_from(truncated).map_err(|_| too_large())?;
    Ok(ByteCount::new(bytes.unsigned_abs()))
}

fn malformed(text: &str) -> Reject {
    let fraction = text.split_once('.').is_some_and(|(whole, rest)| {
        !whole.is_empty() && digits_and_suffix(whole).is_some() && digits_and_suffix(rest).is_some()
    });
    if fraction {
        return Reject::new("fractions are not supported: use a smaller unit");
    }
    Reject::new("not a size: write a whole number and a unit such as 50b, 100k or 250m")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table was taken from JavaUtils.byteStringAsBytes of Spark 4.3.0.
    #[test]
    fn reads_sizes_as_spark_does() {
        let table: [(&str, u64); 9] = [
            ("50", 50),
            ("50b", 50),
            (" 1k ", 1024),
            ("1KB", 1024),
            ("1KiB", 1024),
            ("007k", 7168),
            ("1g", 1 << 30),
            ("2tib", 2 << 40),
            ("8191p", 9_222_246_136_947_933_184),
        ];
        for (text, bytes) in table {
            assert_eq!(in_bytes(text, SizeUnit::Bytes), Ok(ByteCount::new(bytes)), "{text}");
        }
    }

    #[test]
    fn rejects_what_spark_rejects() {
        for text in
            ["8192p", "1.5k", "1 k", "-1", "k", "1e3", "", "1x", "1eb", "+1", "9223372036854775808", "٥k"]
        {
            assert!(in_bytes(text, SizeUnit::Bytes).is_err(), "{text}");
        }
        assert_eq!(
            in_bytes("1.5k", SizeUnit::Bytes),
            Err(Reject::new("fractions are not supported: use a smaller unit"))
        );
    }

    #[test]
    fn bare_numbers_count_in_the_unit_of_the_key() {
        assert_eq!(in_bytes("48", SizeUnit::MiB), Ok(ByteCount::mib(48)));
        assert_eq!(in_bytes("1536k", SizeUnit::MiB), Ok(ByteCount::mib(1)));
    }

    #[test]
    fn refuses_a_size_that_truncates_to_zero() {
        assert!(in_bytes("50b", SizeUnit::MiB).is_err());
        assert_eq!(in_bytes("0b", SizeUnit::MiB), Ok(ByteCount::default()));
    }

    #[test]
    fn bounds_are_named_in_the_refusal() {
        let segment = Size::new(SizeUnit::Bytes, ByteCount::kib(64), ByteCount::mib(4));
        assert_eq!(segment.parse("1k"), Err(Reject::new("less than 64k")));
        assert_eq!(segment.parse("5m"), Err(Reject::new("more than 4m")));
    }
}
