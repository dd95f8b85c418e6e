//! The table of everything the user's study notes name: one row per concept or command, one file per document.
//!
//! The files beside this one are the table and the test at once. A line `= …` begins a row. Below it stand the
//! commands of the notes with what they must print:
//!
//! - `$ command` runs once and must succeed;
//! - `~ command` is repeated until it prints what is expected;
//! - `! command` must fail;
//! - `@ story` says which end-to-end story shows the concept (all stories whose names begin so).
//!
//! The other lines are expectations: each must be found in one line of the output. Runs of blanks count as one, `…`
//! stands for any characters. Lines that begin with `#` and a blank are comments, unless they stand below a command.
//!
//! The commands of a document run in order, in one folder with the notes' manifests, against one cluster whose images
//! come from a mirror of Docker's registry on loopback.

mod mirror;
mod transcript;

use crate::{
    Story,
    cluster::{PATIENCE, Place, end_shared, project},
    stories,
};
use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use transcript::{How, Row, Step};

pub const STORIES: &[Story] = &[
    ("concepts::every_row_is_shown", every_row_is_shown),
    (
        "concepts::the_notes_work_as_they_say",
        the_notes_work_as_they_say,
    ),
];

const DOCUMENTS: &[(&str, &str)] = &[
    ("000", include_str!("000.txt")),
    ("001", include_str!("001.txt")),
    ("002", include_str!("002.txt")),
    ("003", include_str!("003.txt")),
    ("004", include_str!("004.txt")),
];

/// A row without commands names stories that exist, and every manifest of the notes is applied as it stands.
fn every_row_is_shown() {
    let names: Vec<&str> = stories::all().map(|(name, _)| name).collect();
    for (document, text) in DOCUMENTS {
        for row in transcript::rows(text) {
            assert!(
                !row.steps.is_empty() || !row.stories.is_empty(),
                "{document}: nothing shows `{}`",
                row.concept
            );
            for story in &row.stories {
                assert!(
                    names.iter().any(|name| name.starts_with(story)),
                    "{document}: `{}` names the story {story}, which does not exist",
                    row.concept
                );
            }
        }
    }
    let all = DOCUMENTS
        .iter()
        .flat_map(|(_, text)| transcript::rows(text));
    let commands: Vec<&str> = all
        .flat_map(|row| row.steps.into_iter().map(|step| step.command))
        .collect();
    for entry in fs::read_dir(project().join("tests/e2e/seeds")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let as_it_stands = format!("kubectl apply -f {name}");
        assert!(
            commands
                .iter()
                .any(|command| command.contains(&as_it_stands)),
            "nothing applies {name} as it stands"
        );
    }
}

fn the_notes_work_as_they_say() {
    // The notes name the addresses of a machine's first cluster.
    end_shared();
    let place = Place::new();
    let mirror = mirror::mirror_of_the_notes(&place);
    place.must(&[
        "start",
        "--driver=docker",
        "--registry-mirror",
        &mirror.url(),
    ]);
    let folder = place.home.path().join("notes");
    fs::create_dir(&folder).unwrap();
    let sources = ["tests/e2e/seeds", "tests/e2e/concepts/manifests"];
    for entry in sources
        .iter()
        .flat_map(|source| fs::read_dir(project().join(source)).unwrap())
    {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let programs = place.home.path().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_kubik"), programs.join("kubik")).unwrap();
    symlink(
        project().join("target/tools/kubectl"),
        programs.join("kubectl"),
    )
    .unwrap();
    let mut failed = Vec::new();
    for (document, text) in DOCUMENTS {
        for row in transcript::rows(text) {
            let begun = Instant::now();
            if let Err(why) = show(&place, &row) {
                println!("{document} | {} | FAILED", row.concept);
                failed.push(format!("{document}: {}\n{why}", row.concept));
            } else if !row.steps.is_empty() {
                let took = begun.elapsed().as_secs_f64();
                println!("{document} | {} | ok ({took:.1} s)", row.concept);
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} rows of the notes failed:\n\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

fn show(place: &Place, row: &Row) -> Result<(), String> {
    row.steps.iter().try_for_each(|step| perform(place, step))
}

fn perform(place: &Place, step: &Step) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let (succeeded, output) = execute(place, step.command);
        let as_expected = match step.how {
            How::Once => succeeded,
            How::Fails => !succeeded,
            How::Until => true,
        };
        let missing = step
            .expected
            .iter()
            .find(|line| !transcript::prints(&output, line));
        match missing {
            None if as_expected => return Ok(()),
            Some(_) | None if step.how == How::Until && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Some(line) => return Err(format!("$ {}\n{output}\nlacks: {line}", step.command)),
            None => {
                let how = if succeeded {
                    "should have failed"
                } else {
                    "failed"
                };
                return Err(format!("$ {}\n{output}\n{how}", step.command));
            }
        }
    }
}

/// Runs a line as a person's shell would; answers whether it succeeded, and what it printed.
fn execute(place: &Place, command: &str) -> (bool, String) {
    let home = place.home.path();
    let path = format!(
        "{}:{}",
        home.join("programs").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut shell = Command::new("bash");
    place.environment(&mut shell);
    let output = shell
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .current_dir(home.join("notes"))
        .args(["-c", command])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), text)
}
