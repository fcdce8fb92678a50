//! Every cell of the matrix: a Spark release, a mode that it has, and who stands on which side. In each one executor is
//! registered, blocks of several sizes are fetched and compared, the counters and the wire prove how they went, and a wrong
//! secret is refused. Spark's client with Spark's own service, in the same cells, shows that the recipe of each mode is right.
//!
//! | module | knows |
//! |---|---|
//! | `case` | what is done in a cell |
//! | `broken_gcm` | the same where AES-GCM loses messages: nobody can speak it, and we say so |
//! | `verdict` | what came of it |
//! | `row` | the three cells of a mode |
//! | `table` | rows as a table, for readers |
//! | `report` | rows as JSON and as JUnit's XML, for programs |
//! | `foreign` | the same requests at a server that runs already, whose ever it is |

mod broken_gcm;
mod case;
mod foreign;
mod report;
mod row;
mod table;
mod verdict;

pub use foreign::{Foreign, ForeignRow};
pub use report::{json, junit};
pub use row::{Role, Row, rows_of};
pub use table::table;
pub use verdict::{Verdict, said};
