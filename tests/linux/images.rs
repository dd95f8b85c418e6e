//! From an image's name to a running container.

use crate::world::{DEADLINE, World};
use kubik::{
    config::Layout,
    runtime::{
        Runtime,
        image::Images,
        linux::LinuxRuntime,
        model::{ContainerSpec, ContainerState, ExecSpec, PullRequest, Seccomp},
    },
};
use std::path::PathBuf;
use tokio::io::AsyncReadExt;

async fn fetch(runtime: &LinuxRuntime, container: &str, path: &str) -> (i32, String) {
    let url = format!("http://127.0.0.1:8080{path}");
    let spec = ExecSpec {
        command: vec!["/kubik-hello".into(), "fetch".into(), url],
        ..ExecSpec::default()
    };
    let mut io = runtime.exec("a", container, spec).await.unwrap();
    let mut text = String::new();
    io.stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .await
        .unwrap();
    let code = io.wait.await.unwrap();
    if code != 0 {
        io.stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
    }
    (code, text)
}

pub async fn the_built_in_image_serves() {
    let world = World::new("hello");
    let layout = Layout {
        state: world.dir.clone(),
        run: world.dir.clone(),
    };
    let images = Images::open(&layout.images(), kubik::runtime::image::Options::default()).unwrap();
    let exe = PathBuf::from(env!("CARGO_BIN_EXE_kubik"));
    let runtime = LinuxRuntime::with_program(&layout, images, world.tasks.clone(), exe);
    let request = PullRequest {
        reference: "kubik/hello".into(),
        ..PullRequest::default()
    };
    let pulled = runtime.pull(request, None).await.unwrap();
    let found = runtime.image("docker.io/kubik/hello:latest").await.unwrap();
    assert_eq!(found.map(|image| image.id), Some(pulled.id.clone()));
    runtime.create_sandbox(world.sandbox("a")).await.unwrap();
    let spec = ContainerSpec {
        name: "hello".into(),
        image: pulled.id,
        env: vec![("GREETING".into(), "good day".into())],
        seccomp: Seccomp::RuntimeDefault,
        ..ContainerSpec::default()
    };
    let made = runtime.create_container("a", spec).await.unwrap();
    let started = runtime.start_container("a", &made.id).await.unwrap();
    assert!(matches!(started.state, ContainerState::Running { .. }));
    // The only way to learn that it listens is to ask.
    let served = tokio::time::timeout(DEADLINE, async {
        loop {
            let (code, text) = fetch(&runtime, &made.id, "/").await;
            if code == 0 {
                return text;
            }
        }
    });
    let text = served.await.unwrap();
    assert!(
        text.contains("good day") && text.contains("web-0"),
        "{text}"
    );
    assert_eq!(fetch(&runtime, &made.id, "/healthz").await.0, 0);
    runtime.remove_sandbox("a").await.unwrap();
    world.finish(&[]).await;
}
