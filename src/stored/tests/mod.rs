mod finding_out;
mod fixture;
mod many;
mod reading;
mod writing;
