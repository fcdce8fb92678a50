mod cost;
mod reading;
