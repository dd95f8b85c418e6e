//! The garbage collector: deletes what only absent owners own, and carries out foreground and orphan deletion.
//!
//! It works on uids over the inventory. Whether an owner that the inventory does not know is really absent is asked
//! live, by name and uid, before anything is deleted. Deletes carry uid and revision.

mod decide;
mod work;

pub use work::start;
