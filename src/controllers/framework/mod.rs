//! What all controllers share: the shape of a decision, the facts it is made from, and the driver that acts.
//!
//! A controller is a pure function `reconcile(primary, world) -> Decision`. The driver reads caches, calls it, makes
//! the writes, and lets nobody look at the key again before the caches have seen them: this replaces expectations.

mod act;
mod action;
mod disk;
mod driver;
mod issue;
mod ownership;
mod selection;
mod watches;
mod world;

#[cfg(test)]
pub mod testing;

pub use act::{Acted, Actor};
pub use action::{Action, Decision, Disk, Failure, Issue, Notice, Question, Write};
pub use driver::{Controller, start};
pub use ownership::{Claims, claim, controller_of, controller_ref, is_controlled_by};
pub use selection::{everything, go_text, matches, selector_of};
pub use watches::{Caches, Watches};
pub use world::{World, stamp};
