//! `kubik image`: what the daemon does for us over its control socket.

use super::{
    args::{ImageCommand, Output},
    failure::Failure,
    place,
    screen::{self, Steps},
};
use crate::{
    daemon::{
        control::{self, Answer, Request},
        launch,
    },
    runtime::model::ImageInfo,
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A large archive unpacks in seconds; a silent daemon is given up after this.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(profile: &str, command: &ImageCommand) -> Result<(), Failure> {
    match command {
        ImageCommand::Load { files } => files.iter().try_for_each(|file| load(profile, file)),
        ImageCommand::Ls { output } => list(profile, *output),
        ImageCommand::Rm { images } => images.iter().try_for_each(|image| {
            let reference = image.clone();
            ask(profile, &Request::Remove { reference }, |_| {}).map(drop)
        }),
        ImageCommand::Pull { image } => pull(profile, image),
    }
}

pub fn load(profile: &str, file: &Path) -> Result<(), Failure> {
    let mut steps = Steps::begin(&format!("Loading {}", file.display()));
    steps.spin("unpacking");
    let spooled;
    let path = if file == Path::new("-") {
        spooled = Spooled::standard_input(profile)?;
        spooled.0.clone()
    } else {
        std::path::absolute(file).map_err(|e| Failure::host(&file.display().to_string(), &e))?
    };
    for image in images(ask(profile, &Request::Load { path }, |_| {})?) {
        let name = image.tags.first().unwrap_or(&image.id);
        steps.done(name, steps.elapsed());
    }
    Ok(())
}

fn pull(profile: &str, image: &str) -> Result<(), Failure> {
    let mut steps = Steps::begin(&format!("Pulling {image}"));
    let reference = image.to_owned();
    let answer = ask(profile, &Request::Pull { reference }, |answer| {
        if let Answer::Progress { layer, done, total } = answer {
            let short = layer
                .trim_start_matches("sha256:")
                .get(..12)
                .unwrap_or(layer);
            steps.spin(&format!("{short} {} of {}", size(*done), size(*total)));
        }
    })?;
    for image in images(answer) {
        let what = format!(
            "{} ({})",
            image.tags.first().unwrap_or(&image.id),
            size(image.size_bytes)
        );
        steps.done(&what, steps.elapsed());
    }
    Ok(())
}

fn list(profile: &str, output: Output) -> Result<(), Failure> {
    let images = images(ask(profile, &Request::Images, |_| {})?);
    screen::result(&match output {
        Output::Json => serde_json::to_string_pretty(&images).unwrap_or_default(),
        Output::Text => text(&images),
    });
    Ok(())
}

fn text(images: &[ImageInfo]) -> String {
    let head = ["IMAGE", "ID", "SIZE"].map(str::to_owned).to_vec();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for image in images {
        let id = image.id.trim_start_matches("sha256:");
        let id = id.get(..12).unwrap_or(id).to_owned();
        let names = if image.tags.is_empty() {
            &image.digests
        } else {
            &image.tags
        };
        rows.extend(
            names
                .iter()
                .map(|name| vec![name.clone(), id.clone(), size(image.size_bytes)]),
        );
    }
    rows.sort();
    rows.insert(0, head);
    screen::table(&rows)
}

/// Decimal units, as `docker images` prints them.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{:.1}kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}MB", value / 1e6),
        _ => format!("{:.2}GB", value / 1e9),
    }
}

fn images(answer: Answer) -> Vec<ImageInfo> {
    match answer {
        Answer::Images { images } => images,
        Answer::Done | Answer::Starting | Answer::Progress { .. } | Answer::Failed { .. } => {
            Vec::new()
        }
    }
}

fn ask(profile: &str, request: &Request, watch: impl FnMut(&Answer)) -> Result<Answer, Failure> {
    let (layout, _) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    match control::ask_watching(&layout, request, PATIENCE, watch) {
        Ok(Answer::Failed { message }) => Err(Failure::new("RT_IMAGE", 90, message)),
        Ok(Answer::Starting) => Err(Failure::new(
            "GUEST_START",
            81,
            "the cluster is still starting",
        )),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Failure::host("ask the daemon", &format!("{error:#}"))),
    }
}

/// Standard input copied to a file that the daemon can read; removed on drop.
struct Spooled(PathBuf);

impl Spooled {
    fn standard_input(profile: &str) -> Result<Spooled, Failure> {
        let (layout, _) = place::existing(profile)?;
        let path = layout
            .state
            .join(format!("load-{}.tar", std::process::id()));
        let spooled = Spooled(path.clone());
        let failure = |error: io::Error| Failure::host(&path.display().to_string(), &error);
        let mut file = File::create(&path).map_err(failure)?;
        io::copy(&mut io::stdin().lock(), &mut file).map_err(failure)?;
        Ok(spooled)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        let sizes = [
            (999, "999B"),
            (73_400_000, "73.4MB"),
            (1_250_000_000, "1.25GB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }
}
