mod finding_out;
mod fixture;
mod many;
mod model;
mod reading;
mod writing;
