//! Dynamic allocation: blocks of executors that are gone.

use sealed_shuffle_interop_tests::{modes::Service, yarn::Application};

use crate::shared::{MODE, cluster};

#[test]
#[ignore = "make interop-yarn"]
fn blocks_of_executors_that_are_gone_are_read() {
    let Some(held) = cluster() else { return };
    let report = Application::new(MODE, Service::Ours).outliving_its_executors().run(&held.cluster);
    println!("dynamic allocation: {report:?}");
    report.assert_right(&MODE);
    assert_eq!((report.again, report.fetch_failures, report.failures), (0, 0, 0), "{report:?}");
    assert!(report.lost >= 3, "executors stayed: {report:?}");
}
