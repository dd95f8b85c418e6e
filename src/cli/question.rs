//! One question to a running daemon, and every way in which it can go wrong, said to people.

use super::failure::Failure;
use crate::{
    config::Layout,
    daemon::{
        control::{self, Answer, Request},
        launch,
    },
};
use std::{io, time::Duration};

/// The last answer. `refusal` is the id and the exit code for what the daemon does not do; `watch` sees the answers
/// before the last.
pub fn ask(
    profile: &str,
    layout: &Layout,
    request: &Request,
    patience: Duration,
    refusal: (&'static str, u8),
    watch: impl FnMut(&Answer),
) -> Result<Answer, Failure> {
    if !launch::is_running(layout) {
        return Err(Failure::not_running(profile));
    }
    match control::ask_watching(layout, request, patience, watch) {
        Ok(Answer::Failed { message }) => Err(Failure::new(refusal.0, refusal.1, message)),
        Ok(Answer::Starting) => {
            let why = "the cluster is still starting";
            Err(Failure::new("GUEST_START", 83, why).advise("Try again in a moment."))
        }
        Ok(Answer::Ending) => Err(Failure::not_running(profile)),
        Ok(Answer::Forbidden) => Err(Failure::not_root()),
        Ok(answer) => Ok(answer),
        Err(error) if is_forbidden(&error) => Err(Failure::not_root()),
        Err(error) => Err(Failure::host("ask the daemon", &format!("{error:#}"))),
    }
}

/// A folder on the way to the daemon's socket is not everybody's.
fn is_forbidden(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
}
