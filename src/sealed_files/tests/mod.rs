mod finding_out;
mod fixture;
mod many;
mod model;
mod power_loss;
mod reading;
mod writing;
