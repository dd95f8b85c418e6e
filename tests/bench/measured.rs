//! What is measured of a cluster's commands.

use crate::place::Place;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kubik"))
}

impl Place {
    /// Runs `kubik` and answers how long it took.
    pub fn timed(&self, arguments: &[&str]) -> Duration {
        let begun = Instant::now();
        let output = self.kubik(arguments).output().unwrap();
        let took = begun.elapsed();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubik {arguments:?}: {errors}");
        took
    }

    pub fn start(&self) -> Duration {
        self.start_with(&[])
    }

    pub fn start_with(&self, options: &[&str]) -> Duration {
        let kubeconfig = self.kubeconfig().display().to_string();
        self.timed(&[&["start", "--kubeconfig", &kubeconfig], options].concat())
    }
}
