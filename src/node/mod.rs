//! The node agent: what Kubernetes calls a kubelet.
//!
//! [`plan`] decides what is to be done for one pod and [`status`] what the API shall read of it; both are pure and
//! work on [`observed::Observed`]. Everything else gathers facts or carries out steps.

pub mod observed;
pub mod plan;
pub mod qos;
pub mod spec;
pub mod status;
pub mod translate;
