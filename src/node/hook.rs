//! Lifecycle hooks: exec, httpGet, sleep.

use super::{
    probe::{
        Target,
        check::{self, Broken},
        fetch,
    },
    translate::title,
};
use k8s_openapi::api::core::v1::LifecycleHandler;
use std::time::Duration;

/// Runs a hook to its end. The pod's worker bounds the time of a pre-stop hook; a post-start hook may take as long as
/// it likes, as upstream allows.
pub async fn run(target: &Target, handler: &LifecycleHandler) -> Result<(), String> {
    /// No hook outlives this, whatever its pod does.
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let name = &target.container.name;
    let pod = title(&target.pod);
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let words = command.join(" ");
        let why = match check::run(target, command, LONGEST).await {
            Ok((0, _)) => return Ok(()),
            Ok((code, output)) => {
                format!("command '{words}' exited with {code}: {output}, message: {output:?}")
            }
            Err(Broken::TimedOut) => "timed out".to_owned(),
            Err(Broken::Failed(text)) => text,
        };
        return Err(format!(
            "Exec lifecycle hook ([{words}]) for Container \"{name}\" in Pod \"{pod}\" failed - error: {why}"
        ));
    }
    if let Some(get) = &handler.http_get {
        let mut request = check::request(target, get)?;
        let mut result = fetch(&request, LONGEST).await;
        if request.is_tls && result.is_err() {
            // A server that turns out not to speak TLS is asked again without.
            request.is_tls = false;
            result = fetch(&request, LONGEST).await;
        }
        return result.map(drop).map_err(|why| {
            let path = get.path.as_deref().unwrap_or_default();
            format!("HTTP lifecycle hook ({path}) for Container \"{name}\" in Pod \"{pod}\" failed - error: {why}")
        });
    }
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or_default();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    Err("Invalid handler: no handler specified".to_owned())
}
