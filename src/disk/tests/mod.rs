//! The rules of the whole room, on real files.

mod bounded;
mod far_index;
mod fixture;
mod hanging;
mod hostile;
mod leaving;
mod lookup;
mod on_the_spot;
mod other_requests;
mod own;
mod ownership;
mod registration;
mod sweeping;
