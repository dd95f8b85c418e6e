//! Composition root: components in start order, bootstrap objects, life cycle.
//!
//! One daemon process serves one cluster. It may die at any instant: the store is atomic, pods live on in their
//! shims, links and rules stay, and the next start adopts all of it. [`erase`] removes every trace by name, without
//! asking a daemon.

mod addon;
mod boot;
mod bootstrap;
pub mod control;
pub mod erase;
mod kubeconfig;
pub mod launch;
mod nodes;
mod parts;
mod pause;
mod process;
pub mod progress;
mod serve;

pub use process::main;
