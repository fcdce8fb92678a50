//! Says in the log when our certificate comes near its end: thirty days before, seven, one, and when it has expired;
//! and when it is not valid yet, as where a clock is wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_transport::tls::CertificateSummary;
use tracing::{error, warn};

const DAY: Duration = Duration::from_secs(86_400);

/// How near the end is.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum Nearness {
    #[default]
    Far,
    Month,
    Week,
    Day,
    Expired,
}

impl Nearness {
    fn of(left: Option<Duration>) -> Self {
        match left {
            None => Self::Expired,
            Some(left) if left <= DAY => Self::Day,
            Some(left) if left <= 7 * DAY => Self::Week,
            Some(left) if left <= 30 * DAY => Self::Month,
            Some(_) => Self::Far,
        }
    }
}

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct CertificateAge {
    said: Nearness,
    /// That it is not valid yet.
    is_early: bool,
}

impl CertificateAge {
    /// Looks at the certificate that peers are shown, and says once what is new. A renewed one begins anew.
    pub(super) fn look(&mut self, certificate: &CertificateSummary, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_early = since < certificate.not_before;
        if is_early && !std::mem::replace(&mut self.is_early, is_early) {
            let seconds = (certificate.not_before - since).as_secs();
            error!(
                %certificate, seconds,
                "our certificate is not valid yet: peers refuse us; is the clock of this machine right, and that of the \
                 machine that made the certificate?"
            );
        }
        self.is_early = is_early;
        let left = certificate.left(now);
        if !self.is_news(Nearness::of(left)) {
            return;
        }
        const REMEDY: &str = "renew it, and put the new one in its place: it is taken up without a restart";
        match left {
            None => error!(%certificate, "our certificate has expired: peers refuse us; {REMEDY}"),
            Some(left) => {
                let days = left.as_secs().div_ceil(DAY.as_secs());
                warn!(%certificate, days, "our certificate expires soon; {REMEDY}");
            }
        }
    }

    fn is_news(&mut self, is: Nearness) -> bool {
        std::mem::replace(&mut self.said, is) < is
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_to_the_end_is_said_once_and_again_after_a_renewal() {
        let mut age = CertificateAge::default();
        let days = |days: u32| Nearness::of(Some(days * DAY));
        let mut says = |is| age.is_news(is);
        assert!(!says(days(31)) && !says(days(31)));
        assert!(says(days(30)) && !says(days(29)) && !says(days(8)));
        assert!(says(days(7)) && !says(days(2)));
        assert!(says(days(1)) && !says(days(0)));
        assert!(says(Nearness::of(None)) && !says(Nearness::of(None)));
        assert!(!says(days(90)), "renewed");
        assert!(says(days(20)));
    }
}
