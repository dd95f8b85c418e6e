//! `kubik version`.

use super::{
    args::{Output, VersionOptions},
    failure::Failure,
    screen,
};
use crate::config::KUBERNETES;
use serde_json::json;

pub fn run(options: &VersionOptions) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    screen::result(&match (options.output, options.short) {
        (Output::Json, _) => {
            json!({ "kubikVersion": own, "kubernetesVersion": KUBERNETES }).to_string()
        }
        (Output::Text, true) => own.to_owned(),
        (Output::Text, false) => format!("kubik version: {own}\nKubernetes: {KUBERNETES}"),
    });
    Ok(())
}
